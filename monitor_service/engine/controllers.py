"""Laws that decide when to inject, moved by one step at a time.

paper (arXiv 2605.21125, equation 10, with the bounds of its draft's appendix):

    tau_{n+1} = clip(tau_n + eta * sign(J_n - J_{n-1}) * (ACR_n - tau_n), low, high)

J is the mean reward of the step's real completions. What the equation does is not what the
paper's prose says: see docs/control.md. fixed keeps tau where a person put it. Both inject in a
batch whose own ACR is above tau.

guarded (ours) watches a pooled rate of collapse p with its standard error se, and injects in
every batch while it is active:

    armed -> active      p - 1.64 se > threshold
    active -> cooldown   p < exit_threshold, or after max_active_steps
    cooldown -> armed    after cooldown_steps
    active -> locked     after max_active_steps without a benefit, when benefit_check is on

A benefit is p lower, or the mean reward higher, than at the entry by more than one standard error
of the difference, at an entropy of at least 80 % of the entry's; a change between shadow and
active is a new entry, and a change of what is watched ends the activation. Locked ends by a
person, or with a resume from a step before it.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from monitor_service.engine.arming import DISARMED, Arming, Entry, Stage, Target
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import Rates, Trend

ENTRY_ERRORS = 1.64
"""Standard errors by which the rate has to be above the threshold: tested at every step, one would
let chance in."""
BENEFIT_ENTROPY_SHARE = 0.8
"""Share of the entropy at entry below which no gain counts as a benefit."""


class Signal(Struct, frozen=True, kw_only=True):
    """What a controller may look at after one scored step.

    Attributes:
        step: its number.
        acr: the rate that decided about this step, in [0, 1]; None when nothing could decide yet.
        mean_reward: J_n, reward units.
        previous_mean_reward: J_{n-1}; None at the first step.
        rates: pooled rates of collapse with this step in them; None before enough groups.
        reward: pooled mean reward.
        entropy: pooled entropy, nats per token; None when it is not reported.
    """

    step: int
    acr: float | None
    mean_reward: float
    previous_mean_reward: float | None
    rates: Rates | None
    reward: Trend
    entropy: float | None


class Stance(Struct, frozen=True, kw_only=True):
    """What a controller moves."""

    threshold: float
    """tau for the next step, in [0, 1]."""
    arming: Arming


class Controller(Protocol):
    """One control law."""

    def after(self, now: Stance, signal: Signal, settings: Settings) -> Stance:
        """The stance for the next step; `settings` are those in force at this one."""
        ...


class PaperAdaptive:
    """The published law; the first step, having no J to compare with, leaves tau as it is."""

    def after(self, now: Stance, signal: Signal, settings: Settings) -> Stance:
        if signal.previous_mean_reward is None or signal.acr is None:
            return _unarmed(now)
        change = signal.mean_reward - signal.previous_mean_reward
        sign = (change > 0) - (change < 0)
        moved = now.threshold + settings.eta * sign * (signal.acr - now.threshold)
        bounded = min(settings.threshold_high, max(settings.threshold_low, moved))
        return Stance(threshold=bounded, arming=_unarmed(now).arming)


class Fixed:
    """The threshold stays where it was set."""

    def after(self, now: Stance, signal: Signal, settings: Settings) -> Stance:
        return _unarmed(now)


class Guarded:
    """The state machine above; the threshold stays where it was set."""

    def after(self, now: Stance, signal: Signal, settings: Settings) -> Stance:
        arming = now.arming
        rates = signal.rates
        if arming.stage == "locked":
            return now
        if settings.mode == "off":
            return _unarmed(now)
        arming = replace(arming, steps=arming.steps + 1)
        if rates is None:
            # Nothing to decide by: the pooled rate is not known yet.
            return replace(now, arming=arming)
        rate = watched(rates, settings.target)
        error = rates.standard_error(rate)
        if arming.stage == "active":
            arming = self._active(arming, signal, settings, rate, error)
        elif arming.stage == "off":
            arming = _moved(arming, "armed", signal, "enough groups were seen")
        if arming.stage == "cooldown" and arming.steps >= settings.cooldown_steps:
            arming = _moved(arming, "armed", signal, "the cooldown is over")
        surely = rate - ENTRY_ERRORS * error
        if arming.stage == "armed" and surely > settings.threshold:
            reason = f"{rate:.3f} less {ENTRY_ERRORS} x {error:.3f} is above {settings.threshold:g}"
            arming = _activated(arming, signal, settings, rate, error, reason)
        return replace(now, arming=arming)

    def _active(
        self, arming: Arming, signal: Signal, settings: Settings, rate: float, error: float
    ) -> Arming:
        entry = arming.entry
        assert entry is not None, "an activation remembers its entry"
        if entry.target != settings.target:
            # The rate at the entry was of other groups: that says nothing of these.
            reason = f"target {settings.target} after {entry.target}"
            return _moved(arming, "armed", signal, reason)
        if rate < settings.exit_threshold:
            reason = f"{rate:.3f} fell below {settings.exit_threshold:g}"
            return _moved(arming, "cooldown", signal, reason)
        if entry.mode != settings.mode:
            # What is only decided brings no benefit, so none is measured from before.
            reason = f"mode {settings.mode} after {entry.mode}"
            return _activated(arming, signal, settings, rate, error, reason)
        if arming.steps < settings.max_active_steps:
            return arming
        # In shadow nothing was injected, so there is no benefit to look for.
        if not settings.benefit_check or settings.mode == "shadow":
            return _moved(arming, "cooldown", signal, f"{arming.steps} steps are the limit")
        missing = _missing_benefit(entry, signal, rate, error)
        if missing:
            return _moved(arming, "locked", signal, f"{arming.steps} steps brought {missing}")
        return _moved(arming, "cooldown", signal, f"{arming.steps} steps, with a benefit")


CONTROLLERS: Mapping[str, Controller] = MappingProxyType(
    {"paper": PaperAdaptive(), "fixed": Fixed(), "guarded": Guarded()}
)


def watched(rates: Rates, target: Target) -> float:
    """The rate of the groups that may be injected."""
    rate = {"wrong": rates.wrong, "correct": rates.correct, "both": rates.acr}[target]
    assert rate is not None, "rates of judged groups know their kinds"
    return rate


def _missing_benefit(entry: Entry, signal: Signal, rate: float, error: float) -> str:
    """What speaks against going on; "" when there was a benefit."""
    rate_fell = entry.rate - rate > math.hypot(entry.rate_error, error)
    reward_error = math.hypot(entry.reward_error, signal.reward.standard_error)
    reward_rose = signal.reward.mean - entry.reward > reward_error
    if not (rate_fell or reward_rose):
        return "neither less collapse nor more reward"
    if entry.entropy is None or signal.entropy is None:
        return ""
    if signal.entropy < BENEFIT_ENTROPY_SHARE * entry.entropy:
        return f"entropy from {entry.entropy:.3f} down to {signal.entropy:.3f} nats"
    return ""


def _activated(
    arming: Arming, signal: Signal, settings: Settings, rate: float, error: float, reason: str
) -> Arming:
    entry = Entry(
        rate=rate,
        rate_error=error,
        reward=signal.reward.mean,
        reward_error=signal.reward.standard_error,
        entropy=signal.entropy,
        mode="shadow" if settings.mode == "shadow" else "active",
        target=settings.target,
    )
    return replace(
        _moved(arming, "active", signal, reason), activations=arming.activations + 1, entry=entry
    )


def _moved(arming: Arming, stage: Stage, signal: Signal, reason: str) -> Arming:
    return replace(
        arming, stage=stage, since_step=signal.step + 1, steps=0, reason=reason, entry=None
    )


def _unarmed(now: Stance) -> Stance:
    """The stance without an arming; what is locked stays locked whatever the controller."""
    if now.arming.stage == "locked":
        return now
    return Stance(threshold=now.threshold, arming=DISARMED)
