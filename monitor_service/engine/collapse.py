"""Which groups of a step carry no learning signal, and the Advantage Collapse Rate.

    ACR = (1/N) * sum_j 1[sigma_j < tau],    sigma_j the population std of group j's rewards

(arXiv 2605.21125, section 4.) All arithmetic is float64: in float32 a constant group can show a
std far from zero (100.3 seven times: 7.6e-6). Rewards are one matrix `[N, G]`; NaN means "not
scored", which is also how groups of unequal size are padded.

Left out: a relative tolerance for continuous reward models.
"""

import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from monitor_service.errors import InvalidInput

# N = groups of a step, G = completions of the largest group.
Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

COLLAPSE_STD = 1e-6
"""Reward units. A group is collapsed when its population std is strictly below this (the paper's
tau; its appendix finds results unchanged from 1e-5 to 1e-7)."""

REWARD_LIMIT = 1e12
"""Reward units. Magnitudes above this are treated like infinities: squares must stay finite."""

DEGENERATE_SHARE = 0.95
"""Share of a step's completions with one and the same reward from which it looks broken."""

DEGENERATE_MIN_COMPLETIONS = 64

SUCCESS_LOW = 0.01
"""Fraction of the reward range up to which a completion counts as wrong."""

SUCCESS_HIGH = 0.99
"""Fraction of the reward range from which a completion counts as correct."""


_EXACT = 2.0**53
"""Below this every whole number is a float64."""


class Outcome(IntEnum):
    """What the rewards of one group say. The order is part of the stored format."""

    MIXED = 0
    """The rewards differ: the group carries a learning signal."""
    ALL_CORRECT = 1
    ALL_WRONG = 2
    UNIFORM_OTHER = 3
    """Collapsed at a value that is neither right nor wrong: partial credit, out of range."""
    UNSCORED = 4
    """Fewer than two finite rewards: no statement possible, in no numerator or denominator."""


_MIXED, _ALL_CORRECT, _ALL_WRONG, _OTHER, _UNSCORED = map(int, Outcome)
_NUM_OUTCOMES = len(Outcome)

COLLAPSED = (Outcome.ALL_CORRECT, Outcome.ALL_WRONG, Outcome.UNIFORM_OTHER)


