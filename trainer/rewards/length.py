"""A penalty for every token, right or wrong.

    R = -min(L / L_max, 1)

L is the number of tokens of a completion. It is our own and the simplest there is: shorter is
better everywhere, so a small weight will do. A bonus for short right answers alone is
`trainer.rewards.group.AgpoLength`; a penalty near the limit alone, `trainer.rewards.overlong`.
"""

from collections.abc import Sequence
from typing import Any

from monitor_service.errors import InvalidInput


class LengthPenalty:
    """The reward function `length_penalty_reward`, in [-1, 0].

    Args:
        max_completion_length: L_max, tokens; at least 1.

    Raises:
        InvalidInput: (a ValueError) `max_completion_length` is below 1.
    """

    __name__ = "length_penalty_reward"

    def __init__(self, max_completion_length: int) -> None:
        if max_completion_length < 1:
            raise InvalidInput("max_completion_length", max_completion_length, "must be at least 1")
        self.max_completion_length = max_completion_length

    def __call__(self, completion_ids: Sequence[Sequence[int]], **kwargs: Any) -> list[float]:
        """One penalty per row; `completion_ids` are the tokens of each completion."""
        return [-min(len(ids) / self.max_completion_length, 1.0) for ids in completion_ids]
