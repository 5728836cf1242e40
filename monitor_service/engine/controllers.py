"""Laws that move the threshold tau after each step.

paper (arXiv 2605.21125, equation 10, with the bounds of its draft's appendix):

    tau_{n+1} = clip(tau_n + eta * sign(J_n - J_{n-1}) * (ACR_n - tau_n), low, high)

J is the mean reward of the step's real completions. What the equation does is not what the
paper's prose says: see docs/control.md. fixed keeps tau where a person put it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a controller may look at after one step.

    Attributes:
        acr: the rate that decided about this step, in [0, 1].
        mean_reward: J_n, reward units.
        previous_mean_reward: J_{n-1}; None at the first step.
    """

    acr: float
    mean_reward: float
    previous_mean_reward: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The gain and the range of an adaptive threshold."""

    eta: float
    low: float
    high: float


class Controller(Protocol):
    """One control law."""

    def next_threshold(self, threshold: float, signal: Signal, bounds: Bounds) -> float:
        """The threshold tau for the next step, in [0, 1]."""
        ...


class PaperAdaptive:
    """The published law; the first step, having no J to compare with, leaves tau as it is."""

    def next_threshold(self, threshold: float, signal: Signal, bounds: Bounds) -> float:
        if signal.previous_mean_reward is None:
            return threshold
        change = signal.mean_reward - signal.previous_mean_reward
        sign = (change > 0) - (change < 0)
        moved = threshold + bounds.eta * sign * (signal.acr - threshold)
        return min(bounds.high, max(bounds.low, moved))


class Fixed:
    """The threshold stays where it was set."""

    def next_threshold(self, threshold: float, signal: Signal, bounds: Bounds) -> float:
        return threshold


CONTROLLERS: Mapping[str, Controller] = MappingProxyType(
    {"paper": PaperAdaptive(), "fixed": Fixed()}
)
