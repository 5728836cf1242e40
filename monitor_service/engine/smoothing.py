"""ACR over time, for steps with few groups.

With N groups a step's ACR has a standard error of sqrt(p(1-p)/N): 0.17 at p=0.4, N=8, and with
N=1 it is 0 or 1. `Memory` pools groups over steps in two ways: a bias-corrected, group-weighted
EWMA, and an exact window of the newest groups. Both see only real rewards.

    lam_t = 0.5^(N_t/h);   e <- lam*e + (1-lam)*ACR_t;   w <- lam*w + (1-lam);   ACR_s = e/w

The sides of collapse are pooled alike. How far a pooled rate can be trusted follows from the
weights that the groups have in it:

    q <- lam^2*q + (1-lam)^2/N_t;   n_eff = w^2/q;   se(p) = sqrt(p(1-p)/n_eff)
"""

import math
import re
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from monitor_service.engine.collapse import Groups, Outcome
from monitor_service.errors import InvalidInput

HALF_LIFE_GROUPS = 64
WINDOW_GROUPS = 64
MIN_GROUPS = 64
"""Groups to have seen before a pooled figure may decide anything."""

_ROUNDING = 1e-9
"""What rounding may add to a sum of weights."""

_MIXED_CODE = str(int(Outcome.MIXED))
_DIGITS = bytes(ord("0") + code if code < len(Outcome) else 0 for code in range(256))
_WINDOW = re.compile(f"[0-3]{{0,{WINDOW_GROUPS}}}")


class Rates(Struct, frozen=True, kw_only=True):
    """Pooled rates of collapse, in [0, 1].

    Attributes:
        acr: share of groups without a signal.
        wrong: share of all-wrong groups; None when the kinds are not known.
        correct: share of all-correct groups; None when the kinds are not known.
        num_effective: groups that an unweighted mean would need to be as certain.
    """

    acr: float
    wrong: float | None
    correct: float | None
    num_effective: float

    @property
    def other(self) -> float | None:
        """Share of groups that collapsed at a value neither right nor wrong."""
        if self.wrong is None or self.correct is None:
            return None
        return max(0.0, self.acr - self.wrong - self.correct)

    def standard_error(self, rate: float) -> float:
        """Sampling error of one of these rates."""
        return math.sqrt(max(0.0, rate * (1 - rate)) / self.num_effective)


