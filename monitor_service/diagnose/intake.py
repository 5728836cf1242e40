"""Rows to a log: which column is the step, whether rows are metrics of a step or single rollouts.

The first `LOOK_AHEAD` rows decide; from then on every row goes straight into the log.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from monitor_service.diagnose.log import Log, number, split, whole
from monitor_service.diagnose.sources import NotALog
from monitor_service.diagnose.vocabulary import (
    GROUP_KEYS,
    REWARD_KEYS,
    STEP_KEYS,
    component_of,
    figure_of,
    first_of,
    is_evaluation,
    normalised,
)

LOOK_AHEAD = 200

MAX_DEPTH = 3
"""Nested objects of a row are flattened with slashes up to this depth."""

_ROW_KINDS = ("type", "split", "phase", "mode", "kind", "stage")
_EVALUATION_KINDS = {"eval", "evaluation", "val", "valid", "validation", "test"}

_ONLY_OF_STEPS = {
    "entropy",
    "grad_norm",
    "zero_std",
    "mixed",
    "loss",
    "learning_rate",
    "reward_std",
}
"""A row with one of these figures is about a step, not about a completion."""

_OF_ANY_TRAINING = ("loss", "learning_rate", "grad_norm", "entropy", "temperature")
"""A log with no other figures is of supervised training, as far as one can see."""

_LENGTHS = {
    *("response_token_length", "completion_length", "response_length", "completion_tokens"),
    *("completion_len", "response_len", "num_tokens", "output_length", "length"),
}
_WEAK = {"acc", "accuracy", "is_correct", "correct"}
"""In a table of completions with several reward functions these are but one of them."""

_NO_REWARD_FUNCTIONS = {"advantage", "advantages", "epoch", "index", "rank", "seed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Names a person gave; None means guess."""

    step: str | None = None
    group: str | None = None
    reward: str | None = None
    group_size: int | None = None


@dataclass(slots=True)
class Intake:
    """Takes rows, decides what they are, fills the log."""

    log: Log
    keys: Keys = Keys()
    default_step: int | None = None
    _waiting: list[tuple[int | None, Mapping[str, Any]]] = field(default_factory=list)
    _is_decided: bool = False
    _is_rollouts: bool = False
    _has_steps: bool = True
    _reward_functions: tuple[str, ...] = ()
    _num_seen: int = 0

    def take(self, row: Mapping[str, Any], line: int | None = None) -> None:
        """One more row, flat or nested."""
        flat = _flat(row)
        if not self._is_decided:
            self._waiting.append((line, flat))
            if len(self._waiting) >= LOOK_AHEAD:
                self._decide()
            return
        self._one(line, flat)

    def finish(self) -> None:
        """No more rows. Raises `NotALog` when none of them held what is needed."""
        self.flush()
        if not self.log.groups and not _is_of_reinforcement_learning(self.log):
            raise NotALog(_nothing_found(self.log))

    def flush(self) -> None:
        """Put what waits into the log."""
        if not self._is_decided:
            self._decide()

    def _decide(self) -> None:
        self._is_decided = True
        waiting, self._waiting = self._waiting, []
        rows = [row for _, row in waiting]
        names = {key: None for row in rows for key in row}
        by_name = {normalised(key): key for key in reversed(names)}
        # A dump of one step each may have its step in the name only.
        self.log.step_key = self.log.step_key or _given(self.keys.step, names, "--step-key")
        if self.log.step_key is None and (step := first_of(STEP_KEYS, by_name)) is not None:
            self.log.step_key = by_name[step]
        self._has_steps = self.log.step_key is not None
        self._decide_kind(rows, names, by_name)
        for line, row in waiting:
            self._one(line, row)

    def _decide_kind(
        self, rows: list[Mapping[str, Any]], names: Mapping[str, None], by_name: Mapping[str, str]
    ) -> None:
        reward = _given(self.keys.reward, names, "--reward-key")
        group = _given(self.keys.group, names, "--group-key")
        if reward is None and (found := _reward_key(rows, by_name)) is not None:
            reward = found
        if group is None and (name := first_of(GROUP_KEYS, by_name)) is not None:
            group = by_name[name]
        holds_lists = reward is not None and any(_list(row.get(reward)) for row in rows)
        about_steps = any(
            figure_of(name) in _ONLY_OF_STEPS or component_of(name) for name in by_name
        )
        is_asked = self.keys.group is not None or self.keys.group_size is not None
        is_weak = reward is None or (self.keys.reward is None and normalised(reward) in _WEAK)
        if is_weak and group is not None and "advantage" in by_name and not about_steps:
            functions = _reward_functions(rows, names)
            if len(functions) > 1 or reward is None:
                self._reward_functions = functions
                reward = "+".join(functions) or None
        has_groups = group is not None or self.keys.group_size is not None
        if reward is None or not (holds_lists or (has_groups and (is_asked or not about_steps))):
            return
        self._is_rollouts = True
        self.log.reward_key = reward
        self.log.group_key = group
        if self.keys.group_size is not None and self.keys.group is None:
            self.log.group_key = None
            self.log.caveats.append(
                f"rows were cut into groups of {self.keys.group_size} in the order of the file"
            )
        if self._reward_functions:
            self.log.caveats.append(
                f"the reward is the plain sum of {', '.join(self._reward_functions)}; weights of "
                "the run are not in the file"
            )

    def _one(self, line: int | None, row: Mapping[str, Any]) -> None:
        kind = next((row[key] for key in _ROW_KINDS if isinstance(row.get(key), str)), "")
        if kind.lower() in _EVALUATION_KINDS or _is_all_evaluation(row):
            self.log.num_evaluation_rows += 1
            split(row, self.log)
            return
        self._num_seen += 1
        step = self._step(row, line)
        if step is None:
            return
        if self._is_rollouts:
            self._rollout(step, row, line)
        elif figures := split(row, self.log):
            self.log.row(step, figures, line)

    def _step(self, row: Mapping[str, Any], line: int | None) -> int | None:
        if not self._has_steps:
            if self.default_step is not None:
                return self.default_step
            return 1 if self._is_rollouts else self._num_seen
        raw = row.get(self.log.step_key or "")
        if raw is None or raw == "":
            if not self._is_rollouts and not split(row, self.log):
                return None
            self.log.problem("rows without a step were left out", self.log.place(line))
            return None
        step = whole(raw)
        if step is None:
            self.log.problem("a step that is no whole number; row left out", self.log.place(line))
        return step

    def _rollout(self, step: int, row: Mapping[str, Any], line: int | None) -> None:
        values = self._rewards(row)
        if values is None:
            self.log.problem("rollouts without a reward count as not scored", self.log.place(line))
            values = [math.nan]
        key = self.log.group_key
        if key is not None:
            group = _group_name(row.get(key))
        elif self.keys.group_size is not None:
            group = str((self._num_seen - 1) // self.keys.group_size)
        else:
            group = str(self._num_seen)
        if key is not None and row.get(key) is None:
            self.log.problem("rollouts without a group were left out", self.log.place(line))
            return
        if len(values) > 1:
            # A row is a group here: the same prompt may come twice in one step.
            group = f"{group}#{self._num_seen}"
        self.log.rewards(step, group, values, line)
        for name, raw in row.items():
            if (
                normalised(name).rpartition("/")[2] in _LENGTHS
                and (length := number(raw)) is not None
            ):
                self.log.length(step, length)
                break

    def _rewards(self, row: Mapping[str, Any]) -> list[float] | None:
        if self._reward_functions:
            parts = [number(row.get(name)) for name in self._reward_functions]
            return (
                None if None in parts else [math.fsum(part for part in parts if part is not None)]
            )
        raw = row.get(self.log.reward_key or "")
        if (many := _list(raw)) is not None:
            return [math.nan if value is None else value for value in map(number, many)] or None
        value = number(raw)
        return None if value is None else [value]


def _flat(row: Mapping[str, Any], prefix: str = "", depth: int = 1) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict) and depth < MAX_DEPTH:
            flat.update(_flat(value, f"{prefix}{key}/", depth + 1))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _given(key: str | None, names: Iterable[str], option: str) -> str | None:
    if key is not None and key not in names:
        raise NotALog(f"no column {key!r}, which {option} names; columns: {_listed(names)}")
    return key


