"""One JSON file for each cell: what was measured, from what, and with which versions."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from trainer.compare.plan import Cell
from trainer.evaluate.estimate import pass_at_k_per_problem

SCHEMA = 1


class Series(Struct, kw_only=True, forbid_unknown_fields=True):
    """What each generation batch reported; lists of one length, None where nothing was measured.

    Entropy, KL and gradient norm are those of the newest finished optimizer step, so they lag by
    one and the first is None. The ACR is that of all groups sampled, before anything was injected
    or filtered.
    """

    reward: list[float | None] = []
    """Mean over the scored completions."""
    accuracy: list[float | None] = []
    """Mean of the component that tells right from wrong, on the scale of that reward."""
    acr: list[float | None] = []
    acr_wrong: list[float | None] = []
    acr_correct: list[float | None] = []
    acr_effective: list[float | None] = []
    """After injection and filtering; falls by construction."""
    entropy: list[float | None] = []
    """Nats per token of the completions in the loss. Arms that leave groups out of it, by a mask or
    by sampling, take it over other completions than the rest: see `Score.entropy` for all arms."""
    kl: list[float | None] = []
    grad_norm: list[float | None] = []
    injected_groups: list[int] = []
    completions: list[int] = []
    """Generated for the step, those that dynamic sampling threw away included."""
    seconds: list[float] = []
    """Since the step before was reported; the first since the start of training."""


class Score(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers of one policy to the held-out problems, counted per problem."""

    greedy: list[int]
    """[P] 1 where the greedy answer is right, else 0."""
    num_samples: int
    correct: list[int]
    """[P] right ones among `num_samples` samples."""
    entropy: float | None = None
    """Nats per token over the whole vocabulary at temperature 1, along the greedy answers;
    None where it was not measured."""

    @property
    def accuracy(self) -> float:
        """Share of right greedy answers."""
        return float(np.mean(self.greedy))

    def per_problem(self, k: int | None) -> "np.typing.NDArray[np.float64]":
        """[P] pass@k of each problem; the greedy answer's when k is None."""
        if k is None:
            return np.asarray(self.greedy, dtype=np.float64)
        return pass_at_k_per_problem(self.num_samples, np.asarray(self.correct), k)


class Result(Struct, kw_only=True, forbid_unknown_fields=True):
    """Of one cell."""

    schema: int = SCHEMA
    plan: str
    arm: str
    seed: int
    settings_hash: str
    settings: dict[str, Any]
    """The flat keys it was trained with."""
    error: str | None = None
    """Why there is no result; the figures below are then missing or partial."""
    traceback: str | None = None
    before: Score | None = None
    after: Score | None = None
    summary: dict[str, float] = {}
    """Accuracy, pass@k and entropy before and after, for readers."""
    series: Series = msgspec.field(default_factory=Series)
    weights_sha256: str = ""
    """Of the policy's parameters before training: equal for all arms of a seed that are paired."""
    data_sha256: str = ""
    """Of the training prompts in the order they are drawn, without what is sampled in addition."""
    problems_sha256: str = ""
    """Of the evaluation problems."""
    seconds: float = 0.0
    """Wall time of the cell, evaluation included."""
    versions: dict[str, str] = {}


def begun(cell: Cell) -> Result:
    """A result without figures."""
    return Result(
        plan=cell.plan.name,
        arm=cell.arm,
        seed=cell.seed,
        settings_hash=cell.settings_hash,
        settings=cell.plan.values_of(cell.arm),
    )


def file_of(folder: Path, cell: Cell) -> Path:
    """Where a cell's result lies."""
    return folder / "cells" / f"{cell.name}.json"


def write(path: Path, result: Result) -> None:
    """Write a result as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as target:
        target.write(msgspec.json.encode(result))
        target.flush()
        os.fsync(target.fileno())
    os.chmod(target.name, 0o644)
    os.replace(target.name, path)


def read(path: Path) -> Result | None:
    """A result; None when there is none, or one that this version cannot read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def finished(folder: Path, cell: Cell) -> Result | None:
    """The result of this cell, if it ran to its end with the settings it has now."""
    found = read(file_of(folder, cell))
    if found and found.error is None and found.settings_hash == cell.settings_hash:
        return found
    return None


def summarised(scores: Mapping[str, Score], k: tuple[int, ...]) -> dict[str, float]:
    """`accuracy_before`, `entropy_before`, `pass@4_after` and so on."""
    found: dict[str, float] = {}
    for when, score in scores.items():
        found[f"accuracy_{when}"] = score.accuracy
        if score.entropy is not None:
            found[f"entropy_{when}"] = score.entropy
        found |= {f"pass@{each}_{when}": float(score.per_problem(each).mean()) for each in k}
    return found
