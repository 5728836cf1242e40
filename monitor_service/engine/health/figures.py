"""The figures that the health rules watch, one function each.

A figure is never negative, and None when the step did not measure it. Medians over the newest
steps stand where one bad step means nothing: a healthy run has KL spikes of 2.6 nats.
"""

from typing import Literal

from msgspec import Struct

from monitor_service.engine.forecast import FirstHundred
from monitor_service.engine.health.averages import measured, median
from monitor_service.engine.health.trends import (
    COLLAPSE_EXPLAINS,
    RECENT,
    WINDOW,
    Trends,
    excess_volatility,
    is_beyond_chance,
)
from monitor_service.engine.health.vitals import Vitals
from monitor_service.engine.smoothing import MIN_GROUPS, Rates

Side = Literal["wrong", "correct", "other", "unknown"]

SMALL_ENTROPY_RISE = 0.3
"""Nats. A rise below this explodes nothing, however small the start was."""
WARM_UP = 20
"""Steps in which low entropy says nothing yet."""
GROWN = 1.2
"""Lengths are pinned at a limit only if they grew to it, by this factor at least."""
PINNED_SPREAD = 0.01
"""Relative spread of the newest mean lengths below which they look cut off."""
SAME_TEMPERATURE = 0.01
"""Sampling temperatures closer than this are the same."""
STILL_COLLAPSED = 0.35
"""Pooled ACR below which a bad first hundred steps is history."""


class Seen(Struct, frozen=True, kw_only=True):
    """What a rule may look at: the step, the trends with it included, the first hundred steps."""

    vitals: Vitals
    trends: Trends
    first_hundred: FirstHundred

    @property
    def pooled(self) -> Rates | None:
        """The pooled rates, once enough groups stand behind them; None at an unscored step."""
        rates = self.vitals.pooled
        if self.vitals.acr is None or rates is None or not rates.num_effective >= MIN_GROUPS:
            return None
        return rates

    @property
    def side(self) -> Side:
        """What most of the collapsed groups are."""
        rates = self.vitals.pooled
        if rates is None or rates.wrong is None or rates.correct is None:
            return "unknown"
        if rates.correct >= max(rates.wrong, rates.other or 0.0):
            return "correct"
        return "wrong" if rates.wrong >= (rates.other or 0.0) else "other"


def stall(seen: Seen) -> float | None:
    """Pooled ACR less one standard error, while wrong groups or unknown ones make it."""
    rates = seen.pooled
    if rates is None:
        return None
    if seen.side in ("correct", "other") or seen.trends.reward.is_rising:
        return 0.0
    return max(0.0, rates.acr - rates.standard_error(rates.acr))


def saturation(seen: Seen) -> float | None:
    """Pooled share of all-correct groups less one standard error."""
    rates = seen.pooled
    if rates is None or rates.correct is None:
        return None
    return max(0.0, rates.correct - rates.standard_error(rates.correct))


def middle_values(seen: Seen) -> float | None:
    """Pooled share of groups collapsed at a middle value, less one standard error."""
    rates = seen.pooled
    if rates is None or rates.other is None:
        return None
    return max(0.0, rates.other - rates.standard_error(rates.other))


def acr_100(seen: Seen) -> float | None:
    """ACR_100, as long as the run is still collapsed."""
    rates, mean = seen.pooled, seen.first_hundred.acr_100
    if rates is None or mean is None:
        return None
    return mean if rates.acr > STILL_COLLAPSED else 0.0


def volatility(seen: Seen) -> float | None:
    """Excess standard deviation of ACR, where it is beyond chance."""
    rates, groups = seen.trends.acr, seen.trends.groups
    if seen.vitals.acr is None or len(rates) < WINDOW or not groups:
        return None
    return excess_volatility(rates, groups) if is_beyond_chance(rates, groups) else 0.0


def hidden_collapse(seen: Seen) -> float | None:
    """How far the accuracy component's ACR is above the total's."""
    if seen.vitals.acr is None or seen.vitals.acr_primary is None:
        return None
    return max(0.0, seen.trends.hidden)


def no_signal(seen: Seen) -> float | None:
    """Groups in a row without a gradient, while ACR explains its lack."""
    if measured(seen.vitals.grad_norm) is None or seen.vitals.acr is None:
        return None
    return float(seen.trends.idle_groups)


