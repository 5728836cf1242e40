"""What to compare: a YAML plan, checked before anything runs.

A plan has a `base` of flat keys, as `acr-train` takes them, and named `arms` that change some of
them. `settings`, in the base or in an arm, is a mapping of settings of the engine on top of the
profile. Every arm is trained with every seed; a pair of arm and seed is a cell.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta, Struct

from monitor_service.engine.profiles import check_names
from monitor_service.errors import InvalidInput
from monitor_service.explain import explained

SETTINGS = "settings"
OF_THE_HARNESS = (
    *("seed", "data_seed", "output_dir", "resume_from_checkpoint", "eval_strategy"),
    *("run_id", "monitor_url", "monitor_redis_url", "monitor_token"),
)
"""Keys that are set for each cell."""
DEFAULTS: Mapping[str, Any] = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True}
"""What a cell is trained with unless the plan says otherwise: the result is all that it leaves."""

MAX_SAMPLES = 1024
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$(?!\n)"
NAME_WORDS = "1 to 48 of letters, digits, '.', '_', '-', starting with a letter or digit"

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Seed = Annotated[int, Meta(ge=0, lt=2**31)]


class Evaluation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a policy is examined, before its training and after; the same for every arm of a seed."""

    problems: Annotated[int, Meta(ge=1)] | None = None
    """The first so many held-out problems; None: all of them."""
    samples: Annotated[int, Meta(ge=1, le=MAX_SAMPLES)] = 8
    """Completions sampled for each problem, beside the greedy one."""
    k: tuple[Annotated[int, Meta(ge=1)], ...] = (1, 2, 4, 8)
    """pass@k is stated for these, each at most `samples`."""
    temperature: Annotated[float, Meta(gt=0, le=5)] = 1.0
    """Of the samples, drawn from the whole vocabulary."""
    batch_size: Annotated[int, Meta(ge=1)] = 512
    """Completions generated at once."""


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A comparison: arms x seeds."""

    name: Name
    arms: dict[Name, dict[str, Any] | None]
    """Each a mapping of what it changes; empty for the base itself."""
    baseline: str
    """The arm that the others are compared with."""
    seeds: tuple[Seed, ...]
    base: dict[str, Any] = {}
    evaluate: Evaluation = Evaluation()
    title: str = ""
    question: str = ""

    def cells(self) -> Iterator["Cell"]:
        """Every arm of the first seed, the baseline first, then of the next: whole pairs early."""
        others = [arm for arm in self.arms if arm != self.baseline]
        for seed in self.seeds:
            for arm in (self.baseline, *others):
                yield Cell(plan=self, arm=arm, seed=seed)

    def values_of(self, arm: str) -> dict[str, Any]:
        """The flat keys of an arm, with `settings` as one mapping if there are any."""
        own = self.arms[arm] or {}
        values = {**DEFAULTS, **self.base, **own}
        settings = {**(self.base.get(SETTINGS) or {}), **(own.get(SETTINGS) or {})}
        values.pop(SETTINGS, None)
        return {**values, SETTINGS: settings} if settings else values


class Cell(Struct, frozen=True, kw_only=True):
    """One arm of one seed."""

    plan: Plan
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Unique within the plan."""
        return f"{self.arm}-{self.seed}"

    @property
    def run_id(self) -> str:
        """The run's name in a monitor."""
        return f"{self.plan.name}-{self.name}"

    @property
    def settings_hash(self) -> str:
        """Of all that the result follows from, as far as the plan says it: SHA-256, hex."""
        values = {**self.plan.values_of(self.arm), "seed": self.seed}
        text = json.dumps([values, msgspec.to_builtins(self.plan.evaluate)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load(path: Path) -> Plan:
    """Read and check a plan; what only TRL's own classes can tell is checked by `cell.check`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not YAML.
        InvalidInput: (a ValueError) naming the field, its value and what is allowed.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    try:
        plan = msgspec.convert(found, Plan)
    except msgspec.ValidationError as error:
        raise explained(error, found, NAME_WORDS) from error
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    if len(plan.arms) < 2:
        raise InvalidInput("arms", list(plan.arms), "must be two or more")
    if plan.baseline not in plan.arms:
        raise InvalidInput("baseline", plan.baseline, f"one of the arms: {', '.join(plan.arms)}")
    if len(set(plan.seeds)) < 2 or len(set(plan.seeds)) < len(plan.seeds):
        allowed = "must be two or more, all different: one seed cannot show what noise is"
        raise InvalidInput("seeds", list(plan.seeds), allowed)
    _check_evaluation(plan.evaluate)
    _check_keys("base", plan.base)
    for arm, own in plan.arms.items():
        _check_keys(f"arms.{arm}", own or {})


def _check_evaluation(evaluate: Evaluation) -> None:
    if not evaluate.k or len(set(evaluate.k)) < len(evaluate.k):
        raise InvalidInput("evaluate.k", list(evaluate.k), "one or more numbers, all different")
    if max(evaluate.k) > evaluate.samples:
        allowed = f"must be at most evaluate.samples, which is {evaluate.samples}"
        raise InvalidInput("evaluate.k", max(evaluate.k), allowed)


def _check_keys(where: str, values: Mapping[str, Any]) -> None:
    for key in OF_THE_HARNESS:
        if key in values:
            raise InvalidInput(f"{where}.{key}", values[key], "is set by the harness")
    try:
        json.dumps(values)
    except TypeError as error:
        allowed = "must hold numbers, texts, true, false, null, lists and mappings"
        raise InvalidInput(where, values, f"{allowed} ({error})") from error
    if "avspo_settings" in values:
        raise InvalidInput(f"{where}.avspo_settings", values["avspo_settings"], "use settings here")
    settings = values.get(SETTINGS)
    if settings is None:
        return
    if not isinstance(settings, dict):
        raise InvalidInput(f"{where}.{SETTINGS}", settings, "must be a mapping")
    try:
        check_names(settings)
    except InvalidInput as error:
        raise InvalidInput(f"{where}.{SETTINGS}.{error.field}", error.value, error.allowed) from (
            error
        )


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, of which YAML's own loader keeps the last in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)