def _reward_key(rows: list[Mapping[str, Any]], by_name: Mapping[str, str]) -> str | None:
    for name in REWARD_KEYS:
        key = by_name.get(name)
        if key is not None and any(
            number(row.get(key)) is not None or _list(row.get(key)) for row in rows
        ):
            return key
    # `rewards` may be an object of named parts with their total.
    return by_name.get("rewards/total") or by_name.get("reward/total")


def _reward_functions(rows: list[Mapping[str, Any]], names: Iterable[str]) -> tuple[str, ...]:
    """Columns of a table of completions that can only be reward functions."""
    taken = {*STEP_KEYS, *GROUP_KEYS, *_NO_REWARD_FUNCTIONS, *_LENGTHS}
    return tuple(
        name
        for name in names
        if normalised(name) not in taken
        and all(isinstance(row.get(name), int | float) for row in rows)
    )


def _list(raw: Any) -> list[Any] | None:
    if isinstance(raw, str) and raw.startswith("[") and len(raw) < 1 << 20:
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError):
            return None
    if hasattr(raw, "tolist"):
        raw = raw.tolist()
    return raw if isinstance(raw, list) and raw else None


def _group_name(raw: Any) -> str:
    text = raw if isinstance(raw, str) else json.dumps(raw, default=str)
    if len(text) <= 64:
        return text
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=12).hexdigest()


def _is_all_evaluation(row: Mapping[str, Any]) -> bool:
    names = [normalised(key) for key in row]
    ours = [name for name in names if figure_of(name) or component_of(name)]
    return not ours and any(is_evaluation(name) for name in names)


def _is_of_reinforcement_learning(log: Log) -> bool:
    return any(
        figure_of(key) not in (None, *_OF_ANY_TRAINING)
        for cells in log.cells.values()
        for key in cells
    )


def _nothing_found(log: Log) -> str:
    ours = list({key: None for cells in log.cells.values() for key in cells})
    keys = [*ours, *log.unknown, *log.evaluation_keys]
    no_numbers = [f"{key} (never a number)" for key in log.no_numbers if key not in ours]
    found = ", ".join([*no_numbers, *keys][:8])
    if not found:
        return "nothing in it looks like metrics over steps, or like rollouts"
    more = " ..." if len(keys) + len(no_numbers) > 8 else ""
    what = "another kind of training" if ours else "no metrics of reinforcement learning"
    return (
        f"{what}; keys found: {found}{more}; needed: a step and a reward (reward, "
        "critic/score/mean, mean_reward, ...), or rollouts with a reward and a group key"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:12])
