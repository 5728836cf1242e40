"""The addition: two operands of 0 to 99, some of it taught before GRPO begins.

A brief supervised warm start leaves the model between guessing and knowing, where GRPO groups
collapse both ways: all wrong on hard sums, all correct on easy ones.
"""

import itertools
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from trainer.toy.supervised import OnStep, fit

MAX_OPERAND = 99
MAX_ANSWER_TOKENS = len(str(2 * MAX_OPERAND)) + 1
"""Digits of the largest sum and the end-of-sequence token."""

NUM_EVAL_PROBLEMS = 1_000
"""Keeps the standard error of an accuracy at or below sqrt(0.25 / 1000) = 0.016."""

WARM_START_SUM_SCALE = 20.0
"""The warm start shows a problem with weight exp(-sum / 20): small sums become easy, large ones
stay hard. Shown evenly, all problems are learnt at once and few groups collapse."""

GRPO_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "learning_rate": 5e-5,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 128,
        "num_generations": 8,
        "max_completion_length": MAX_ANSWER_TOKENS,
        "temperature": 1.0,
        "beta": 0.0,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
    }
)
"""`trl.GRPOConfig` arguments: 16 groups of 8 per step; 2e-4 as learning rate unlearns the task."""


def operand_pairs(*, seed: int) -> list[tuple[int, int]]:
    """Every unordered pair of operands once, in one random order, shuffled: 5,050 of them."""
    generator = random.Random(seed)
    pairs = list(itertools.combinations_with_replacement(range(MAX_OPERAND + 1), 2))
    generator.shuffle(pairs)
    return [(a, b) for a, b in (generator.sample(pair, 2) for pair in pairs)]


def split(problems: list[dict[str, Any]]) -> tuple[Dataset, Dataset]:
    """Training problems, and the first `NUM_EVAL_PROBLEMS`, which are held out."""
    return (
        Dataset.from_list(problems[NUM_EVAL_PROBLEMS:]),
        Dataset.from_list(problems[:NUM_EVAL_PROBLEMS]),
    )


def make_splits(*, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Training and held-out problems with the columns `prompt` ("12+7=") and `answer` ("19").

    Every unordered pair of operands occurs once, in one of the splits and in one random order, so
    no held-out sum was seen the other way round. 4,050 training and 1,000 held-out problems.
    """
    return split(
        [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a, b in operand_pairs(seed=seed)]
    )


def warm_start(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset,
    *,
    num_steps: int = 1_000,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> None:
    """Teach `model` in place some, not all, of the addition in `dataset`.

    Args:
        model: as from `make_model`, on any device.
        tokenizer: as from `make_tokenizer`.
        dataset: columns `prompt` and `answer`, at least one row.
        num_steps: optimiser steps.
        batch_size: problems per step, drawn with replacement, small sums more often.
        learning_rate: of AdamW, falling linearly to 0.
        seed: of the draw of the batches.
        on_step: called after every step with (steps done, `num_steps`).
    """
    sums = torch.tensor([float(answer) for answer in dataset["answer"]])
    weights = torch.exp(-sums / WARM_START_SUM_SCALE)
    fit(
        model,
        tokenizer,
        list(zip(dataset["prompt"], dataset["answer"], strict=True)),
        lambda generator: torch.multinomial(
            weights, batch_size, replacement=True, generator=generator
        ),
        num_steps=num_steps,
        learning_rate=learning_rate,
        seed=seed,
        on_step=on_step,
    )
