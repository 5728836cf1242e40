"""What is remembered of a run's figures, so that one step can be compared with the run itself.

Everything here has a fixed size: the newest few values, running means, a running median. Numbers
are kept to a few significant digits, since the whole is stored with every step. A figure that was
not measured leaves its trend as it is.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from monitor_service.engine.health.averages import blended, kept, measured, median
from monitor_service.engine.health.reward import RewardTrend
from monitor_service.engine.health.vitals import Vitals

RECENT = 5
"""Newest values of a figure that are kept: their median outlives two steps of nonsense."""
BASELINE_SKIPS = 4
"""Steps left out of a baseline: entropy drops steeply in the first."""
BASELINE_UNTIL = 25
"""Steps after which a baseline is settled, if 5 values are known; 21 values always do."""
FALLEN_START = 0.3
"""Share of the first values below which a baseline is none."""
WINDOW = 25
"""Steps in the window of volatility, as in the paper."""
CHI2_99 = 42.98 / 24
"""Chance keeps the variance of 25 steps below this multiple of its expectation 99 times in 100
(chi-square with 24 degrees of freedom)."""
DEAD_SHARE = 1e-3
"""A gradient norm up to this fraction of its running median is dead."""
DEAD_NORM = 1e-8
"""And so is one up to this."""
USUAL_STEP = 1.02
"""Factor by which the running median of the gradient norm moves in one step."""
USUAL_REACH = 10.0
"""Values beyond this multiple of the running median do not move it: they are what it judges."""

COLLAPSE_EXPLAINS = 0.5
"""ACR from which a dead gradient is put down to collapsed groups."""
FIRST_TRUNCATED = 10
"""Steps whose mean is the baseline of truncation."""

UNKNOWN_GROUPS = 4
"""Groups a step is taken to have when nobody says."""
MAX_IDLE_GROUPS = 1_000_000

CONSTANT_STD = 1e-9
"""A reward function with a std up to this, relative to its mean or to 1, gave one value."""
CONSTANT_STEPS = 25
"""Steps after which a function counts as constant."""
CONSTANT_MEMORY = 10
"""How much longer than that is remembered; one varied step takes back `CONSTANT_LEAK`."""
CONSTANT_LEAK = 5
MAX_COMPONENTS = 6
"""Constant functions that are followed at once."""
NAME_LENGTH = 40


def excess_volatility(rates: Sequence[float], num_groups: float) -> float:
    """Standard deviation of ACR over steps, less what sampling explains.

    s_exc = sqrt(max(0, s^2 - m(1-m)/N)), s^2 the population variance of the rates, m their mean,
    N = `num_groups` the groups of a step (their harmonic mean, if they differ).

    >>> round(excess_volatility((0.2, 0.6) * 12 + (0.2,), 8), 6)
    0.100717
    """
    variance, noise = _variances(rates, num_groups)
    return math.sqrt(max(0.0, variance - noise))


def is_beyond_chance(rates: Sequence[float], num_groups: float) -> bool:
    """Whether the variance of `WINDOW` rates is more than sampling gives 99 times in 100."""
    variance, noise = _variances(rates, num_groups)
    return variance > CHI2_99 * noise


def _variances(rates: Sequence[float], num_groups: float) -> tuple[float, float]:
    """(population variance, what sampling contributes to it)."""
    mean = sum(rates) / len(rates)
    variance = sum((rate - mean) ** 2 for rate in rates) / len(rates)
    return variance, mean * (1 - mean) / num_groups


class Track(Struct, frozen=True, kw_only=True):
    """One figure that has a start and a baseline.

    Attributes:
        recent: the newest values.
        first: median of the first three.
        early: values collected for the baseline; empty once it is known.
        baseline: median of about the steps 5 to 25.
    """

    recent: tuple[float, ...] = ()
    first: float | None = None
    early: tuple[float, ...] = ()
    baseline: float | None = None

    def after(self, value: float, offset: int) -> "Track":
        """With one more value, `offset` steps after the first step seen."""
        recent = (*self.recent[1 - RECENT :], kept(value))
        first = median(recent) if self.first is None and len(recent) == 3 else self.first
        early, baseline = self.early, self.baseline
        if baseline is None and offset >= BASELINE_SKIPS:
            early = (*early, recent[-1])
            if len(early) >= RECENT and offset >= BASELINE_UNTIL - 1:
                early, baseline = (), self._settled(median(early), first)
        return Track(recent=recent, first=first, early=early, baseline=baseline)

    def _settled(self, baseline: float, first: float | None) -> float:
        """The baseline, or the start, if the figure collapsed while the baseline was taken."""
        return first if first is not None and baseline < FALLEN_START * first else baseline


class Trends(Struct, frozen=True, kw_only=True):
    """All that is remembered of a run's figures.

    Attributes:
        start: the first step seen; 0 before it.
        entropy: nats.
        truncated: newest shares of truncated completions.
        truncated_first: mean of the first `truncated_count` (up to 10) of them.
        kl: newest magnitudes; estimates can be negative.
        clip: newest clip fractions.
        grad_norm: newest gradient norms; `grad_usual` is their running median.
        length: newest mean lengths, tokens; `length_first` the first median of three,
            `length_peak` the highest median so far, `longest` the longest completion or mean.
        reward: the mean reward.
        acr: raw rates of the newest `WINDOW` scored steps.
        groups: harmonic mean of the groups of a step; 0 when unknown.
        idle_groups: groups since the last step with a gradient, while ACR explains its lack.
        constant: reward function -> how steadily it gave one value.
        hidden: running mean of what the accuracy component's ACR is above the total.
        filled: newest shares of trained groups that only fill the batch.
        temperature: at the time of the entropy baseline.
    """

    start: int = 0
    entropy: Track = Track()
    truncated: tuple[float, ...] = ()
    truncated_first: float = 0.0
    truncated_count: int = 0
    kl: tuple[float, ...] = ()
    clip: tuple[float, ...] = ()
    grad_norm: tuple[float, ...] = ()
    grad_usual: float | None = None
    length: tuple[float, ...] = ()
    length_first: float | None = None
    length_peak: float = 0.0
    longest: float = 0.0
    reward: RewardTrend = RewardTrend()
    acr: tuple[float, ...] = ()
    groups: float = 0.0
    idle_groups: int = 0
    constant: Mapping[str, int] = {}
    hidden: float = 0.0
    filled: tuple[float, ...] = ()
    temperature: float | None = None

    def after(self, vitals: Vitals) -> "Trends":
        """With one more step."""
        start = self.start or vitals.step
        changes: dict[str, Any] = {"start": start}
        if (entropy := measured(vitals.entropy)) is not None:
            changes["entropy"] = self.entropy.after(entropy, vitals.step - start)
        heat = measured(vitals.temperature)
        if heat is not None and (self.temperature is None or vitals.step - start < BASELINE_UNTIL):
            changes["temperature"] = kept(heat)
        if (truncated := measured(vitals.truncated_fraction)) is not None:
            changes["truncated"] = _pushed(self.truncated, truncated)
            if self.truncated_count < FIRST_TRUNCATED:
                count = self.truncated_count + 1
                changes["truncated_count"] = count
                changes["truncated_first"] = blended(
                    self.truncated_first, truncated, count, FIRST_TRUNCATED
                )
        if (filled := measured(vitals.filled_share)) is not None:
            changes["filled"] = _pushed(self.filled, filled)
        if (kl := measured(vitals.kl)) is not None:
            changes["kl"] = _pushed(self.kl, abs(kl))
        if (clipped := measured(vitals.clip_fraction)) is not None:
            changes["clip"] = _pushed(self.clip, clipped)
        if (norm := measured(vitals.grad_norm)) is not None:
            changes["grad_norm"] = _pushed(self.grad_norm, abs(norm))
            changes["grad_usual"] = self._usual(abs(norm), changes["grad_norm"])
            changes["idle_groups"] = self._idle(vitals, abs(norm))
        if (length := measured(vitals.completion_length_mean)) is not None:
            changes |= self._lengths(length, measured(vitals.completion_length_max))
        if (reward := measured(vitals.reward_mean)) is not None:
            changes["reward"] = self.reward.after(reward)
        if (acr := measured(vitals.acr)) is not None:
            changes["acr"] = (*self.acr[1 - WINDOW :], kept(acr, ".3g"))
            if vitals.num_groups:
                share = 1 / self.groups if self.groups else 0.0
                count = len(self.acr) + 1 if self.groups else 1
                changes["groups"] = kept(1 / blended(share, 1 / vitals.num_groups, count, WINDOW))
            if (primary := measured(vitals.acr_primary)) is not None:
                changes["hidden"] = blended(self.hidden, primary - acr, WINDOW, WINDOW)
        if vitals.components:
            changes["constant"] = self._constant(vitals.components)
        return replace(self, **changes)

    def is_dead(self, grad_norm: float) -> bool:
        """Whether this gradient norm is as good as none."""
        return grad_norm <= max(DEAD_NORM, DEAD_SHARE * (self.grad_usual or 0.0))

    @property
    def constant_functions(self) -> tuple[str, ...]:
        """Reward functions that have given one and the same value for long."""
        return tuple(name for name, count in self.constant.items() if count >= CONSTANT_STEPS)

    def _usual(self, norm: float, recent: tuple[float, ...]) -> float | None:
        """The running median of the gradient norm: it starts as a median, and follows slowly."""
        usual = self.grad_usual
        if usual is None:
            live = tuple(value for value in recent if value > DEAD_NORM)
            return median(live) if len(live) == RECENT else None
        if usual / USUAL_REACH < norm < usual * USUAL_REACH:
            usual = usual * USUAL_STEP if norm > usual else usual / USUAL_STEP
        return kept(usual)

    def _idle(self, vitals: Vitals, norm: float) -> int:
        acr = measured(vitals.acr)
        if acr is None or acr < COLLAPSE_EXPLAINS or not self.is_dead(norm):
            return 0
        return min(MAX_IDLE_GROUPS, self.idle_groups + (vitals.num_groups or UNKNOWN_GROUPS))

    def _lengths(self, length: float, longest: float | None) -> dict[str, Any]:
        recent = _pushed(self.length, length)
        middle = median(recent)
        is_early = self.length_first is None and len(recent) == 3
        return {
            "length": recent,
            "length_first": middle if is_early else self.length_first,
            "length_peak": max(self.length_peak, middle),
            "longest": kept(max(self.longest, length, longest or 0.0)),
        }

    def _constant(
        self, components: Mapping[str, tuple[float | None, float | None]]
    ) -> dict[str, int]:
        counts = dict(self.constant)
        for full_name, (mean, std) in components.items():
            if mean is None or std is None:
                continue
            name = full_name[:NAME_LENGTH]
            count = counts.pop(name, 0)
            is_constant = std <= CONSTANT_STD * max(1.0, abs(mean))
            count += 1 if is_constant else -CONSTANT_LEAK
            if count > 0 and len(counts) < MAX_COMPONENTS:
                counts[name] = min(count, CONSTANT_STEPS + CONSTANT_MEMORY)
        return counts


NOTHING_SEEN = Trends()


def _pushed(recent: tuple[float, ...], value: float) -> tuple[float, ...]:
    return (*recent[1 - RECENT :], kept(value))