class Memory(Struct, frozen=True, kw_only=True):
    """What is remembered of past groups; a value, small enough to travel with the settings.

    Attributes:
        ewma: `e` above, biased towards 0 by its start.
        ewma_wrong: the same for the share of all-wrong groups.
        ewma_correct: the same for the share of all-correct groups.
        weight: `w` above, in [0, 1].
        weight_squared: `q` above, in [0, weight].
        num_groups: scored groups seen so far.
        window: one digit (`Outcome`) for each of the newest `WINDOW_GROUPS` scored groups.
    """

    ewma: float = 0.0
    ewma_wrong: float = 0.0
    ewma_correct: float = 0.0
    weight: float = 0.0
    weight_squared: float = 0.0
    num_groups: int = 0
    window: str = ""

    def __post_init__(self) -> None:
        # It may come over a network, and is computed with on the training thread.
        if not 0 <= self.ewma <= self.weight + _ROUNDING <= 1 + 2 * _ROUNDING:
            raise InvalidInput(
                "memory.ewma, memory.weight", (self.ewma, self.weight), "0 <= ewma <= weight <= 1"
            )
        sides = (self.ewma_wrong, self.ewma_correct)
        if min(sides) < 0 or not sum(sides) <= self.ewma + _ROUNDING:
            raise InvalidInput(
                "memory.ewma_wrong, memory.ewma_correct", sides, "at least 0, together at most ewma"
            )
        if not 0 <= self.weight_squared <= self.weight + _ROUNDING:
            raise InvalidInput("memory.weight_squared", self.weight_squared, "0 to weight")
        if self.num_groups < 0:
            raise InvalidInput("memory.num_groups", self.num_groups, "must be at least 0")
        if not _WINDOW.fullmatch(self.window):
            raise InvalidInput("memory.window", self.window, f"up to {WINDOW_GROUPS} digits 0 to 3")

    def after(self, groups: Groups) -> "Memory":
        """The memory once these groups are added; itself when none of them was scored."""
        if groups.acr is None:
            return self
        scored = groups.scored_outcomes[-WINDOW_GROUPS:].tobytes().translate(_DIGITS).decode()
        moved = self._moved(
            groups.acr,
            groups.num_scored,
            groups.share(Outcome.ALL_WRONG) or 0.0,
            groups.share(Outcome.ALL_CORRECT) or 0.0,
        )
        return Memory(
            num_groups=self.num_groups + groups.num_scored,
            window=(self.window + scored)[-WINDOW_GROUPS:],
            **moved,
        )

    def blended(
        self,
        acr: float,
        num_groups: float,
        *,
        wrong: float = 0.0,
        correct: float = 0.0,
        decay: float | None = None,
    ) -> "Memory":
        """One EWMA update with the rates of `num_groups` (above 0) groups; the window stays.

        `decay`, the weight kept by the past, follows from the half-life unless it is given.
        """
        return replace(self, **self._moved(acr, num_groups, wrong, correct, decay))

    def _moved(
        self,
        acr: float,
        num_groups: float,
        wrong: float,
        correct: float,
        decay: float | None = None,
    ) -> dict[str, Any]:
        if decay is None:
            decay = 0.5 ** (num_groups / HALF_LIFE_GROUPS)
        new = 1 - decay
        return {
            "ewma": decay * self.ewma + new * acr,
            "ewma_wrong": decay * self.ewma_wrong + new * wrong,
            "ewma_correct": decay * self.ewma_correct + new * correct,
            "weight": decay * self.weight + new,
            "weight_squared": decay**2 * self.weight_squared + new**2 / num_groups,
        }

    @property
    def rates(self) -> Rates | None:
        """The pooled rates, and how certain they are; None before the first scored group."""
        if not self.weight_squared:
            return None
        return Rates(
            acr=self.ewma / self.weight,
            wrong=self.ewma_wrong / self.weight,
            correct=self.ewma_correct / self.weight,
            num_effective=self.weight**2 / self.weight_squared,
        )

    @property
    def smoothed_acr(self) -> float | None:
        """Bias-corrected EWMA in [0, 1]; None before the first scored group."""
        return self.ewma / self.weight if self.weight else None

    @property
    def windowed_acr(self) -> float | None:
        """Exact ACR of the newest `WINDOW_GROUPS` groups; None before the first."""
        return self._window_collapsed / len(self.window) if self.window else None

    @property
    def window_interval(self) -> tuple[float, float] | None:
        """Wilson interval of `windowed_acr`, 5 % on each side; None before the first group."""
        if not self.window:
            return None
        return wilson_interval(self._window_collapsed, len(self.window))

    @property
    def _window_collapsed(self) -> int:
        return len(self.window) - self.window.count(_MIXED_CODE)

    @property
    def is_ready(self) -> bool:
        """Whether enough groups were seen for a pooled figure to decide."""
        return self.num_groups >= MIN_GROUPS


NOTHING_SEEN = Memory()
"""The memory of a run before its first group."""


class Trend(Struct, frozen=True, kw_only=True):
    """A bias-corrected EWMA of a figure, and how certain it is.

    Attributes:
        sum: weighted sum of the values.
        sum_squares: weighted sum of their squares.
        weight: sum of the weights, in [0, 1].
        weight_squared: sum of their squares.
    """

    sum: float = 0.0
    sum_squares: float = 0.0
    weight: float = 0.0
    weight_squared: float = 0.0

    def after(self, mean: float, mean_square: float, count: int, *, half_life: float) -> "Trend":
        """With `count` (above 0) newer values of this mean and mean square.

        `half_life` is in values.
        """
        decay = 0.5 ** (count / half_life)
        return Trend(
            sum=decay * self.sum + (1 - decay) * mean,
            sum_squares=decay * self.sum_squares + (1 - decay) * mean_square,
            weight=decay * self.weight + (1 - decay),
            weight_squared=decay**2 * self.weight_squared + (1 - decay) ** 2 / count,
        )

    @property
    def is_known(self) -> bool:
        """Whether it has seen a value."""
        return self.weight > 0

    @property
    def mean(self) -> float:
        """The pooled mean; only of a known trend."""
        return self.sum / self.weight

    @property
    def standard_error(self) -> float:
        """Of `mean`; 0 while all values were equal."""
        variance = self.sum_squares / self.weight - self.mean**2
        return math.sqrt(max(0.0, variance) * self.weight_squared) / self.weight


UNKNOWN = Trend()
"""Before the first value."""


def wilson_interval(successes: int, trials: int, *, z: float = 1.64) -> tuple[float, float]:
    """Wilson score interval of a rate.

    Args:
        successes: in [0, trials].
        trials: at least 1.
        z: normal quantile; 1.64 leaves 5 % on each side.

    >>> [round(bound, 4) for bound in wilson_interval(26, 64)]
    [0.3113, 0.5087]
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(
            f"need 0 <= successes <= trials and trials >= 1; got {successes}, {trials}"
        )
    rate = successes / trials
    spread = z * z / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
