"""Completions of prompts, whatever generates them: the protocol, and Hugging Face models.

B = sequences in a batch, L = tokens of its longest prompt.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from transformers import GenerationConfig

from monitor_service.errors import InvalidInput
from trainer.data.templates import Prompt

MAX_NEW_TOKENS = 1 << 20
"""More than any model's context; a larger number is a slip."""

PromptFormat = Literal["auto", "chat", "raw"]
PROMPT_FORMATS: tuple[str, ...] = get_args(PromptFormat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How completions are drawn.

    Raises:
        InvalidInput: a value outside its range, or `top_p` without a temperature.
    """

    max_new_tokens: int = 1024
    """Tokens of a completion at most, its end included."""
    temperature: float | None = None
    """Above 0; None is greedy: always the likeliest token."""
    top_p: float = 1.0
    """Share of the probability that is sampled from, in (0, 1]."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.max_new_tokens <= MAX_NEW_TOKENS:
            allowed = f"must be in [1, {MAX_NEW_TOKENS}]"
            raise InvalidInput("max_new_tokens", self.max_new_tokens, allowed)
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            allowed = "must be above 0 and finite; leave it out for greedy decoding"
            raise InvalidInput("temperature", self.temperature, allowed)
        if not 0 < self.top_p <= 1:
            raise InvalidInput("top_p", self.top_p, "must be in (0, 1]")
        if self.temperature is None and self.top_p < 1:
            allowed = "must be 1 without a temperature: greedy decoding draws nothing"
            raise InvalidInput("top_p", self.top_p, allowed)
        if not 0 <= self.seed < 2**32:
            raise InvalidInput("seed", self.seed, "must be in [0, 2^32)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model answered."""

    text: str
    """Without special tokens."""
    num_tokens: int
    """Generated tokens, the end-of-sequence token included."""
    finished: bool
    """False when it was cut off at `max_new_tokens`."""


class Generator(Protocol):
    """Something that completes prompts."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        num_samples: int,
        sampling: Sampling,
        on_completions: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """Completions of every prompt.

        Args:
            prompts: texts, which the model continues as they are, or conversations, which its chat
                template renders; see `chosen_format`.
            num_samples: completions of each prompt, at least 1; 1 when greedy.
            sampling: how they are drawn. The same seed gives the same completions on the same
                machine with the same batches; batched arithmetic is not the same to the bit.
            on_completions: called as completions are done, with how many.

        Returns:
            One list for each prompt, in order, of `num_samples` completions.

        Raises:
            InvalidInput: `num_samples` means nothing, the prompts and `max_new_tokens` exceed the
                model's context, a prompt is empty, or is a conversation and the model has no
                chat template.
        """


class HuggingFaceGenerator:
    """Generation by a transformers model that is in memory, on its device.

    Prompts are padded on the left and sorted by length, longest first: a batch wastes little, and
    what does not fit into memory fails at once. The model's mode (training, evaluation) and the
    global random state are as before afterwards.

    Args:
        model: a causal language model, or a PEFT model around one. Its weights are whole: unwrap a
            distributed one, gathered, before.
        tokenizer: the model's; a pad token is not needed.
        batch_size: sequences that are generated together, at least 1.

    Raises:
        InvalidInput: `batch_size` is below 1.
    """

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int = 64) -> None:
        if batch_size < 1:
            raise InvalidInput("batch_size", batch_size, "must be at least 1")
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = batch_size

    def generate(  # noqa: D102 - the Protocol documents it
        self,
        prompts: Sequence[Prompt],
        num_samples: int,
        sampling: Sampling,
        on_completions: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        check_num_samples(num_samples, sampling)
        encoded = encode(self._tokenizer, prompts)
        context = getattr(self._model.config, "max_position_embeddings", None)
        check_context(encoded, sampling, context)
        rows = sorted(range(len(prompts)), key=lambda row: -len(encoded[row]))
        sequences = [row for row in rows for _ in range(num_samples)]
        completions: list[list[Completion]] = [[] for _ in prompts]
        with _prepared(self._model, self._config(sampling), sampling.seed) as config:
            for start in range(0, len(sequences), self._batch_size):
                batch = sequences[start : start + self._batch_size]
                answers = self._complete([encoded[row] for row in batch], config)
                for row, answer in zip(batch, answers, strict=True):
                    completions[row].append(answer)
                if on_completions is not None:
                    on_completions(len(batch))
        return completions

    def _config(self, sampling: Sampling) -> GenerationConfig:
        """`sampling` and nothing else; ends with the tokenizer's or one of the model's tokens."""
        own = self._model.generation_config.eos_token_id
        ids = own if isinstance(own, list) else [own]
        ends = {token for token in (self._tokenizer.eos_token_id, *ids) if token is not None}
        pad = self._tokenizer.pad_token_id
        draw = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=sampling.temperature is not None,
            pad_token_id=min(ends, default=0) if pad is None else pad,
            eos_token_id=sorted(ends),
            **(draw if sampling.temperature is not None else {}),
        )

    def _complete(self, prompts: list[list[int]], config: GenerationConfig) -> list[Completion]:
        length = max(map(len, prompts))
        pad = [config.pad_token_id]
        input_ids_BL = torch.tensor([pad * (length - len(ids)) + ids for ids in prompts])
        mask_BL = torch.tensor([[0] * (length - len(ids)) + [1] * len(ids) for ids in prompts])
        output = self._model.generate(
            input_ids=input_ids_BL.to(self._model.device),
            attention_mask=mask_BL.to(self._model.device),
            generation_config=config,
        )
        return [self._completion(ids, config) for ids in output[:, length:].tolist()]

    def _completion(self, ids: list[int], config: GenerationConfig) -> Completion:
        """Of one row of the output, in which padding follows the first end."""
        ends = config.eos_token_id
        end = next((place for place, token in enumerate(ids, 1) if token in ends), None)
        ids = ids[:end]
        return Completion(
            text=self._tokenizer.decode(ids, skip_special_tokens=True),
            num_tokens=len(ids),
            finished=end is not None,
        )


def encode(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of every prompt, as TRL feeds them to the model in training.

    Raises:
        InvalidInput: a prompt without a single token, or a conversation without a chat template.
    """
    encoded = []
    for prompt in prompts:
        if isinstance(prompt, str):
            ids = tokenizer(prompt)["input_ids"]
        else:
            check_chat(tokenizer)
            ids = tokenizer.apply_chat_template(
                prompt, add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
        if not ids:
            raise InvalidInput("prompt", prompt, "must have at least one token")
        encoded.append(ids)
    return encoded


def chosen_format(
    prompts: Sequence[Prompt], tokenizer: Any, prompt_format: PromptFormat
) -> list[Prompt]:
    """The same prompts as texts or as conversations.

    Args:
        prompts: texts; conversations stay what they are.
        tokenizer: the model's.
        prompt_format: `chat` makes each text the message of a user, `raw` leaves it, `auto` is
            `chat` where the tokenizer has a chat template.

    Raises:
        InvalidInput: `chat` without a chat template, or another format.
    """
    if prompt_format not in PROMPT_FORMATS:
        allowed = f"must be one of {', '.join(PROMPT_FORMATS)}"
        raise InvalidInput("prompt_format", prompt_format, allowed)
    if prompt_format == "chat":
        check_chat(tokenizer)
    if prompt_format == "raw" or not tokenizer.chat_template:
        return list(prompts)
    return [
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        for prompt in prompts
    ]


def check_chat(tokenizer: Any) -> None:
    """Refuse conversations without a chat template.

    Raises:
        InvalidInput: named `prompt_format`, as the command line calls it.
    """
    if not tokenizer.chat_template:
        name = tokenizer.name_or_path or "the model"
        allowed = f"must be raw or auto, with texts for prompts: {name} has no chat template"
        raise InvalidInput("prompt_format", "chat", allowed)


def check_num_samples(num_samples: int, sampling: Sampling) -> None:
    """Refuse a number of samples that means nothing.

    Raises:
        InvalidInput: below 1, or several when greedy, which would all be the same.
    """
    if num_samples < 1:
        raise InvalidInput("num_samples", num_samples, "must be at least 1")
    if num_samples > 1 and sampling.temperature is None:
        allowed = "must be 1 without a temperature: greedy completions are all the same"
        raise InvalidInput("num_samples", num_samples, allowed)


def check_context(
    encoded: Sequence[Sequence[int]], sampling: Sampling, context: int | None
) -> None:
    """Refuse what does not fit into a context of so many tokens; None: it has no bound.

    Raises:
        InvalidInput: named `max_new_tokens`.
    """
    longest = max(map(len, encoded), default=0)
    if context is not None and longest + sampling.max_new_tokens > context:
        allowed = f"must be at most {context - longest}: a context of {context} less {longest}"
        if longest >= context:
            allowed = f"has no room: the longest prompt, {longest}, fills a context of {context}"
        raise InvalidInput("max_new_tokens", sampling.max_new_tokens, f"{allowed} tokens of prompt")


@contextmanager
def _prepared(model: Any, config: GenerationConfig, seed: int) -> Iterator[GenerationConfig]:
    """Evaluation mode and a seeded random state of its own; everything as before at the end.

    The generation defaults that instruct models bring, a repetition penalty for instance, are set
    aside: transformers fills them in wherever `config` is silent, and an evaluation draws from
    the distribution that was trained.
    """
    was_training = model.training
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    defaults = base.generation_config
    devices = [] if model.device.type == "cpu" else [model.device]
    with torch.no_grad(), torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        try:
            # Gradient checkpointing, which TRL switches on, drops the cache in training mode.
            model.train(False)
            base.generation_config = config
            yield config
        finally:
            base.generation_config = defaults
            model.train(was_training)
