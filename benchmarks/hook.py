"""What the control loop costs a training step, against TRL's own advantage computation.

    python -m benchmarks.hook [--json FILE]

Both sides work on the same rewards in the same process, in interleaved rounds, and the ratio of
their CPU times is the figure; milliseconds depend on the machine. "hook" is everything the trainer
does for us on the training thread: sum and judge the rewards, decide, rewrite the advantages,
build the report and hand it to the queue.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from monitor_service.engine.injection import Host
from monitor_service.engine.settings import Settings
from monitor_service.wire import Scalars, StepReport
from trainer import avspo
from trainer.link import Held
from trainer.loop import ControlLoop

SIZES = ((16, 8), (128, 8), (1024, 16))
"""(groups, completions per group) of a step."""
ROUNDS = 30
REPEATS = 10


class Queue:
    """A link whose monitor is far away: settings are a variable, reports are appended."""

    def __init__(self) -> None:
        self._held = Held(settings=Settings(threshold=0.3))
        self._reports: list[StepReport] = []

    def start(self, after_step: int) -> None:
        """Nothing to announce."""

    def settings_for(self, step: int, wait_s: float) -> Held:
        """The one there is."""
        return self._held

    def submit(self, report: StepReport) -> bool:
        """Keep the newest."""
        self._reports = [report]
        return True

    def close(self) -> None:
        """Nothing to let go."""


def trl_advantages(rewards: torch.Tensor, num_generations: int) -> torch.Tensor:
    """The same tensor operations that TRL performs with scale_rewards='group'."""
    total = (rewards * torch.ones(1)).nansum(dim=1)
    grouped = total.view(-1, num_generations)
    means = torch.nanmean(grouped, dim=1).repeat_interleave(num_generations, dim=0)
    stds = grouped.std(dim=1).repeat_interleave(num_generations, dim=0)
    torch.isclose(stds, torch.zeros_like(stds))
    return torch.nan_to_num((total - means) / (stds + 1e-4), nan=0.0)


def hook(loop: ControlLoop, rewards: torch.Tensor, advantages: torch.Tensor, g: int) -> None:
    """One turn on the training thread."""
    loop.begin_step()
    total = avspo.total_rewards(rewards, torch.ones(1), g)
    decided = loop.decide(total, None)
    avspo.apply(decided, total, advantages, 0)
    loop.figures(decided)
    loop.report(
        decided,
        total,
        None,
        components={"accuracy": rewards[:, 0].numpy()},
        scalars=Scalars(),
        optimizer_step=0,
    )


def cpu_s(act: Callable[[], Any]) -> float:
    """CPU seconds of one call, the mean of a few."""
    began = time.process_time()
    for _ in range(REPEATS):
        act()
    return (time.process_time() - began) / REPEATS


def measure(n: int, g: int) -> dict[str, float]:
    """Medians over interleaved rounds for a step of `n` groups of `g` completions."""
    rng = np.random.default_rng(0)
    rates = rng.beta(0.5, 0.5, size=(n, 1))
    rewards = torch.from_numpy((rng.random((n, g)) < rates).astype(np.float32)).reshape(-1, 1)
    loop = ControlLoop(Queue(), share=lambda held: held or Held(settings=Settings()), host=Host())
    loop.start(0)
    advantages = trl_advantages(rewards, g)
    pairs = [
        (
            cpu_s(lambda: trl_advantages(rewards, g)),
            cpu_s(lambda: hook(loop, rewards, advantages, g)),
        )
        for _ in range(ROUNDS)
    ]
    ratios = [ours / theirs for theirs, ours in pairs]
    return {
        "groups": n,
        "completions": g,
        "trl_us": 1e6 * statistics.median(theirs for theirs, _ in pairs),
        "hook_us": 1e6 * statistics.median(ours for _, ours in pairs),
        "ratio": statistics.median(ratios),
        "ratio_p10": statistics.quantiles(ratios, n=10)[0],
        "ratio_p90": statistics.quantiles(ratios, n=10)[-1],
    }


def main() -> None:
    """Measure all sizes and print a table."""
    parser = argparse.ArgumentParser(description="Cost of the hook per training step.")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    target = parser.parse_args().json
    torch.set_num_threads(1)
    console = Console(stderr=True)
    found = [measure(n, g) for n, g in track(SIZES, "measuring", console=console)]
    table = Table("groups x completions", "TRL's advantages", "hook", "ratio (p10-p90)", box=None)
    for row in found:
        table.add_row(
            f"{row['groups']} x {row['completions']}",
            f"{row['trl_us']:.0f} us",
            f"{row['hook_us']:.0f} us",
            f"{row['ratio']:.1f} ({row['ratio_p10']:.1f}-{row['ratio_p90']:.1f})",
        )
    console.print(table)
    if target:
        target.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
