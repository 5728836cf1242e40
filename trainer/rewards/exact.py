"""Reward 1 for the answer itself and nothing around it."""

from collections.abc import Mapping, Sequence
from typing import Any

Completion = str | Sequence[Mapping[str, Any]]
"""What TRL hands to a reward function: text, or the messages of a conversation."""


def completion_text(completion: Completion) -> str:
    """Text of a completion: the last message of a conversation, "" where there is none."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    return content if isinstance(content, str) else ""


def exact_match_reward(
    completions: Sequence[Completion], answer: Sequence[str | None], **kwargs: Any
) -> list[float | None]:
    """1.0 where a completion equals its answer, else 0.0; surrounding white space is ignored.

    Args:
        completions: one per row, text or conversation.
        answer: one per row; None is not scored.
        kwargs: other columns of the batch, unused.

    Returns:
        One of 0.0, 1.0 or None per row, in order.
    """
    return [
        None if gold is None else float(completion_text(completion).strip() == gold.strip())
        for completion, gold in zip(completions, answer, strict=True)
    ]
