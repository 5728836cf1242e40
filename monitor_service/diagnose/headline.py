"""One sentence on a run: how it stands, since when, and what the reward did."""

import math
from typing import Literal

from monitor_service.diagnose.numbers import number
from monitor_service.diagnose.replay import Replay
from monitor_service.diagnose.series import Series

END_SHARE = 0.1
"""Share of the rows at each end whose mean stands for "first" and "last" in a headline."""

END_ROWS = (5, 10)
"""At least and at most so many rows; the start of a run is soon over."""

THIN = 0.2
"""Share of the completions of the fullest step below which a step's reward is no first or last."""

FLAT_ROWS = 5
"""Rows of one and the same reward at the end from which it has collapsed there."""

FOR_GOOD_ROWS = 20
"""And from which that is called for good."""

FLAT_FACTOR = 1.5
"""How much longer than any stretch of that reward before it has to be."""

FLAT_BEFORE = 0.5
"""Share of the rows before it with that reward from which the run was never better."""

CLEAR = 2.0
"""Standard errors from which the reward counts as changed."""

MIN_ROWS = 2 * END_ROWS[0]
"""Rows with a reward below which nothing is said about its course: both ends need theirs."""


def headline(replayed: Replay) -> str:
    """One sentence: how it stands, since when, and what the reward did."""
    series = replayed.series
    standing = replayed.standing
    serious = [one for one in standing if one.verdict.severity != "info"]
    earlier = [one for one in replayed.episodes if one.resolved is not None and one.worst != "info"]
    reward = reward_story(series)
    if (flat := collapse(series)) is not None:
        step, value = flat
        rows = sum(at >= step for at in series.values["reward_mean"])
        until = "for good" if rows >= FOR_GOOD_ROWS else "to the end"
        dead = ", gradient norm exactly 0" if _gradient_is_zero(series, step) else ""
        signs = [one for one in replayed.episodes if one.worst != "info" and one.raised <= step]
        sign = f"; first alarm {signs[0].verdict.rule} at step {signs[0].raised}" if signs else ""
        return f"Collapsed at step {step}: reward {number(value)} {until}{dead}{sign}"
    if serious:
        first = serious[0].verdict
        others = len(serious) - 1
        more = f", and {others} more" if others else ""
        level = first.severity.capitalize()
        return f"{level} since step {first.since_step}: {first.rule}{more}; {reward}"
    if earlier:
        last = max(one.resolved or 0 for one in earlier)
        count = "1 alarm" if len(earlier) == 1 else f"{len(earlier)} alarms"
        worst = " (critical)" if any(one.worst == "critical" for one in earlier) else ""
        way = f"{count} on the way{worst}, the last resolved at step {last}"
        return f"No warning at the end; {way}; {reward}"
    if solved := [one for one in standing if one.verdict.rule == "saturation"]:
        since = solved[0].verdict.since_step
        return (
            f"Saturating since step {since}: most groups without signal are all correct; {reward}"
        )
    change = reward_change(series)
    if change is None:
        return f"No warning, and little to judge by: {reward}"
    if change[2] == 0:
        return f"No warning; {reward}"
    if change[2] < 0:
        return f"No warning, but the {reward}"
    return f"Healthy: {reward}; no warning"


def collapse(series: Series) -> tuple[int, float] | None:
    """Since which step the reward has been stuck at its lowest, and where; None when it is not."""
    flat = _flat_end(series)
    return flat[:2] if flat is not None and flat[2] == "lowest" else None


def reward_change(series: Series) -> tuple[float, float, int] | None:
    """Mean reward at both ends, and -1, 0 or 1 for fell, no clear change, rose.

    None when fewer than `MIN_ROWS` rows hold a reward.
    """
    values = series.values.get("reward_mean", {})
    if len(values) < MIN_ROWS:
        return None
    steps = sorted(values)
    most = max((series.weights.get(step, 1) for step in steps), default=1)
    # The last visits of a few prompts say nothing about all of them.
    ordered = [values[step] for step in steps if series.weights.get(step, most) >= THIN * most]
    count = max(
        1, min(len(ordered) // 2, max(END_ROWS[0], round(len(ordered) * END_SHARE)), END_ROWS[1])
    )
    (early, early_error), (late, late_error) = _mean(ordered[:count]), _mean(ordered[-count:])
    error = math.hypot(early_error, late_error)
    change = late - early
    is_clear = abs(change) > CLEAR * error and abs(change) > 1e-9
    return early, late, (1 if change > 0 else -1) if is_clear else 0


def reward_story(series: Series) -> str:
    """What the reward did, in words."""
    values = series.values.get("reward_mean", {})
    change = reward_change(series)
    if change is None:
        rows = "1 row holds" if len(values) == 1 else f"{len(values) or 'no'} rows hold"
        return f"{rows} a reward" + (f", {MIN_ROWS} are needed" if values else "")
    early, late, sign = change
    if min(values.values()) == max(values.values()):
        return f"reward was {number(late)} on every row"
    verb = {1: "rose", -1: "fell", 0: "shows no clear trend:"}[sign]
    return f"reward {verb} {'from ' if sign else ''}{number(early)} to {number(late)}"


def _mean(values: list[float]) -> tuple[float, float]:
    """(mean, its standard error)."""
    # Deviations are taken in units that cannot overflow when squared.
    scale = max(map(abs, values)) or 1.0
    scaled = [value / scale for value in values]
    mean = math.fsum(scaled) / len(scaled)
    variance = math.fsum((value - mean) ** 2 for value in scaled) / max(1, len(scaled) - 1)
    return mean * scale, math.sqrt(variance / len(scaled)) * scale


def _flat_end(series: Series) -> tuple[int, float, Literal["lowest", "highest", "middle"]] | None:
    """(first step, value, where) of one and the same reward to the end, after it had varied."""
    values = series.values.get("reward_mean", {})
    steps = sorted(values)
    if not steps:
        return None
    last = values[steps[-1]]
    start = len(steps)
    while start and values[steps[start - 1]] == last:
        start -= 1
    rows = len(steps) - start
    before = [values[step] == last for step in steps[:start]]
    if rows < FLAT_ROWS or sum(before) >= FLAT_BEFORE * len(before):
        return None
    longest = stretch = 0
    for is_same in before:
        stretch = stretch + 1 if is_same else 0
        longest = max(longest, stretch)
    if rows < FLAT_FACTOR * longest:
        return None
    low, high = min(values.values()), max(values.values())
    where: Literal["lowest", "highest", "middle"] = (
        "lowest" if last == low else "highest" if last == high else "middle"
    )
    return steps[start], last, where


def _gradient_is_zero(series: Series, step: int) -> bool:
    norms = [value for at, value in series.values.get("grad_norm", {}).items() if at >= step]
    # The update of the step itself may still be of the batch before.
    return len(norms) > 1 and all(value == 0 for value in norms[1:])
