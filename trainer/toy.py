"""A tiny model and an arithmetic task, for machines without weights and without a network.

Two-operand addition over 0..99, one token per character, a Qwen2 of 133k parameters. A brief
supervised warm start leaves the model between guessing and knowing, where GRPO groups collapse
both ways: all wrong on hard sums, all correct on easy ones. Everything is built in memory and
follows from its seed.

B = problems in a batch, L = tokens of the longest problem.
"""

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
SYMBOLS = (PAD, BOS, EOS, UNK, *"0123456789+= ")

MAX_OPERAND = 99
MAX_ANSWER_TOKENS = len(str(2 * MAX_OPERAND)) + 1
"""Digits of the largest sum and the end-of-sequence token."""

NUM_EVAL_PROBLEMS = 1_000
"""Keeps the standard error of an accuracy at or below sqrt(0.25 / 1000) = 0.016."""

WARM_START_SUM_SCALE = 20.0
"""The warm start shows a problem with weight exp(-sum / 20): small sums become easy, large ones
stay hard. Shown evenly, all problems are learnt at once and few groups collapse."""

IGNORED_LABEL = -100
"""Target value that the cross entropy of `transformers` models leaves out."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Share of problems answered exactly."""

    value: float
    """Fraction in [0, 1]."""
    num_problems: int
    """Problems behind `value`, at least 1."""

    @property
    def standard_error(self) -> float:
        """Binomial standard error of `value`, a fraction; 0.0 when all or none were right."""
        return float((self.value * (1 - self.value) / self.num_problems) ** 0.5)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character of `SYMBOLS`, padded on the left; adds no special tokens itself."""
    vocabulary = {symbol: token_id for token_id, symbol in enumerate(SYMBOLS)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token=UNK))
    backend.pre_tokenizer = Split(Regex("."), behavior="isolated")
    backend.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def make_model(*, seed: int = 0) -> Qwen2ForCausalLM:
    """An untrained float32 Qwen2 for `make_tokenizer`; leaves the global random state alone."""
    config = Qwen2Config(
        vocab_size=len(SYMBOLS),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=SYMBOLS.index(PAD),
        bos_token_id=SYMBOLS.index(BOS),
        eos_token_id=SYMBOLS.index(EOS),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)


def make_splits(*, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Training and held-out problems with the columns `prompt` ("12+7=") and `answer` ("19").

    Every unordered pair of operands occurs once, in one of the splits and in one random order, so
    no held-out sum was seen the other way round. 4,050 training and 1,000 held-out problems.
    """
    generator = random.Random(seed)
    pairs = list(itertools.combinations_with_replacement(range(MAX_OPERAND + 1), 2))
    generator.shuffle(pairs)
    ordered = [generator.sample(pair, 2) for pair in pairs]
    problems = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a, b in ordered]
    return (
        Dataset.from_list(problems[NUM_EVAL_PROBLEMS:]),
        Dataset.from_list(problems[:NUM_EVAL_PROBLEMS]),
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
    on_step: Callable[[int, int], None] | None = None,
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
    ids, labels = _encode(tokenizer, dataset)
    sums = torch.tensor([float(answer) for answer in dataset["answer"]])
    weights = torch.exp(-sums / WARM_START_SUM_SCALE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1.0, end_factor=0.0, total_iters=num_steps
    )
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(1, num_steps + 1):
        rows_B = torch.multinomial(weights, batch_size, replacement=True, generator=generator)
        input_ids = ids[rows_B].to(model.device)
        attention_mask = input_ids != tokenizer.pad_token_id
        loss = model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            labels=labels[rows_B].to(model.device),
        ).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if on_step is not None:
            on_step(step, num_steps)


@torch.no_grad()
def greedy_accuracy(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset,
    *,
    batch_size: int = 500,
) -> Accuracy:
    """Exact-match accuracy of greedy answers; leaves `model` in the mode it was in.

    Raises:
        ValueError: `dataset` is empty, for which no accuracy exists.
    """
    if len(dataset) == 0:
        raise ValueError("dataset has no rows; an accuracy needs at least 1")
    was_training = model.training
    # Gradient checkpointing, which TRL switches on, drops the generation cache in training mode.
    model.train(False)
    num_correct = 0
    for batch in dataset.iter(batch_size):
        encoded = tokenizer(batch["prompt"], padding=True, return_tensors="pt").to(model.device)
        output = model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=MAX_ANSWER_TOKENS,
            do_sample=False,
        )
        answers = tokenizer.batch_decode(
            output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True
        )
        num_correct += sum(a == b for a, b in zip(answers, batch["answer"], strict=True))
    model.train(was_training)
    return Accuracy(value=num_correct / len(dataset), num_problems=len(dataset))


def _encode(
    tokenizer: PreTrainedTokenizerFast, dataset: Dataset
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and targets, both [len(dataset), L] int64; the prompt is not a target."""
    rows = list(zip(dataset["prompt"], dataset["answer"], strict=True))
    texts = [prompt + answer + EOS for prompt, answer in rows]
    ids = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    labels = torch.full_like(ids, IGNORED_LABEL)
    for row, (_, answer) in enumerate(rows):
        num_targets = len(answer) + 1
        labels[row, -num_targets:] = ids[row, -num_targets:]
    return ids, labels
