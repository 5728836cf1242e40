"""TensorBoard, by tensorboardX: scalars and a histogram in an event file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tensorboardX

from benchmarks.peers.peer import Logger
from benchmarks.peers.step import Step


@dataclass(slots=True)
class _Writer:
    writer: tensorboardX.SummaryWriter

    def log(self, step: Step) -> None:
        for name, value in step.figures.items():
            self.writer.add_scalar(name, value, step.number)
        self.writer.add_histogram("rewards", step.rewards.ravel(), step.number)

    def finish(self) -> None:
        self.writer.close()


@contextmanager
def opened(folder: Path) -> Iterator[Logger]:
    """An event file."""
    yield _Writer(tensorboardX.SummaryWriter(str(folder)))
