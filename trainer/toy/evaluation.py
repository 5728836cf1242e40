"""How often a toy model is right, greedily and sampled.

P = problems.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from trainer.toy.addition import MAX_ANSWER_TOKENS


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
    correct_P = _num_correct(model, tokenizer, dataset, batch_size, 1, {"do_sample": False})
    return Accuracy(value=sum(correct_P) / len(dataset), num_problems=len(dataset))


def sampled_correct(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset,
    *,
    num_samples: int = 8,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 4_000,
) -> NDArray[np.int64]:
    """How many of `num_samples` answers per problem are right: what pass@k is estimated from.

    Leaves `model` in the mode it was in and the global random state alone. The counts follow from
    the weights, the arguments and the number of threads.

    Args:
        model: on any device.
        tokenizer: as from `make_tokenizer`.
        dataset: columns `prompt` and `answer`; no rows, no counts.
        num_samples: at least 1.
        temperature: of the softmax that is sampled from, above 0.
        seed: of the samples.
        batch_size: answers that are generated at once, at least `num_samples`.

    Returns:
        [P] int64 in 0..`num_samples`.

    Raises:
        ValueError: an argument out of range.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: must be at least 1; got {num_samples}")
    if batch_size < num_samples:
        raise ValueError(f"batch_size: must be at least num_samples; got {batch_size}")
    if not temperature > 0:
        raise ValueError(f"temperature: must be above 0; got {temperature}")
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        correct_P = _num_correct(
            model, tokenizer, dataset, batch_size // num_samples, num_samples, sampling
        )
    return np.array(correct_P, dtype=np.int64)


@torch.no_grad()
def _num_correct(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset,
    problems_at_once: int,
    num_samples: int,
    sampling: dict[str, Any],
) -> list[int]:
    """[P] right answers of `num_samples` each."""
    was_training = model.training
    # Gradient checkpointing, which TRL switches on, drops the generation cache in training mode.
    model.train(False)
    counts: list[int] = []
    for batch in dataset.iter(problems_at_once):
        encoded = tokenizer(batch["prompt"], padding=True, return_tensors="pt").to(model.device)
        output = model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=MAX_ANSWER_TOKENS,
            num_return_sequences=num_samples,
            **sampling,
        )
        texts = tokenizer.batch_decode(
            output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True
        )
        counts += [
            texts[row * num_samples : (row + 1) * num_samples].count(answer)
            for row, answer in enumerate(batch["answer"])
        ]
    model.train(was_training)
    return counts
