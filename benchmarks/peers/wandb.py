"""Weights & Biases, offline: figures and a histogram, synchronised later by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import wandb

from benchmarks.peers.peer import Logger
from benchmarks.peers.step import Step


@dataclass(slots=True)
class _Run:
    run: wandb.Run

    def log(self, step: Step) -> None:
        rewards = wandb.Histogram(step.rewards.ravel())
        self.run.log({**step.figures, "rewards": rewards}, step=step.number)

    def finish(self) -> None:
        self.run.finish()


@contextmanager
def opened(folder: Path) -> Iterator[Logger]:
    """An offline run."""
    settings = wandb.Settings(silent=True)
    yield _Run(wandb.init(project="bench", dir=folder, mode="offline", settings=settings))
