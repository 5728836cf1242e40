"""The numbers that an alarm keeps, and how severe they make it.

Numbers that are None were not measured; `alarms` drops them, rounds the
rest, and shortens texts.
"""

from collections.abc import Mapping
from typing import Literal

from monitor_service.engine.health import figures
from monitor_service.engine.health.averages import median
from monitor_service.engine.health.figures import Seen
from monitor_service.engine.health.trends import excess_volatility

Severity = Literal["info", "warning", "critical"]
Evidence = Mapping[str, float | str]
Found = dict[str, float | str | None]

FINE_SHARE = 0.7
"""Share of its best gain that the reward must have kept for low entropy to be harmless."""
HIGH_BASELINE = 1.0
"""Nats. From this baseline on an entropy below 0.5 is a fall, not this model's habit."""
FEW_LEFT = 0.1
"""Share of the entropy baseline below which a run that also lost its reward is critical."""
SHOWN = 3
"""Names that are listed; the rest is counted."""


def collapse(seen: Seen) -> Found:
    """The pooled rates, and what most of the collapsed groups are."""
    rates = seen.vitals.pooled
    found: Found = {"side": seen.side}
    if rates is not None:
        found |= {
            "acr": rates.acr,
            "standard_error": rates.standard_error(rates.acr),
            "acr_wrong": rates.wrong,
            "acr_correct": rates.correct,
            "acr_other": rates.other,
        }
    return found


def stalled(seen: Seen) -> Found:
    """Collapse, with the trend of the reward."""
    reward = seen.trends.reward
    return collapse(seen) | {"reward": reward.middle, "reward_before": reward.slow}


def start(seen: Seen) -> Found:
    """Collapse, with the mean of the first hundred steps."""
    return collapse(seen) | {"acr_100": seen.first_hundred.acr_100}


def volatility(seen: Seen) -> Found:
    """The spread of ACR, and what is left of it without sampling noise."""
    rates, groups = seen.trends.acr, seen.trends.groups
    mean = sum(rates) / len(rates)
    raw = sum((rate - mean) ** 2 for rate in rates) / len(rates)
    return {"std": raw**0.5, "excess": excess_volatility(rates, groups), "num_groups": groups}


def hidden(seen: Seen) -> Found:
    """ACR of the sum and of the accuracy component."""
    return {"acr": seen.vitals.acr, "acr_primary": seen.vitals.acr_primary}


def sampled(seen: Seen) -> Found:
    """Collapse, with what dynamic sampling could not fill and why it stopped."""
    return collapse(seen) | {
        "filled": figures.sampling_exhausted(seen),
        "tries": seen.vitals.sampling_tries,
        "stopped_by": seen.vitals.sampling_stopped_by,
    }


def idle(seen: Seen) -> Found:
    """Collapse, with the groups that were generated for nothing."""
    return collapse(seen) | {
        "idle_groups": seen.trends.idle_groups,
        "grad_norm": seen.vitals.grad_norm,
    }


def gradient(seen: Seen) -> Found:
    """The gradient norm against its running median."""
    usual = seen.trends.grad_usual
    now = median(seen.trends.grad_norm)
    return {
        "grad_norm": now,
        "usual": usual,
        "ratio": now / usual if usual else None,
        "acr": seen.vitals.acr,
    }


def not_finite(seen: Seen) -> Found:
    """What was not a number."""
    return {"figures": _listed(seen.vitals.non_finite)}


def reward(seen: Seen) -> Found:
    """The mean reward now, its best and its lowest."""
    trend = seen.trends.reward
    return {
        "reward": trend.fast,
        "best": trend.best,
        "lowest": trend.low,
        "kept_share": trend.kept_share,
    }


def degenerate(seen: Seen) -> Found:
    """Collapse, with the reward that everybody gets."""
    return collapse(seen) | {"reward": seen.vitals.reward_mean}


def constant(seen: Seen) -> Found:
    """The functions that gave one value only, and which."""
    names = seen.trends.constant_functions
    means = [(name, seen.vitals.components.get(name, (None, None))[0]) for name in names]
    shown = [name if mean is None else f"{name} ({mean:.4g})" for name, mean in means]
    return {
        "functions": _listed(shown),
        "num_functions": len(names),
        "num_reported": len(seen.vitals.components),
        "side": seen.side,
    }


