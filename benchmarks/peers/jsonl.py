"""The floor: a line of JSON for each step, in a file of this process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from benchmarks.peers.peer import Logger
from benchmarks.peers.step import Step


@dataclass(slots=True)
class _File:
    file: TextIO

    def log(self, step: Step) -> None:
        line = {"step": step.number, **step.figures, "rewards": step.rewards.tolist()}
        self.file.write(json.dumps(line) + "\n")

    def finish(self) -> None:
        self.file.flush()


@contextmanager
def opened(folder: Path) -> Iterator[Logger]:
    """A new file."""
    with (folder / "steps.jsonl").open("w") as file:
        yield _File(file)
