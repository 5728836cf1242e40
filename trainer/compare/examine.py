"""A policy answers the held-out problems: once greedily, several times at a temperature.

P = problems, n = samples of each. Answers are judged by the reward that tells right from wrong in
training. The samples follow from the seed and leave the random state of training alone, so arms
that start alike are examined alike, before the first step to the last digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from monitor_service.engine.collapse import SUCCESS_HIGH
from monitor_service.errors import InvalidInput
from trainer import compat
from trainer.compare.plan import Evaluation
from trainer.compare.results import Score
from trainer.evaluate.generation import Completion, HuggingFaceGenerator, Sampling
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
        return Score(
            greedy=self._right(1, None),
            num_samples=self.evaluation.samples,
            correct=self._right(self.evaluation.samples, self.evaluation.temperature),
        )

    def _right(self, num_samples: int, temperature: float | None) -> list[int]:
        """[P] right completions of each problem."""
        trainer = self.trainer
        generator = HuggingFaceGenerator(
            trainer.accelerator.unwrap_model(trainer.model),
            trainer.processing_class,
            batch_size=self.evaluation.batch_size,
        )
        sampling = Sampling(
            max_new_tokens=trainer.max_completion_length, temperature=temperature, seed=self.seed
        )
        completions = generator.generate(self.problems["prompt"][:], num_samples, sampling)
        marks_PN = np.reshape(self._marks(completions), (len(completions), num_samples))
        return marks_PN.sum(axis=1).tolist()  # type: ignore[no-any-return]

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
