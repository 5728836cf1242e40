"""What replaces TRL's advantages in a batch: the plan's injection, or a method of its own.

N = groups, G = completions per group, B = N * G; of the batch that is trained on, over all ranks.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor_service.engine.collapse import Matrix, Outcome, judge
from monitor_service.engine.plan import Plan
from trainer import avspo
from trainer.methods import loss_mask, ngrpo
from trainer.methods.registry import METHODS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What to change in a batch.

    Attributes:
        advantages_B: `[B]` float64; NaN where TRL's stay.
        has_signal: `[N]` bool, groups that move the policy once it is made.
        is_scored: `[N]` bool, groups that can be spoken of.
        sides_B: `[B]` int8 for `rl_zvp`: +1 in groups all right, -1 in those all wrong, else 0.
    """

    advantages_B: Matrix
    has_signal: npt.NDArray[np.bool_]
    is_scored: npt.NDArray[np.bool_]
    sides_B: npt.NDArray[np.int8] | None = None

    @property
    def effective_acr(self) -> float | None:
        """Share of the scored groups without a signal; None where none was scored."""
        scored = int(np.count_nonzero(self.is_scored))
        silent = int(np.count_nonzero(self.is_scored & ~self.has_signal))
        return silent / scored if scored else None


Objective = Callable[[Plan, Matrix], Correction]


def for_config(args: Any) -> Objective:
    """What `args`, a `GRPOConfig`, trains with."""
    objective = METHODS[args.method].objective
    if objective == "ngrpo":
        return ByNgrpo(args.reward_high)
    return by_entropy if objective == "rl_zvp" else by_plan


def notice(args: Any) -> str | None:
    """Why the monitor may not inject beside the method of `args`; None when it may."""
    if METHODS[args.method].objective is None:
        return None
    return f"method={args.method} gives collapsed groups advantages of its own"


def by_plan(plan: Plan, rewards: Matrix) -> Correction:
    """The injection that was decided, and exactly 0 for the other collapsed groups."""
    return Correction(
        advantages_B=avspo.values(plan, rewards),
        has_signal=loss_mask.has_signal(plan),
        is_scored=_is_scored(plan),
    )


class ByNgrpo:
    """NGRPO's advantages for every group; TRL's where a reward is above `reward_high`."""

    def __init__(self, reward_high: float) -> None:
        self._reward_high = reward_high
        self._has_warned = False

    def __call__(self, plan: Plan, rewards: Matrix) -> Correction:
        """See the class."""
        found = ngrpo.advantages(plan.groups.rewards, self._reward_high)
        is_left = np.isnan(found).any(axis=1)
        is_mixed = plan.groups.outcomes == Outcome.MIXED
        if not self._has_warned and is_left.any():
            self._has_warned = True
            log.warning(
                "a reward of %g is above reward_high=%g: groups with such a reward are trained on "
                "by plain GRPO",
                *(np.nanmax(rewards), self._reward_high),
            )
        return Correction(
            advantages_B=found.reshape(-1),
            has_signal=np.where(is_left, is_mixed, (found != 0).any(axis=1)),
            is_scored=_is_scored(plan),
        )


def by_entropy(plan: Plan, rewards: Matrix) -> Correction:
    """RL-ZVP: the sides of the groups; their tokens' advantages follow in the forward pass."""
    outcomes = plan.groups.outcomes
    sides = np.zeros(len(rewards), dtype=np.int8)
    sides[outcomes == Outcome.ALL_CORRECT] = 1
    sides[outcomes == Outcome.ALL_WRONG] = -1
    is_mixed = outcomes == Outcome.MIXED
    scored = ~np.isnan(plan.groups.rewards)
    return Correction(
        advantages_B=np.where((is_mixed[:, None] & scored), np.nan, 0.0).reshape(-1),
        has_signal=is_mixed | (sides != 0),
        is_scored=_is_scored(plan),
        sides_B=(sides[:, None] * scored).astype(np.int8).reshape(-1),
    )


def of_sampled(judged: Matrix) -> Correction:
    """A batch of dynamic sampling: nothing is learnt from the groups that only fill it.

    Args:
        judged: `[N, G]` the rewards that tell right from wrong, of the batch.
    """
    outcomes = judge(judged, reward_range=None).outcomes
    is_mixed = outcomes == Outcome.MIXED
    return Correction(
        advantages_B=np.repeat(np.where(is_mixed, np.nan, 0.0), judged.shape[1]),
        has_signal=is_mixed,
        is_scored=np.asarray(outcomes != Outcome.UNSCORED),
    )


def _is_scored(plan: Plan) -> npt.NDArray[np.bool_]:
    return np.asarray(plan.groups.outcomes != Outcome.UNSCORED)
