"""Steps as the health rules see them, made up, and what the rules say of them."""

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from monitor_service.engine.events import Event
from monitor_service.engine.health.alarms import (
    HEALTH_UNKNOWN,
    Health,
    Verdict,
    Vitals,
    examine,
)
from monitor_service.engine.smoothing import Rates

maybe = st.none() | st.floats(allow_nan=False)
fractions = st.none() | st.floats(0, 1)
pooled_rates = st.builds(
    lambda parts, sides, groups: Rates(
        acr=sum(parts),
        wrong=parts[0] if sides else None,
        correct=parts[1] if sides else None,
        num_effective=groups,
    ),
    st.tuples(st.floats(0, 0.33), st.floats(0, 0.33), st.floats(0, 0.33)),
    st.booleans(),
    st.floats(0.5, 1e6),
)
any_vitals = st.builds(
    Vitals,
    step=st.just(0),
    num_groups=st.integers(0, 1000),
    acr=fractions,
    pooled=st.none() | pooled_rates,
    reward_mean=maybe,
    reward_is_degenerate=st.booleans(),
    components=st.dictionaries(st.text(max_size=60), st.tuples(maybe, maybe), max_size=12),
    entropy=maybe,
    kl=maybe,
    grad_norm=maybe,
    clip_fraction=fractions,
    completion_length_mean=st.none() | st.floats(0, 1e6),
    completion_length_max=st.none() | st.floats(0, 1e6),
    truncated_fraction=fractions,
    temperature=st.none() | st.floats(0, 2),
    non_finite=st.lists(st.text(max_size=30), max_size=8).map(tuple),
    settings_lag_steps=st.none() | st.integers(-3, 1000),
    not_applied=st.dictionaries(st.text(max_size=30), st.text(max_size=400), max_size=8),
    acr_primary=fractions,
    filled_share=fractions,
    sampling_tries=st.none() | st.integers(1, 1000),
    sampling_stopped_by=st.sampled_from(["", "tries", "tokens", "data"]),
)


def rates(wrong: float = 0.0, correct: float = 0.0, other: float = 0.0) -> Rates:
    """Pooled over so many groups that their standard error vanishes."""
    return Rates(acr=wrong + correct + other, wrong=wrong, correct=correct, num_effective=1e12)


def collapsed(acr: float, *, num_steps: int = 1, **figures: Any) -> list[Vitals]:
    """Steps with this rate, all-wrong unless told otherwise."""
    figures = {"pooled": rates(wrong=acr), **figures}
    return [Vitals(step=0, acr=acr, **figures)] * num_steps


def steady(num_steps: int, **figures: Any) -> list[Vitals]:
    return [Vitals(step=0, **figures)] * num_steps


def examined(
    steps: Iterable[Vitals], health: Health = HEALTH_UNKNOWN
) -> tuple[Health, list[Event]]:
    """The health after these steps, numbered on from where it was, and all that was told."""
    told: list[Event] = []
    for vitals in steps:
        health, events = examine(health, replace(vitals, step=health.step + 1))
        told += events
    return health, told


def names(health: Health) -> set[str]:
    return {verdict.rule for verdict in health.verdicts}


def verdict(health: Health, rule: str) -> Verdict:
    return next(found for found in health.verdicts if found.rule == rule)