class RewardRange(Struct, frozen=True, kw_only=True):
    """The rewards of a wrong and of a right answer, in reward units, `low < high`."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not (-REWARD_LIMIT <= self.low < self.high <= REWARD_LIMIT):
            raise InvalidInput(
                "reward_low, reward_high", (self.low, self.high), "finite, reward_low < reward_high"
            )


class Extremes(Struct, frozen=True, kw_only=True):
    """The lowest and the highest of some values, and how many are equal to them."""

    low: float
    high: float
    at_low: int
    at_high: int

    def are_all(self, size: int) -> bool:
        """Whether these two are all of `size` values, as where rewards are right or wrong."""
        return self.at_low + self.at_high >= size


class Groups(Struct, frozen=True, kw_only=True):
    """The groups of one step, judged.

    Attributes:
        outcomes: `[N]` int8 of `Outcome`.
        counts: groups by outcome, in the order of `Outcome`.
        sizes: `[N]` scored completions of each group.
        means: `[N]` mean reward; NaN where nothing was scored.
        num_scored: groups behind every rate; the weight to use when steps are pooled.
        num_collapsed: groups without a learning signal.
        acr: Advantage Collapse Rate in [0, 1]; None when no group was scored (empty is not zero).
        mean_reward: over all scored completions, not over groups; None when there are none. Exactly
            rounded, so that two steps with the same rewards in another order compare equal.
        num_invalid: rewards that were infinite or beyond `REWARD_LIMIT`, counted as unscored.
        rewards: `[N, G]` what the policy is trained on; NaN where unscored.
        judged: `[N, G]` what tells right from wrong: the primary rewards, or the same.
        extremes: of these; None where some are missing, or there are none.
    """

    outcomes: npt.NDArray[np.int8]
    counts: tuple[int, ...]
    sizes: npt.NDArray[np.int64]
    means: Matrix
    num_scored: int
    num_collapsed: int
    acr: float | None
    mean_reward: float | None
    num_invalid: int
    rewards: Matrix
    judged: Matrix
    extremes: Extremes | None

    def count(self, outcome: Outcome) -> int:
        """Groups with this outcome."""
        return self.counts[outcome]

    def share(self, *outcomes: Outcome) -> float | None:
        """Share of scored groups with one of these outcomes; None when no group was scored."""
        if not self.num_scored:
            return None
        return sum([self.counts[outcome] for outcome in outcomes]) / self.num_scored

    @property
    def scored_outcomes(self) -> npt.NDArray[np.int8]:
        """`[num_scored]` outcomes of the groups that were scored, in their order."""
        if self.num_scored == len(self.outcomes):
            return self.outcomes
        return np.asarray(self.outcomes[self.outcomes != _UNSCORED])

    @property
    def stds(self) -> Matrix:
        """`[N]` population std of each group; NaN where nothing was scored."""
        by_place = np.ascontiguousarray(self.rewards.T)
        is_scored = ~np.isnan(by_place)
        lowest, _ = _ends(by_place, is_scored)
        deviations = _scored_or_zero(by_place - lowest, is_scored)
        found = _stds(deviations, self.means - lowest, is_scored, self.sizes)
        return np.where(self.sizes > 0, found, np.nan)

    @property
    def is_degenerate(self) -> bool:
        """Whether nearly all completions got one and the same reward: a dead verifier, perhaps.

        Says nothing below `DEGENERATE_MIN_COMPLETIONS`, where it would be chance.
        """
        judged, found = self.judged, self.extremes
        if found is None:
            judged = judged[~np.isnan(judged)]
        if judged.size < DEGENERATE_MIN_COMPLETIONS:
            return False
        if found is None:
            found = _extremes(judged, float(judged.min()), float(judged.max()))
        most = max(found.at_low, found.at_high)
        if not found.are_all(judged.size):
            # A value that more than half of them share is their median.
            most = max(most, int(np.count_nonzero(judged == np.median(judged))))
        return most / judged.size >= DEGENERATE_SHARE


def matrix(groups: Sequence[Sequence[float | None]]) -> Matrix:
    """Ragged groups as `[N, G]` float64, None and missing places as NaN.

    >>> matrix([[1, 0], [None, 1, 1]])
    array([[ 1.,  0., nan],
           [nan,  1.,  1.]])
    """
    width = max(map(len, groups), default=0)
    if groups and min(map(len, groups)) == width:
        return np.array(groups, dtype=np.float64)
    rewards = np.full((len(groups), width), np.nan)
    for row, group in zip(rewards, groups, strict=True):
        row[: len(group)] = np.asarray(group, dtype=np.float64)
    return rewards


def judge(
    rewards: Matrix,
    *,
    reward_range: RewardRange | None,
    primary: Matrix | None = None,
    collapse_std: float = COLLAPSE_STD,
) -> Groups:
    """Judge every group of a step.

    Args:
        rewards: `[N, G]` the rewards the policy is trained on; NaN marks "not scored".
        reward_range: what wrong and right look like in `primary`; None when the reward has no
            bounds, so that every collapsed group is other.
        primary: `[N, G]` the accuracy component, when `rewards` is a sum of several; it decides
            between all-correct, all-wrong and other. Default: `rewards`.
        collapse_std: reward units; strict bound below which a group is collapsed.
    """
    # Groups run along the second axis here: NumPy adds columns of long rows, not long columns.
    by_place = np.ascontiguousarray(rewards.T)
    num_groups, width = rewards.shape
    num_invalid, is_scored = 0, None
    lowest, highest = _ends(by_place, None)
    low, high = _of_all(lowest, highest)
    extremes = None
    if max(-low, high) <= REWARD_LIMIT:
        extremes = _extremes(by_place, low, high)
    else:  # NaN, too: something is missing, or no use.
        rewards, scored, num_invalid = usable(rewards)
        by_place, is_scored = np.ascontiguousarray(rewards.T), np.ascontiguousarray(scored.T)
        lowest, highest = _ends(by_place, is_scored)
    sizes = np.full(num_groups, width) if is_scored is None else is_scored.sum(axis=0)
    # Deviations from a member of the group: a constant group is exactly zero at any offset.
    deviations = _scored_or_zero(by_place - lowest, is_scored)
    offsets = np.add.reduce(deviations, axis=0) / (
        width if is_scored is None else np.maximum(sizes, 1)
    )
    spread = highest - lowest
    # Two members this far apart are enough for a larger std, whatever the others are.
    collapsed = spread < 2 * collapse_std * math.sqrt(2 * width)
    if (spread[collapsed] > 0).any():
        collapsed = _stds(deviations, offsets, is_scored, sizes) < collapse_std

    judged, ends = rewards, (lowest, highest)
    if primary is not None:
        judged, scored, _ = usable(primary)
        is_judged = None if scored.all() else np.ascontiguousarray(scored.T)
        ends = _ends(np.ascontiguousarray(judged.T), is_judged)
    wrong, correct = _sides(*ends, reward_range)
    outcomes = np.zeros(num_groups, dtype=np.int8)
    outcomes[collapsed] = _OTHER
    outcomes[collapsed & wrong] = _ALL_WRONG
    outcomes[collapsed & correct] = _ALL_CORRECT
    if is_scored is not None or width < 2:
        outcomes[sizes < 2] = _UNSCORED
    counts = tuple(np.bincount(outcomes, minlength=_NUM_OUTCOMES).tolist())
    num_scored = num_groups - counts[_UNSCORED]
    num_collapsed = num_scored - counts[_MIXED]
    return Groups(
        outcomes=outcomes,
        counts=counts,
        num_scored=num_scored,
        num_collapsed=num_collapsed,
        acr=num_collapsed / num_scored if num_scored else None,
        sizes=sizes,
        means=lowest + offsets,
        mean_reward=_mean(by_place if is_scored is None else by_place[is_scored], extremes),
        num_invalid=num_invalid,
        rewards=rewards,
        judged=judged,
        extremes=extremes if primary is None else None,
    )


def usable(rewards: Matrix) -> tuple[Matrix, Mask, int]:
    """Rewards `[N, G]` with NaN for the invalid ones, which are scored, and how many were invalid.

    Invalid are infinities and magnitudes beyond `REWARD_LIMIT`.
    """
    scored = np.abs(rewards) <= REWARD_LIMIT
    if scored.all():
        return rewards, scored, 0
    num_invalid = int(np.count_nonzero(~scored & ~np.isnan(rewards)))
    return np.where(scored, rewards, np.nan), scored, num_invalid


def _ends(by_place: Matrix, is_scored: Mask | None) -> tuple[Matrix, Matrix]:
    """`[N]` lowest and highest scored value of `[G, N]`; NaN where nothing was scored."""
    if is_scored is None and len(by_place):
        return np.minimum.reduce(by_place), np.maximum.reduce(by_place)
    scored = np.zeros_like(by_place, dtype=np.bool_) if is_scored is None else is_scored
    some = scored.any(axis=0)
    lowest = np.where(scored, by_place, np.inf).min(axis=0, initial=np.inf)
    highest = np.where(scored, by_place, -np.inf).max(axis=0, initial=-np.inf)
    return np.where(some, lowest, np.nan), np.where(some, highest, np.nan)


def _of_all(lowest: Matrix, highest: Matrix) -> tuple[float, float]:
    """Lowest and highest of all groups; NaN where one has none, or there is no group."""
    if not len(lowest):
        return math.nan, math.nan
    return float(np.minimum.reduce(lowest)), float(np.maximum.reduce(highest))


def _extremes(values: Matrix, low: float, high: float) -> Extremes:
    return Extremes(
        low=low,
        high=high,
        at_low=int(np.count_nonzero(values == low)),
        at_high=int(np.count_nonzero(values == high)),
    )


def _scored_or_zero(values: Matrix, is_scored: Mask | None) -> Matrix:
    return values if is_scored is None else np.where(is_scored, values, 0.0)


def _stds(
    deviations: Matrix, offsets: Matrix, is_scored: Mask | None, sizes: npt.NDArray[np.int64]
) -> Matrix:
    """`[N]` population std of deviations `[G, N]` around their means; 0 where none is scored."""
    centred = _scored_or_zero(deviations - offsets, is_scored)
    return np.asarray(np.sqrt(np.square(centred).sum(axis=0) / np.maximum(sizes, 1)))


def _mean(scored: Matrix, extremes: Extremes | None) -> float | None:
    """Mean of values, whose extremes are known if none is missing; None when there are none."""
    size = scored.size
    if not size:
        return None
    if extremes is not None and max(-extremes.low, extremes.high) * size < _EXACT:
        # Sums of whole numbers are exact in any order: of two numbers, as where rewards are 0 or 1,
        low, high = extremes.low, extremes.high
        if low.is_integer() and high.is_integer() and extremes.are_all(size):
            return (low * (size - extremes.at_high) + high * extremes.at_high) / size
        # and of many.
        if np.array_equal(np.rint(scored), scored):
            return float(np.add.reduce(scored, axis=None)) / size
    return math.fsum(scored.ravel().tolist()) / size


def _sides(lowest: Matrix, highest: Matrix, reward_range: RewardRange | None) -> tuple[Mask, Mask]:
    """Groups whose every scored completion is wrong, and those whose every one is correct.

    Values outside the declared range are neither: the declaration is wrong, so nothing is claimed.
    """
    if reward_range is None:
        neither = np.zeros(len(lowest), dtype=np.bool_)
        return neither, neither
    width = reward_range.high - reward_range.low
    least, most = lowest, highest
    if (reward_range.low, width) != (0.0, 1.0):
        least, most = (least - reward_range.low) / width, (most - reward_range.low) / width
    wrong = (most <= SUCCESS_LOW) & (least >= -COLLAPSE_STD)
    correct = (least >= SUCCESS_HIGH) & (most <= 1 + COLLAPSE_STD)
    return wrong, correct
