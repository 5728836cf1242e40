"""The toy tasks by name, and their warm-started models from a cache.

A task is data and a few methods: its `repr` says all that its weights depend on but the code.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from filelock import FileLock
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from trainer.rewards.exact import exact_match_reward
from trainer.toy import addition, lapses
from trainer.toy.model import make_model, make_tokenizer
from trainer.toy.supervised import OnStep

PREFIX = "toy"
"""A model name is this alone, for the default task, or this, a colon and the name of a task."""
DEFAULT = "addition"
_SOURCES = ("addition", "lapses", "model", "supervised")
"""Modules that the warm-started weights depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one toy experiment needs: problems, model, warm start, arguments of GRPO, reward.

    This class is the addition; see `LapseTask` for the others.
    """

    name: str
    """After which `find` looks."""
    summary: str
    """One line for people."""
    learning_rate: float = addition.GRPO_DEFAULTS["learning_rate"]
    """Of GRPO."""
    num_steps: int = 300
    """GRPO steps that the figures in the documentation are about."""

    @property
    def grpo_defaults(self) -> dict[str, Any]:
        """Arguments of a `GRPOConfig`; how long to train is not among them."""
        return {**addition.GRPO_DEFAULTS, "learning_rate": self.learning_rate}

    @property
    def reward(self) -> Callable[..., list[float | None]]:
        """1 for the answer itself, else 0; any other reward function fits the same columns."""
        return exact_match_reward

    def make_tokenizer(self) -> PreTrainedTokenizerFast:
        """As `model.make_tokenizer`."""
        return make_tokenizer()

    def make_model(self, *, seed: int = 0) -> Qwen2ForCausalLM:
        """As `model.make_model`: untrained."""
        return make_model(seed=seed)

    def make_splits(self, *, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Training and held-out problems, with the columns `prompt` and `answer` at least."""
        return addition.make_splits(seed=seed)

    def warm_start(
        self,
        model: Qwen2ForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        dataset: Dataset,
        *,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> None:
        """Teach `model` in place where GRPO begins; `on_step` gets (steps done, steps in all)."""
        addition.warm_start(model, tokenizer, dataset, seed=seed, on_step=on_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class LapseTask(Task):
    """Addition with a systematic lapse; see `trainer.toy.lapses`."""

    levels: tuple[float, ...]
    """Shares of right answers in the warm start, in [0, 1]: the difficulties of the task."""

    def make_splits(self, *, seed: int = 0) -> tuple[Dataset, Dataset]:
        """As `lapses.make_splits`: also with the columns `lapse` and `right_share`."""
        return lapses.make_splits(self.levels, seed=seed)

    def warm_start(
        self,
        model: Qwen2ForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        dataset: Dataset,
        *,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> None:
        """As `lapses.warm_start`."""
        lapses.warm_start(model, tokenizer, dataset, seed=seed, on_step=on_step)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(name=DEFAULT, summary="Addition, partly taught; plain GRPO hardly improves it."),
            LapseTask(
                name="mixed",
                summary="Groups collapse both ways; plain GRPO improves clearly.",
                levels=(0.01, 0.05, 0.5, 0.95, 0.99),
            ),
            LapseTask(
                name="hard",
                summary="At first nearly every group is all wrong; few answers are ever right.",
                learning_rate=1e-5,
                levels=(0.0, 0.01, 0.02, 0.05, 0.1),
            ),
            LapseTask(
                name="easy",
                summary="Only all-correct groups collapse; greedy answers are mostly right.",
                learning_rate=1e-4,
                levels=(0.5, 0.8, 0.95, 0.99, 1.0),
            ),
        )
    }
)


def is_toy(model_name: str | None) -> bool:
    """Whether a `model_name_or_path` means a toy task, known or not, rather than a real model."""
    return model_name is not None and (model_name == PREFIX or model_name.startswith(f"{PREFIX}:"))


def find(model_name: str) -> Task:
    """The task that "toy" or "toy:NAME" means.

    Raises:
        ValueError: there is no such task; the message has the names of all.
    """
    prefix, _, name = model_name.partition(":")
    task = TASKS.get(name or DEFAULT)
    if prefix != PREFIX or task is None or model_name.endswith(":"):
        allowed = ", ".join([PREFIX, *(f"{PREFIX}:{known}" for known in TASKS)])
        raise ValueError(f"no such toy task: {model_name!r}; allowed: {allowed}")
    return task


class WarmStarted(NamedTuple):
    """Where GRPO begins."""

    model: Qwen2ForCausalLM
    tokenizer: PreTrainedTokenizerFast
    train: Dataset
    eval: Dataset


def warm_started(
    task: Task, seed: int, cache_dir: str | Path | None = None, on_step: OnStep | None = None
) -> WarmStarted:
    """The warm-started model of `task` with its problems, all from `seed`.

    Args:
        task: one of `TASKS`, or one of your own.
        seed: of the problems, the model and the warm start.
        cache_dir: folder that keeps the weights, made if need be; None keeps nothing. A file is
            only read back by the same task with the same parameters, seed, code, torch and
            transformers. Processes may share the folder: the first trains, the others wait for it
            and start from exactly its weights.
        on_step: called after every step of the warm start; never, when the weights were there.
    """
    tokenizer, model = task.make_tokenizer(), task.make_model(seed=seed)
    train, held_out = task.make_splits(seed=seed)
    if cache_dir is None:
        task.warm_start(model, tokenizer, train, seed=seed, on_step=on_step)
        return WarmStarted(model, tokenizer, train, held_out)
    folder = Path(cache_dir)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{task.name}-{seed}-{_fingerprint(task)}.pt"
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            task.warm_start(model, tokenizer, train, seed=seed, on_step=on_step)
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as scratch:
                torch.save(model.state_dict(), scratch)
            os.replace(scratch.name, file)
    model.load_state_dict(torch.load(file, weights_only=True))
    model.train()
    return WarmStarted(model, tokenizer, train, held_out)


def _fingerprint(task: Task) -> str:
    """Changes with whatever the weights depend on but the seed."""
    digest = hashlib.sha256(repr(task).encode())
    for package in ("torch", "transformers"):
        digest.update(version(package).encode())
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]
