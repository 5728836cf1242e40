r"""Rewards for the form of a completion, whatever it says.

They teach a model to answer where it is looked for. They are 1 for a wrong answer too, so with one
of them name the accuracy as primary, or let the program do it.
"""

import re
from collections.abc import Sequence
from typing import Any

from trainer.rewards.exact import Completion, completion_text
from trainer.rewards.math import last_box

_THINK = re.compile(
    r"\s*<think>(?:(?!</?think>|</?answer>).)*</think>"
    r"\s*<answer>(?:(?!</?think>|</?answer>).)*\S(?:(?!</?think>|</?answer>).)*</answer>\s*",
    re.DOTALL,
)


def box_format_reward(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
    r"""1.0 where the last \boxed{...} is closed and not empty, else 0.0.

    Args:
        completions: one per row, text or conversation.
        kwargs: other columns of the batch, unused.
    """
    boxes = [last_box(completion_text(completion)) for completion in completions]
    return [float(box is not None and bool(box.strip())) for box in boxes]


def think_format_reward(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
    """1.0 for `<think>...</think> <answer>...</answer>` and nothing around it, else 0.0.

    Each tag once, and something in the answer. A chat template that opens the `<think>` itself
    leaves it out of the completion: that form scores 0.

    Args:
        completions: one per row, text or conversation.
        kwargs: other columns of the batch, unused.
    """
    texts = [completion_text(completion) for completion in completions]
    return [float(_THINK.fullmatch(text) is not None) for text in texts]
