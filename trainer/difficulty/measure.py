"""Pass rates of problems: sample, judge, count."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datasets import Dataset

from monitor_service.engine.collapse import SUCCESS_HIGH
from trainer.data.templates import Prompt
from trainer.difficulty.levels import level_of
from trainer.evaluate.generation import Generator, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """A problem and how often it was solved."""

    prompt: Prompt
    """As it was asked."""
    answer: str | None
    num_correct: int
    num_scored: int
    """Completions behind the rate; 0 where the gold answer cannot be read."""
    pass_rate: float | None
    """Fraction of the scored completions, in [0, 1]; None when none was scored."""
    level: int | None
    """See `trainer.difficulty.levels`; None when the rate is."""


def rate(prompt: Prompt, answer: str | None, rewards: Sequence[float | None]) -> Rated:
    """Count the right ones among the rewards of a problem's completions; None is not scored."""
    scored = [reward for reward in rewards if reward is not None]
    num_correct = sum(reward >= SUCCESS_HIGH for reward in scored)
    pass_rate = num_correct / len(scored) if scored else None
    return Rated(
        prompt=prompt,
        answer=answer,
        num_correct=num_correct,
        num_scored=len(scored),
        pass_rate=pass_rate,
        level=None if pass_rate is None else level_of(pass_rate),
    )


def measure(
    problems: Dataset,
    generator: Generator,
    reward: Callable[..., list[float | None]],
    *,
    sampling: Sampling,
    num_samples: int,
    chunk: int,
    first: int = 0,
) -> Iterator[list[Rated]]:
    """Rate problems, some at a time.

    Each chunk has a seed of its own, which follows from its place: to stop and to go on at a
    multiple of `chunk` gives the same as not to stop.

    Args:
        problems: columns `prompt` and `answer`.
        generator: completes the prompts.
        reward: 1 for right, 0 for wrong, None for not scored.
        sampling: how completions are drawn, with the seed of the first chunk.
        num_samples: completions of each problem.
        chunk: problems at a time, at least 1.
        first: problem to begin with, a multiple of `chunk`.

    Yields:
        The problems of a chunk, in order.
    """
    for start in range(first, len(problems), chunk):
        rows: list[dict[str, Any]] = problems.select(
            range(start, min(start + chunk, len(problems)))
        ).to_list()
        prompts = [row["prompt"] for row in rows]
        seeded = replace(sampling, seed=(sampling.seed + start) % 2**32)
        answers = generator.generate(prompts, num_samples, seeded)
        yield [
            rate(
                row["prompt"],
                row["answer"],
                reward(
                    completions=[completion.text for completion in completions],
                    answer=[row["answer"]] * num_samples,
                ),
            )
            for row, completions in zip(rows, answers, strict=True)
        ]
