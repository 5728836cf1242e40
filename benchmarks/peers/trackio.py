"""Trackio, local: figures and a histogram, in SQLite."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trackio

from benchmarks.peers.peer import Logger
from benchmarks.peers.step import Step


class _Run:
    def log(self, step: Step) -> None:
        rewards = trackio.Histogram(step.rewards.ravel())
        trackio.log({**step.figures, "rewards": rewards}, step=step.number)

    def finish(self) -> None:
        trackio.finish()


@contextmanager
def opened(folder: Path) -> Iterator[Logger]:
    """A run; TRACKIO_DIR, which the package reads when it is imported, says where."""
    trackio.init(project="bench", embed=False)
    yield _Run()