def gradient_dead(seen: Seen) -> float | None:
    """1 while there is no gradient although groups have a signal, or may have."""
    norm = measured(seen.vitals.grad_norm)
    if norm is None:
        return None
    is_explained = seen.vitals.acr is not None and seen.vitals.acr >= COLLAPSE_EXPLAINS
    return float(seen.trends.is_dead(abs(norm)) and not is_explained)


def gradient_explosion(seen: Seen) -> float | None:
    """The median of the newest gradient norms over its running median."""
    usual = seen.trends.grad_usual
    if measured(seen.vitals.grad_norm) is None or not usual:
        return None
    return median(seen.trends.grad_norm) / usual


def not_finite(seen: Seen) -> float:
    """Figures that were NaN or infinite."""
    return float(len(seen.vitals.non_finite))


def reward_degenerate(seen: Seen) -> float | None:
    """1 while nearly all completions get one and the same reward."""
    return None if seen.vitals.acr is None else float(seen.vitals.reward_is_degenerate)


def reward_constant(seen: Seen) -> float | None:
    """Reward functions that give one value only."""
    return float(len(seen.trends.constant_functions)) if seen.vitals.components else None


def reward_collapse(seen: Seen) -> float | None:
    """Share of the best gain in reward that is left."""
    if measured(seen.vitals.reward_mean) is None:
        return None
    return seen.trends.reward.kept_share


def entropy_collapse(seen: Seen) -> float | None:
    """The median of the newest entropies over the run's baseline."""
    baseline = seen.trends.entropy.baseline
    if measured(seen.vitals.entropy) is None or not baseline or baseline < 0:
        return None
    return max(0.0, median(seen.trends.entropy.recent) / baseline)


def entropy_low(seen: Seen) -> float | None:
    """Entropy, after the warm-up."""
    entropy = measured(seen.vitals.entropy)
    if entropy is None or seen.vitals.step - seen.trends.start < WARM_UP:
        return None
    return max(0.0, entropy)


def entropy_explosion(seen: Seen) -> float | None:
    """The median of the newest entropies over that of the first three."""
    track = seen.trends.entropy
    if measured(seen.vitals.entropy) is None or not track.first or len(track.recent) < RECENT:
        return None
    now = median(track.recent)
    return 0.0 if now - track.first < SMALL_ENTROPY_RISE else max(0.0, now / track.first)


def kl_magnitude(seen: Seen) -> float | None:
    """The median of the newest magnitudes of KL."""
    return None if measured(seen.vitals.kl) is None else median(seen.trends.kl)


def clipping(seen: Seen) -> float | None:
    """The median of the newest clip fractions."""
    return None if measured(seen.vitals.clip_fraction) is None else median(seen.trends.clip)


def truncation(seen: Seen) -> float | None:
    """Mean of the newest shares of truncated completions."""
    if measured(seen.vitals.truncated_fraction) is None:
        return None
    return sum(seen.trends.truncated) / len(seen.trends.truncated)


def truncation_rising(seen: Seen) -> float | None:
    """How far that mean is above the one of the first ten steps."""
    now = truncation(seen)
    return None if now is None else max(0.0, now - seen.trends.truncated_first)


def length_collapse(seen: Seen) -> float | None:
    """The median of the newest mean lengths over the highest such median."""
    peak = seen.trends.length_peak
    if measured(seen.vitals.completion_length_mean) is None or not peak > 0:
        return None
    return max(0.0, median(seen.trends.length) / peak)


def length_at_limit(seen: Seen) -> float | None:
    """The median of the newest mean lengths over the longest, if lengths grew there."""
    trends = seen.trends
    if measured(seen.vitals.completion_length_mean) is None or not trends.length_first:
        return None
    if seen.vitals.truncated_fraction is not None:
        return 0.0  # what is cut off was counted; truncation tells
    now, recent = median(trends.length), trends.length
    if not now > GROWN * trends.length_first > 0:
        return 0.0
    if seen.vitals.completion_length_max is None and (
        max(recent) - min(recent) > PINNED_SPREAD * max(recent)
    ):
        return 0.0
    return now / trends.longest


def sampling_exhausted(seen: Seen) -> float | None:
    """Mean of the newest shares of trained groups that only fill the batch."""
    if measured(seen.vitals.filled_share) is None:
        return None
    return sum(seen.trends.filled) / len(seen.trends.filled)


def settings_late(seen: Seen) -> float | None:
    """Steps between the settings applied and the newest possible."""
    lag = seen.vitals.settings_lag_steps
    return None if lag is None else float(max(0, lag))


def settings_ignored(seen: Seen) -> float:
    """Knobs that the trainer ignored."""
    return float(len(seen.vitals.not_applied))
