"""How good a model is at problems: generated, judged, counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from monitor_service.errors import InvalidInput
from trainer.evaluate.catalogue import Reward
from trainer.evaluate.estimate import Estimate, estimate, pass_at_k_per_problem
from trainer.evaluate.generation import Generator, HuggingFaceGenerator, Sampling

DEFAULT_SAMPLING = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a model made of some problems; P of them, n samples of each."""

    num_samples: int
    """n."""
    num_correct: list[int | None]
    """[P], each in [0, n]; None where the gold answer is missing or cannot be read: such a problem
    is in no figure."""
    num_truncated: list[int]
    """[P] completions cut off at `max_new_tokens`."""
    num_tokens: list[int]
    """[P] tokens of all n completions together."""

    @property
    def accuracy(self) -> float:
        """Share of correct completions, which is pass@1."""
        return self.pass_at(1).value

    @property
    def truncated(self) -> float:
        """Share of completions that were cut off: what they would have said counts as wrong."""
        return sum(self.num_truncated) / (self.num_samples * len(self.num_truncated))

    @property
    def mean_tokens(self) -> float:
        """Tokens of a completion."""
        return sum(self.num_tokens) / (self.num_samples * len(self.num_tokens))

    @property
    def num_unscored(self) -> int:
        """Problems without a usable gold answer."""
        return self.num_correct.count(None)

    def per_problem(self, k: int) -> NDArray[np.float64]:
        """pass@k of every scored problem, in order; for `estimate.paired_difference`."""
        scored = [correct for correct in self.num_correct if correct is not None]
        return pass_at_k_per_problem(self.num_samples, np.array(scored, dtype=np.int64), k)

    def pass_at(self, k: int, *, confidence: float = 0.95, seed: int = 0) -> Estimate:
        """pass@k with its interval; see `trainer.evaluate.estimate`."""
        return estimate(self.per_problem(k), confidence=confidence, seed=seed)


def evaluate(
    model: Any,
    tokenizer: Any,
    problems: Dataset,
    *,
    reward: Reward,
    num_samples: int = 1,
    sampling: Sampling = DEFAULT_SAMPLING,
    batch_size: int = 64,
    on_completions: Callable[[int], None] | None = None,
) -> Result:
    """Measure a model that is in memory; its mode and the random state stay as they are.

    Args:
        model: see `HuggingFaceGenerator`.
        tokenizer: the model's.
        problems: columns `prompt` (text or conversation) and `answer`, at least one row.
        reward: tells right from wrong, such as `box_accuracy_reward`.
        num_samples: completions of each problem; 1 when greedy.
        sampling: how they are drawn; greedy by default.
        batch_size: sequences that are generated together.
        on_completions: called as completions are done, with how many.

    Raises:
        InvalidInput: no problem, none that can be scored, or what the generator refuses.
    """
    generator = HuggingFaceGenerator(model, tokenizer, batch_size=batch_size)
    return measure(
        generator,
        problems["prompt"][:],
        problems["answer"][:],
        reward=reward,
        num_samples=num_samples,
        sampling=sampling,
        on_completions=on_completions,
    )


def measure(
    generator: Generator,
    prompts: Sequence[Any],
    answers: Sequence[str | None],
    *,
    reward: Reward,
    num_samples: int,
    sampling: Sampling,
    on_completions: Callable[[int], None] | None = None,
) -> Result:
    """The same with any generator."""
    if not prompts:
        raise InvalidInput("problems", 0, "must have at least one row")
    groups = generator.generate(prompts, num_samples, sampling, on_completions)
    # One call: on a thread that is not the main one, a reward may start a process for each.
    scores = reward(
        prompts=[prompt for prompt in prompts for _ in range(num_samples)],
        completions=[one.text for group in groups for one in group],
        answer=[answer for answer in answers for _ in range(num_samples)],
    )
    if not set(scores) <= {0.0, 1.0, None}:
        other = next(score for score in scores if score not in (0.0, 1.0, None))
        raise InvalidInput("reward", other, "must be 1 for right, 0 for wrong, None for unscored")
    if set(scores) == {None}:
        raise InvalidInput("answer", answers[0], "must be readable in at least one problem")
    return Result(
        num_samples=num_samples,
        num_correct=[
            _num_correct(scores[start : start + num_samples])
            for start in range(0, len(scores), num_samples)
        ],
        num_truncated=[sum(not one.finished for one in group) for group in groups],
        num_tokens=[sum(one.num_tokens for one in group) for group in groups],
    )


def _num_correct(scores: Sequence[float | None]) -> int | None:
    """Of one problem; a completion that alone could not be judged counts as wrong."""
    return None if set(scores) == {None} else scores.count(1.0)
