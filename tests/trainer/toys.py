"""A trainer small enough for unit tests: an untrained toy model and rewards we choose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from trainer import toy
from trainer.config import GRPOConfig

G = 4
"""Completions per group."""


def prompts(outcomes: list[str]) -> Dataset:
    """Problems whose `outcome` column tells `by_outcome` how their group is rewarded."""
    return Dataset.from_list(
        [
            {"prompt": f"{i}+{i}=", "answer": str(2 * i), "outcome": o}
            for i, o in enumerate(outcomes)
        ]
    )


def by_outcome(completion_ids: list[list[int]], outcome: list[str], **_: Any) -> list[float | None]:
    """right 1, wrong 0, half 0.5, unscored None, mixed: whatever the tokens add up to."""
    fixed = {"right": 1.0, "wrong": 0.0, "half": 0.5, "unscored": None}
    return [
        fixed[kind] if kind in fixed else sum(ids) % 13 / 13
        for ids, kind in zip(completion_ids, outcome, strict=True)
    ]


def config(folder: Path, **changes: Any) -> GRPOConfig:
    """Two groups of G a step, one optimizer step a batch, silent."""
    return GRPOConfig(
        **{
            **toy.GRPO_DEFAULTS,
            "output_dir": str(folder),
            "per_device_train_batch_size": 2 * G,
            "num_generations": G,
            "max_steps": 3,
            "logging_steps": 1,
            "report_to": [],
            "save_strategy": "no",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            "seed": 3,
            **changes,
        }
    )


def arguments(
    args: Any, outcomes: list[str], reward: Callable[..., list[float | None]] = by_outcome
) -> dict[str, Any]:
    """Arguments for TRL's trainer or ours: a fresh model each time, the same for a seed."""
    torch.manual_seed(args.seed)
    return {
        "model": toy.make_model(seed=1),
        "args": args,
        "reward_funcs": [reward],
        "train_dataset": prompts(outcomes),
        "processing_class": toy.make_tokenizer(),
    }