def entropy(seen: Seen) -> Found:
    """Entropy against the run's own, with what the reward made of it."""
    track = seen.trends.entropy
    return _heated(
        seen,
        {
            "entropy": median(track.recent),
            "baseline": track.baseline,
            "first": track.first,
            "kept_share": seen.trends.reward.kept_share,
            "acr_wrong": seen.vitals.pooled.wrong if seen.vitals.pooled else None,
        },
    )


def kl(seen: Seen) -> Found:
    """KL, the median of the newest and the newest itself."""
    return _heated(seen, {"kl": median(seen.trends.kl), "newest": seen.vitals.kl})


def clipping(seen: Seen) -> Found:
    """The clip fraction."""
    return {"clip_fraction": median(seen.trends.clip)}


def truncated(seen: Seen) -> Found:
    """The share of truncated completions, now and at the start."""
    return {
        "truncated": figures.truncation(seen),
        "at_start": seen.trends.truncated_first,
        "length": seen.vitals.completion_length_mean,
    }


def length(seen: Seen) -> Found:
    """Lengths, with what the reward made of them."""
    trends = seen.trends
    return {
        "length": median(trends.length),
        "highest": trends.length_peak,
        "longest": trends.longest,
        "first": trends.length_first,
        "kept_share": trends.reward.kept_share,
    }


def lag(seen: Seen) -> Found:
    """How old the settings were."""
    return {"lag_steps": seen.vitals.settings_lag_steps}


def ignored(seen: Seen) -> Found:
    """The first knob that was ignored, why, and how many there are."""
    knobs = sorted(seen.vitals.not_applied.items())
    knob, reason = knobs[0] if knobs else ("", "")
    return {"knob": knob, "reason": reason, "num_knobs": len(knobs)}


def by_side(evidence: Evidence, severity: Severity) -> Severity:
    """A stall whose kind nobody knows is worth knowing, not more."""
    return "info" if evidence.get("side") == "unknown" else severity


def unless_correct(evidence: Evidence, severity: Severity) -> Severity:
    """A run that answers everything right is done, not sick."""
    return "info" if evidence.get("side") == "correct" else severity


def idle_grade(evidence: Evidence, severity: Severity) -> Severity:
    """A run that answers everything right wastes its time; any other is lost."""
    return "warning" if evidence.get("side") == "correct" else severity


def worse_if_wrong(evidence: Evidence, severity: Severity) -> Severity:
    """A collapsed start counts when the groups were wrong, and not when they were right."""
    return "warning" if evidence.get("side") == "wrong" else severity


def constant_grade(evidence: Evidence, severity: Severity) -> Severity:
    """A constant bonus is harmless; when every function is constant, nothing is learnt."""
    is_all = evidence.get("num_functions") == evidence.get("num_reported")
    return "warning" if is_all and evidence.get("side") != "correct" else severity


def entropy_grade(evidence: Evidence, severity: Severity) -> Severity:
    """Low entropy matters when the reward suffers; it is usual at the end of a good run."""
    share = number(evidence, "kept_share", 1.0)
    if share >= FINE_SHARE:
        return "info"
    ratio = number(evidence, "entropy", 1.0) / number(evidence, "baseline", 1.0)
    return "critical" if ratio < FEW_LEFT else severity


def low_entropy_grade(evidence: Evidence, severity: Severity) -> Severity:
    """An absolute level says something only of a model that started well above it."""
    is_fall = number(evidence, "baseline", 0.0) >= HIGH_BASELINE
    is_bad = number(evidence, "kept_share", 1.0) < FINE_SHARE
    return "warning" if is_fall and is_bad else severity


def number(evidence: Evidence, name: str, default: float) -> float:
    """One number of the evidence, or `default` where it has none."""
    value = evidence.get(name, default)
    return default if isinstance(value, str) else value


def _heated(seen: Seen, found: Found) -> Found:
    """With both temperatures when sampling is not as hot as it was at the baseline."""
    now, then = seen.vitals.temperature, seen.trends.temperature
    if now is not None and then is not None and abs(now - then) > figures.SAME_TEMPERATURE:
        return found | {"temperature": now, "temperature_before": then}
    return found


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
