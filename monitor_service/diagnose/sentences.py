"""Sentences of a report that text and page share: the forecast, problems, and what was read."""

from collections.abc import Sequence

from monitor_service.diagnose.report import Diagnosis
from monitor_service.engine.forecast import MIN_STEPS
from monitor_service.engine.health.alarms import Verdict

ABOUT_ACR = (
    "ACR: the share of groups in which every completion got the same reward, so that nothing is "
    "learnt from them; pooled: over the last groups"
)


def forecast_lines(one: Diagnosis) -> list[str]:
    """What ACR_100 says about the end, or why nothing yet."""
    found = one.replay.forecast
    if found is None:
        return []
    if not found.ready or found.expected is None or found.low is None or found.high is None:
        return [
            f"none: {found.steps_seen} of the first 100 steps have an ACR, {MIN_STEPS} are needed"
        ]
    return [
        f"only if this run is like those of the paper ({found.scope}): {found.expected:.1%} "
        f"({found.low:.1%} to {found.high:.1%}), from an ACR_100 of {found.acr_100:.3f}, the mean "
        f"ACR of the first 100 steps. {found.caveat}"
    ]


def problem_lines(one: Diagnosis) -> list[str]:
    """Problems of the file, each with its place."""
    lines = []
    for found in one.problems:
        first, *next_ones = found.places
        spots = [f"line {place.line}" for place in next_ones if place.line is not None]
        places = ", ".join([printable(str(first)), *spots])
        more = (
            f" and {found.count - len(found.places)} more"
            if found.count > len(found.places)
            else ""
        )
        lines.append(f"{places}{more}: {found.text}")
    return lines


def read_lines(one: Diagnosis) -> list[str]:
    """What was read, and from which keys."""
    log, series = one.log, one.replay.series
    steps = series.steps
    lines = [
        f"{log.num_rows} rows of {log.format}: {len(steps)} steps, {steps[0]} to {steps[-1]} "
        f"(step: {printable(log.step_key or 'numbered')})"
    ]
    if (totals := one.replay.totals) is not None:
        sizes = sorted(totals.sizes)
        size = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        counts = ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in totals.outcomes.items() if count
        )
        group, reward = printable(log.group_key or "in order"), printable(log.reward_key or "?")
        lines.append(
            f"{totals.num_groups} groups of {size} (group: {group}, reward: {reward}): {counts}"
        )
    if series.keys:
        lines.append("keys: " + ", ".join(f"{key} -> {name}" for name, key in series.keys.items()))
    if log.unknown:
        names = [printable(name) for name in log.unknown]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        lines.append(f"not used: {', '.join(names[:8])}{more}")
    return lines


def advice_of(verdicts: Sequence[Verdict]) -> list[str]:
    """The advice of each; what an earlier one advises already is named, not repeated."""
    told = []
    for index, verdict in enumerate(verdicts):
        advice = verdict.advice
        for earlier in verdicts[:index]:
            advice = advice.replace(earlier.advice, f"For the rest see {earlier.rule}.")
        told.append(advice)
    return told


def printable(value: str) -> str:
    """A text from a file, without control characters that a terminal would obey."""
    return "".join(one if one.isprintable() else "?" for one in value)
