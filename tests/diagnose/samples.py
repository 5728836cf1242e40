"""Small logs in the formats that trainers write; every number is made up here."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner, Result

from monitor_service.diagnose import recognise, report
from monitor_service.diagnose.command import diagnose
from monitor_service.diagnose.intake import Keys
from monitor_service.diagnose.log import Log
from monitor_service.diagnose.replay import replay
from monitor_service.diagnose.sources import Source
from monitor_service.engine.collapse import RewardRange

Row = dict[str, Any]


def rising(num_steps: int = 120) -> list[Row]:
    """A healthy run: the reward goes from 0.2 to 0.8, nothing else moves much."""
    noise = random.Random(1)
    return [
        {
            "step": step,
            "reward": 0.2 + 0.6 * step / num_steps + noise.uniform(-0.02, 0.02),
            "reward_std": 0.4 + noise.uniform(-0.02, 0.02),
            "frac_reward_zero_std": noise.choice([0.125, 0.25, 0.25, 0.375]),
            "entropy": 0.9 + noise.uniform(-0.02, 0.02),
            "kl": 0.01 + noise.uniform(0, 0.002),
            "grad_norm": 0.5 + noise.uniform(-0.05, 0.05),
            "completions/mean_length": 200 + noise.uniform(-5, 5),
            "completions/clipped_ratio": 0.02,
            "loss": noise.uniform(-0.01, 0.01),
        }
        for step in range(1, num_steps + 1)
    ]


def collapsing(num_steps: int = 60, at: int = 31) -> list[Row]:
    """The same, until the reward is 0 from step `at` on and no gradient is left."""
    rows = rising(num_steps)
    for row in rows[at - 1 :]:
        row |= {"reward": 0.0, "reward_std": 0.0, "frac_reward_zero_std": 1.0, "grad_norm": 0.0}
    return rows


def rollouts(num_steps: int = 30, *, groups: int = 4, size: int = 4) -> list[Row]:
    """Completions with binary rewards: the pass rate goes from 0.3 to 0.7."""
    noise = random.Random(2)
    return [
        {
            "step": step,
            "prompt_id": f"p{group}",
            "response": "text that nobody keeps",
            "response_length": noise.randint(50, 60),
            "reward": float(noise.random() < 0.3 + 0.4 * step / num_steps),
        }
        for step in range(1, num_steps + 1)
        for group in range(groups)
        for _ in range(size)
    ]


def jsonl(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def csv(path: Path, rows: Sequence[Row], *, delimiter: str = ",") -> Path:
    lines = [delimiter.join(rows[0])]
    lines += [delimiter.join(str(value) for value in row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def trainer_state(path: Path, rows: Sequence[Row], **others: object) -> Path:
    state = {"best_metric": None, "log_history": rows, "max_steps": len(rows), **others}
    path.write_text(json.dumps(state, indent=2))
    return path


def read(path: Path, *, format: str | None = None, **keys: Any) -> Log:
    """The log in a file."""
    source = Source(str(path), (path,))
    return recognise.read(
        source,
        format=format,
        keys=Keys(**keys),
        opener=lambda one: one.open("rb"),
    )


def judged(path: Path, declared: RewardRange | None = None, **keys: Any) -> report.Diagnosis:
    """The diagnosis of a file."""
    log = read(path, **keys)
    return report.diagnosis(log, replay(log, declared))


def column(log: Log, key: str) -> Mapping[int, float | None]:
    """One column of a log as read, rows of a step merged by their mean."""
    return {
        step: cells[key].value("mean") for step, cells in sorted(log.cells.items()) if key in cells
    }


def acr(*arguments: str | Path, input: str | None = None) -> Result:
    """`acr diagnose` with these arguments, as a terminal without colours would see it."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(diagnose)
    return CliRunner().invoke(app, [str(one) for one in arguments], input=input)


def problems(log: Log) -> dict[str, list[str]]:
    """Problem -> places, without the folder."""
    return {
        found.text: [str(place).removeprefix(f"{log.path}:") for place in found.places]
        for found in log.problems.values()
    }
