"""Generation by vLLM, which is imported when a generator is made: `pip install acr-monitor[vllm]`.

The prompts are tokenised here, as for Hugging Face generation, and handed over as token ids.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from monitor_service.errors import InvalidInput
from trainer.data.templates import Prompt
from trainer.evaluate.generation import (
    Completion,
    Sampling,
    check_context,
    check_num_samples,
    encode,
)


class VllmGenerator:
    """Generation by a vLLM engine in this process.

    Args:
        model: folder or id on the hub of a whole model, not of an adapter.
        tokenizer: the model's.
        batch_size: sequences that are handed to the engine together, which schedules them itself;
            progress is told after each lot.
        options: of `vllm.LLM`, such as `tensor_parallel_size`.

    Raises:
        InvalidInput: vLLM is not installed, or `batch_size` is below 1.
    """

    def __init__(
        self, model: str, tokenizer: Any, *, batch_size: int = 4096, **options: Any
    ) -> None:
        if batch_size < 1:
            raise InvalidInput("batch_size", batch_size, "must be at least 1")
        try:
            self._vllm = import_module("vllm")
        except ImportError as error:
            allowed = "needs vLLM, which is not installed: pip install 'acr-monitor[vllm]'"
            raise InvalidInput("backend", "vllm", allowed) from error
        self._engine = self._vllm.LLM(model=model, **options)
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
        check_context(encoded, sampling, self._engine.llm_engine.model_config.max_model_len)
        params = self._params(len(prompts), num_samples, sampling)
        lot = max(1, self._batch_size // num_samples)
        completions: list[list[Completion]] = []
        for start in range(0, len(prompts), lot):
            outputs = self._engine.generate(
                [{"prompt_token_ids": ids} for ids in encoded[start : start + lot]],
                sampling_params=params[start : start + lot],
                use_tqdm=False,
            )
            completions += [[_completion(sequence) for sequence in out.outputs] for out in outputs]
            if on_completions is not None:
                on_completions(len(outputs) * num_samples)
        return completions

    def _params(self, num_prompts: int, num_samples: int, sampling: Sampling) -> list[Any]:
        """One for each prompt: with one seed for all, they would share their random numbers."""
        seeds = np.random.SeedSequence(sampling.seed).generate_state(num_prompts)
        return [
            self._vllm.SamplingParams(
                n=num_samples,
                temperature=0.0 if sampling.temperature is None else sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                seed=int(seed),
            )
            for seed in seeds
        ]


def _completion(sequence: Any) -> Completion:
    return Completion(
        text=sequence.text,
        num_tokens=len(sequence.token_ids),
        finished=sequence.finish_reason == "stop",
    )
