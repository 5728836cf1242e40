"""The supervised warm start: cross entropy on whole answers.

B = problems in a batch, R = texts, L = tokens of the longest text.
"""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from trainer.toy.model import EOS

IGNORED_LABEL = -100
"""Target value that the cross entropy of `transformers` models leaves out."""

OnStep = Callable[[int, int], None]
"""Called after every step with (steps done, steps in all)."""


def fit(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[tuple[str, str]],
    draw: Callable[[torch.Generator], torch.Tensor],
    *,
    num_steps: int,
    learning_rate: float,
    seed: int,
    on_step: OnStep | None,
) -> None:
    """Teach `model` in place to answer as `texts` do.

    Args:
        model: as from `make_model`, on any device.
        tokenizer: as from `make_tokenizer`.
        texts: [R] (prompt, answer), at least one.
        draw: rows of `texts` for one batch, [B] int64.
        num_steps: optimiser steps.
        learning_rate: of AdamW, falling linearly to 0.
        seed: of the generator that `draw` gets.
        on_step: called after every step.
    """
    ids, labels = _encode(tokenizer, texts)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1.0, end_factor=0.0, total_iters=num_steps
    )
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(1, num_steps + 1):
        rows_B = draw(generator)
        input_ids = ids[rows_B].to(model.device)
        loss = model(
            input_ids=input_ids,
            attention_mask=input_ids != tokenizer.pad_token_id,
            labels=labels[rows_B].to(model.device),
        ).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if on_step is not None:
            on_step(step, num_steps)


def _encode(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[tuple[str, str]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and targets, both [R, L] int64; the prompt is not a target."""
    whole = [prompt + answer + EOS for prompt, answer in texts]
    ids = tokenizer(whole, padding=True, return_tensors="pt")["input_ids"]
    labels = torch.full_like(ids, IGNORED_LABEL)
    for row, (_, answer) in enumerate(texts):
        num_targets = len(answer) + 1
        labels[row, -num_targets:] = ids[row, -num_targets:]
    return ids, labels
