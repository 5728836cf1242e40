"""A run that may die and be resumed: `resumable.py FOLDER MONITOR_PID OPTIONS`.

Every report that is handed in is appended to `FOLDER/reports.jsonl` as it is.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import TrainerCallback

from monitor_service.wire import StepReport
from tests.e2e.runs import OUTCOMES
from tests.trainer.toys import G, arguments, config
from trainer import GRPOTrainer

STEPS, SAVED, DEAD, AWAY = 30, 15, 20, 10
"""A whole run; its checkpoint; where the process dies; where it kills the monitor, if it does."""


class At(TrainerCallback):
    """Does something once, after a step."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self._step, self._act = step, act

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            self._act()


def trainer(folder: Path, **options: Any) -> GRPOTrainer:
    """A run of 16 groups a step, with its checkpoint half-way, that notes what it hands in."""
    args = config(
        folder,
        **{
            "use_avspo": True,
            "acr_threshold_init": 0.4,
            "per_device_train_batch_size": 16 * G,
            "learning_rate": 1e-4,
            "max_steps": STEPS,
            "save_strategy": "steps",
            "save_steps": SAVED,
            **options,
        },
    )
    run = GRPOTrainer(**arguments(args, OUTCOMES * 8))
    link = run.loop._link
    assert link is not None
    hand_in = link.submit

    def noted(report: StepReport) -> bool:
        with (folder / "reports.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(report) + b"\n")
        return hand_in(report)

    link.submit = noted  # type: ignore[method-assign]
    return run


def died(folder: Path, monitor_pid: int = 0, **options: Any) -> None:
    """Such a run in a process of its own, until it dies."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.e2e.resumable", str(folder), str(monitor_pid)]
    done = subprocess.run(
        [*command, json.dumps(options)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]


def resumed(folder: Path, **options: Any) -> GRPOTrainer:
    """The run that died, taken up from its checkpoint and finished in this process."""
    run = trainer(folder, **options)
    run.train(resume_from_checkpoint=str(folder / f"checkpoint-{SAVED}"))
    return run


def handed_in(folder: Path) -> dict[int, StepReport]:
    """The reports, those of steps that were trained again as they were the second time."""
    lines = (folder / "reports.jsonl").read_bytes().splitlines()
    reports = [msgspec.json.decode(line, type=StepReport) for line in lines]
    return {report.step: report for report in reports}


def main(folder: Path, monitor_pid: int, options: dict[str, Any]) -> None:
    """Train, and die on the way."""
    torch.set_num_threads(1)
    run = trainer(folder, **options)
    if monitor_pid:
        run.add_callback(At(AWAY, partial(os.kill, monitor_pid, signal.SIGKILL)))
    run.add_callback(At(DEAD, partial(os.kill, os.getpid(), signal.SIGKILL)))
    run.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
