"""A policy answers the held-out problems: once greedily, several times at a temperature.

P = problems, n = samples of each. Answers are judged by the reward that tells right from wrong in
training. The samples follow from the seed and leave the random state of training alone, so arms
that start alike are examined alike, before the first step to the last digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl.trainer.utils import entropy_from_logits

from monitor_service.engine.collapse import SUCCESS_HIGH
from monitor_service.errors import InvalidInput
from trainer import compat
from trainer.compare.plan import Evaluation
from trainer.compare.results import Score
from trainer.evaluate.generation import Completion, HuggingFaceGenerator, Sampling, encode
from trainer.grpo import GRPOTrainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Examiner:
    """Examines the policy of a trainer, any number of times, in the same way."""

    trainer: GRPOTrainer
    problems: Dataset
    """Columns `prompt` and those that the reward reads."""
    evaluation: Evaluation
    seed: int

    def score(self) -> Score:
        """Generate, judge and count.

        Raises:
            InvalidInput: an answer cannot be judged, or a prompt cannot be completed.
        """
        num_samples = self.evaluation.samples
        greedy = self._answers(1, None)
        sampled = self._answers(num_samples, self.evaluation.temperature)
        marks_PN = np.reshape(self._marks(sampled), (-1, num_samples))
        return Score(
            greedy=[int(mark) for mark in self._marks(greedy)],
            num_samples=num_samples,
            correct=marks_PN.sum(axis=1).tolist(),
            entropy=self._entropy([answer.text for (answer,) in greedy]),
        )

    def _answers(self, num_samples: int, temperature: float | None) -> list[list[Completion]]:
        trainer = self.trainer
        generator = HuggingFaceGenerator(
            self._model, trainer.processing_class, batch_size=self.evaluation.batch_size
        )
        sampling = Sampling(
            max_new_tokens=trainer.max_completion_length, temperature=temperature, seed=self.seed
        )
        return generator.generate(self.problems["prompt"][:], num_samples, sampling)

    @property
    def _model(self) -> Any:
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    @torch.no_grad()
    def _entropy(self, answers: Sequence[str]) -> float:
        """Nats per token: of the next token at each place of the answers, their ends included."""
        tokenizer, model = self.trainer.processing_class, self._model
        was_training = model.training
        model.train(False)
        total, count = 0.0, 0
        prompts = encode(tokenizer, self.problems["prompt"][:])
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = [*prompt, *tokenizer(answer, add_special_tokens=False)["input_ids"]]
            logits_1LV = model(input_ids=torch.tensor([ids], device=model.device)).logits
            found_L = entropy_from_logits(logits_1LV[0, len(prompt) - 1 :].float())
            total, count = total + float(found_L.sum()), count + len(found_L)
        model.train(was_training)
        return total / count

    def _marks(self, completions: Sequence[Sequence[Completion]]) -> list[bool]:
        """Whether each completion is right, those of a problem one after the other."""
        trainer, args = self.trainer, self.trainer.args
        low, high = args.reward_low, args.reward_high
        if low is None or high is None:
            raise InvalidInput("reward_high", high, "a number, which says what a right answer gets")
        right = low + SUCCESS_HIGH * (high - low)
        reward = trainer.reward_funcs[compat.primary_index(args, trainer.reward_func_names) or 0]
        columns = {
            name: [
                value
                for value, own in zip(self.problems[name], completions, strict=True)
                for _ in own
            ]
            for name in self.problems.column_names
        }
        texts = [one.text for own in completions for one in own]
        is_chat = not isinstance(columns["prompt"][0], str)
        rewards = reward(
            prompts=columns.pop("prompt"),
            completions=[[{"role": "assistant", "content": text}] for text in texts]
            if is_chat
            else texts,
            **columns,
        )
        return [found is not None and found >= right for found in rewards]
