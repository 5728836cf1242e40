"""One cell from its configuration to its result, in this process."""

import hashlib
import json
import platform
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

import torch
import yaml
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, set_seed
from transformers.trainer_utils import IntervalStrategy
from trl import ModelConfig

from monitor_service.__about__ import __version__
from monitor_service.errors import InvalidInput
from trainer.arguments import PARTS, ScriptArguments, parse
from trainer.build import build_trainer
from trainer.compare import results
from trainer.compare.examine import Examiner
from trainer.compare.plan import SETTINGS, Cell, Plan
from trainer.compare.recorder import Recorder
from trainer.compare.results import Result
from trainer.config import GRPOConfig
from trainer.connect import link_for
from trainer.grpo import GRPOTrainer

NEVER = 10**9
"""Optimizer steps between evaluations of TRL's own, which the harness has no use for."""
LOCKSTEP_S = 30.0
"""How long a step waits for a monitor that is elsewhere, so that cells repeat."""
NUM_HASHED_PROMPTS = 1_000
"""Training prompts, in the order drawn, that tell whether two arms see the same data."""
PACKAGES = ("torch", "trl", "transformers", "accelerate", "numpy")

OnStep = Callable[[int, int], None]
"""Called with (steps done, steps in all, 0 before it is known)."""


def configure(
    cell: Cell, folder: Path, monitor_url: str | None
) -> tuple[ScriptArguments, GRPOConfig, ModelConfig]:
    """The cell's configuration, written as a file that `acr-train` takes, and parsed from it.

    Raises:
        InvalidInput: what `acr-train` refuses, with the arm that asks for it.
    """
    values = cell.plan.values_of(cell.arm)
    settings = values.pop(SETTINGS, None)
    values |= {"seed": cell.seed, "output_dir": str(folder / "runs" / cell.name)}
    # Warm-started once for all arms of a seed.
    values.setdefault("toy_cache_dir", str(folder / "toy"))
    if settings:
        values["avspo_settings"] = settings
    if monitor_url:
        values |= {"monitor_url": monitor_url, "run_id": cell.run_id}
        # As with the engine in process: decided with what follows from the step before, or not run.
        values.setdefault("settings_wait_s", LOCKSTEP_S)
        values.setdefault("monitor_unreachable", "fail")
    path = results.file_of(folder, cell).with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    try:
        return parse([str(path)])
    except ValueError as error:
        text = " ".join(str(error).replace(str(path), "it").split())
        raise InvalidInput(f"arms.{cell.arm}", values, f"is no configuration: {text}") from error


def check(plan: Plan) -> None:
    """Build the configuration of every arm, and refuse the plan where one cannot be.

    Raises:
        InvalidInput: an unknown key, a value out of range, or two arms that come to the same.
    """
    known = {option.name for part in PARTS for option in fields(part)} | {SETTINGS}
    for where, values in (
        ("base", plan.base),
        *((f"arms.{name}", own or {}) for name, own in plan.arms.items()),
    ):
        for key in values:
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise InvalidInput(f"{where}.{key}", values[key], f"is no key of acr-train{hint}")
    built: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="acr-compare-") as scratch:
        for arm in plan.arms:
            cell = Cell(plan=plan, arm=arm, seed=plan.seeds[0])
            script, training, model = configure(cell, Path(scratch), None)
            training.output_dir = scratch
            for other, its in built.items():
                if its == (script, training, model):
                    raise InvalidInput(f"arms.{arm}", plan.arms[arm], f"equals the arm {other}")
            built[arm] = (script, training, model)


def run(
    cell: Cell, folder: Path, *, monitor_url: str | None = None, on_step: OnStep | None = None
) -> Result:
    """Train and examine one cell, and write its result; a failure is a result too.

    Args:
        cell: what to run.
        folder: where the comparison keeps its files.
        monitor_url: posts the cell as a run; None: the engine in this process.
        on_step: told of the progress.
    """
    started_s = time.perf_counter()
    result = results.begun(cell)
    result.versions = _versions()
    try:
        _fill(result, cell, folder, monitor_url, on_step or (lambda done, total: None))
    except Exception as error:  # noqa: BLE001 - the others go on, whatever ails this cell's reward
        result.error = f"{type(error).__name__}: {' '.join(str(error).split())}"
        result.traceback = traceback.format_exc()
    for empty in (folder / "runs" / cell.name, folder / "runs"):
        with suppress(OSError):  # What a run saved there stays.
            empty.rmdir()
    result.seconds = time.perf_counter() - started_s
    results.write(results.file_of(folder, cell), result)
    return result


def _fill(
    result: Result, cell: Cell, folder: Path, monitor_url: str | None, on_step: OnStep
) -> None:
    script, training, model = configure(cell, folder, monitor_url)
    # With an evaluation configured, the held-out problems are loaded as for `acr-train`.
    training.eval_strategy, training.eval_steps = IntervalStrategy.STEPS, NEVER
    set_seed(cell.seed)
    progress = _Progress(on_step)
    recorder = Recorder(link_for(training), result.series, on_step=progress.count)
    trainer = build_trainer(script, training, model, monitor=recorder)
    trainer.args.eval_strategy = IntervalStrategy.NO
    for silent in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(silent)
    trainer.add_callback(progress)
    evaluation = cell.plan.evaluate
    problems = trainer.eval_dataset
    if evaluation.problems is not None:
        problems = problems.select(range(min(evaluation.problems, len(problems))))
    result.weights_sha256 = _weights_hash(trainer)
    result.data_sha256 = _hash(_order(trainer))
    result.problems_sha256 = _hash(list(problems["prompt"]))
    examiner = Examiner(trainer=trainer, problems=problems, evaluation=evaluation, seed=cell.seed)
    result.before = examiner.score()
    set_seed(cell.seed)
    trainer.train()
    result.after = examiner.score()
    result.summary = results.summarised(
        {"before": result.before, "after": result.after}, evaluation.k
    )


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Counts generation batches, of which TRL's trainer knows only what they come to."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step
        self._done = self._total = 0

    def count(self) -> None:
        self._done += 1
        self._on_step(self._done, self._total)

    def on_train_begin(self, args, state, control, **kwargs) -> None:  # type: ignore[no-untyped-def]
        micro_steps = state.max_steps * args.gradient_accumulation_steps
        self._total = -(-micro_steps // (args.steps_per_generation * args.num_iterations))
        self._on_step(0, self._total)


def _weights_hash(trainer: GRPOTrainer) -> str:
    found = hashlib.sha256()
    model = trainer.accelerator.unwrap_model(trainer.model)
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _order(trainer: GRPOTrainer) -> list[object]:
    """Training prompts in the order TRL draws them; a second sampler disturbs no random state."""
    drawn: dict[int, None] = {}
    for row in trainer._get_train_sampler():
        drawn.setdefault(row)
        if len(drawn) == NUM_HASHED_PROMPTS:
            break
    return list(trainer.train_dataset.select(drawn)["prompt"])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in PACKAGES}
    return {"acr-monitor": __version__, "python": platform.python_version(), **found}
