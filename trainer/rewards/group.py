"""Rewards that need the whole group: how short a right answer is beside the other right ones.

TRL scores each rank's completions alone, and a group may straddle ranks. So a group reward scores
nothing when TRL calls it; `GRPOTrainer` fills its column in after the rewards were gathered.

N = groups, G = completions per group.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor_service.engine.collapse import SUCCESS_HIGH, Outcome, RewardRange, judge

LENGTH_GUARD = 1e-6
"""Tokens added to the spread of lengths, so that equal lengths do not divide by zero."""


class GroupReward(ABC):
    """A reward of a completion that depends on the others of its group."""

    __name__: str
    """What TRL logs the reward under."""

    def __call__(self, completions: Sequence[Any], **kwargs: Any) -> list[None]:
        """TRL's side of the contract: one "not scored" per row."""
        return [None] * len(completions)

    @abstractmethod
    def score(
        self, primary_NG: npt.NDArray[np.float64], lengths_NG: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """The reward of every completion, from those of its group.

        Args:
            primary_NG: `[N, G]` the reward that tells right from wrong; NaN where it is not scored.
            lengths_NG: `[N, G]` tokens of each completion.

        Returns:
            `[N, G]` float64; NaN is "not scored".
        """


class AgpoLength(GroupReward):
    """A bonus for the shorter ones of the right answers to a prompt.

        bonus_i = weight * (1 - (len_i - min_len) / (max_len - min_len + 1e-6))

    for right completions in groups whose primary rewards differ, `min_len` and `max_len` over the
    right ones of the group; 0 for all others, unscored ones included. From the reward function in
    the authors' branch of AGPO (arXiv 2503.15952), where the weight is 0.1. A lone right answer
    gets all of it.

    Args:
        weight: largest bonus, in reward units.
        reward_low: primary reward of a wrong answer.
        reward_high: primary reward of a right answer; from 0.99 of the range on it counts as right.

    Raises:
        InvalidInput: (a ValueError) the range is empty or not finite.
    """

    __name__ = "agpo_length_reward"

    def __init__(
        self, *, weight: float = 0.1, reward_low: float = 0.0, reward_high: float = 1.0
    ) -> None:
        self.weight = weight
        self.reward_range = RewardRange(low=reward_low, high=reward_high)

    def score(
        self, primary_NG: npt.NDArray[np.float64], lengths_NG: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """See the class; `[N, G]` from 0 to `weight`, never NaN."""
        groups = judge(primary_NG, reward_range=None)
        low, high = self.reward_range.low, self.reward_range.high
        right_NG = (groups.judged - low) / (high - low) >= SUCCESS_HIGH
        right_NG &= (groups.outcomes == Outcome.MIXED)[:, None]
        lengths = lengths_NG.astype(np.float64)
        shortest = np.where(right_NG, lengths, np.inf).min(axis=1, keepdims=True)
        longest = np.where(right_NG, lengths, -np.inf).max(axis=1, keepdims=True)
        # Groups without a right answer have infinite bounds and no use for their bonus.
        with np.errstate(invalid="ignore"):
            excess = (lengths - shortest) / (longest - shortest + LENGTH_GUARD)
        return np.where(right_NG, self.weight * (1 - excess), 0.0)
