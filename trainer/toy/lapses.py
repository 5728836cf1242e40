"""Additions that a warm start teaches right and wrong at once: room for GRPO to learn in.

Every problem has its answer and one systematic lapse: the carry left out where there is one, and
taken where there is none. The warm start shows a problem with its answer in a fixed share of the
draws and with the lapse in the others, so the model learns both procedures, and how often each is
used. GRPO then has to move probability from one to the other, which carries over to problems it
never saw.

The share is the problem's level. All problems with the same two tens digits have the same level: a
pattern that held-out problems continue, which a share per problem would not be.

R = training problems, B = problems in a batch.
"""

import random
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from trainer.toy.addition import MAX_OPERAND, operand_pairs, split
from trainer.toy.supervised import OnStep, fit


def lapse(a: int, b: int) -> int:
    """`a` + `b` with the carry into the tens left out or made up.

    >>> lapse(17, 25), lapse(12, 25)
    (32, 47)
    """
    return a + b - 10 if a % 10 + b % 10 > 9 else a + b + 10


def make_splits(levels: Sequence[float], *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """The sums of `addition.make_splits`, padded with zeros ("07+85=", "092"), and their lapses.

    Digits that always stand in the same place are learnt in fewer steps, and closer to the levels.

    Args:
        levels: shares of right answers in [0, 1], at least one; each goes to an equal part of the
            55 pairs of tens digits, give or take one, in an order that follows from the seed.
        seed: of the problems and of the levels.

    Returns:
        Training and held-out problems with the columns `prompt`, `answer`, `lapse` (the wrong
        answer, as text) and `right_share` (one of `levels`).
    """
    num_tens = MAX_OPERAND // 10 + 1
    families = [(low, high) for high in range(num_tens) for low in range(high + 1)]
    random.Random(seed).shuffle(families)
    share = {family: levels[i % len(levels)] for i, family in enumerate(families)}
    problems: list[dict[str, Any]] = [
        {
            "prompt": f"{a:02}+{b:02}=",
            "answer": f"{a + b:03}",
            "lapse": f"{lapse(a, b):03}",
            "right_share": share[min(a // 10, b // 10), max(a // 10, b // 10)],
        }
        for a, b in operand_pairs(seed=seed)
    ]
    return split(problems)


def warm_start(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset,
    *,
    num_steps: int = 2_000,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> None:
    """Teach `model` in place both procedures, each as often as `right_share` says.

    Args:
        model: as from `make_model`, on any device.
        tokenizer: as from `make_tokenizer`.
        dataset: as from `make_splits`, at least one row.
        num_steps: optimiser steps.
        batch_size: problems per step, drawn evenly with replacement.
        learning_rate: of AdamW, falling linearly to 0.
        seed: of the draw of the batches.
        on_step: called after every step with (steps done, `num_steps`).
    """
    num_problems = len(dataset)
    right_share_R = torch.tensor(dataset["right_share"][:])

    def draw(generator: torch.Generator) -> torch.Tensor:
        rows_B = torch.randint(num_problems, (batch_size,), generator=generator)
        is_lapse_B = torch.rand(batch_size, generator=generator) >= right_share_R[rows_B]
        return rows_B + num_problems * is_lapse_B

    prompts = dataset["prompt"][:]
    fit(
        model,
        tokenizer,
        [
            *zip(prompts, dataset["answer"], strict=True),
            *zip(prompts, dataset["lapse"], strict=True),
        ],
        draw,
        num_steps=num_steps,
        learning_rate=learning_rate,
        seed=seed,
        on_step=on_step,
    )
