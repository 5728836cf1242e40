"""A report for terminals: at most 100 columns, no colour needed to understand it."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich.text import Text

from monitor_service.diagnose.numbers import number
from monitor_service.diagnose.replay import Episode
from monitor_service.diagnose.report import TITLES, Diagnosis, Range, Skipped
from monitor_service.engine.forecast import MIN_STEPS

WIDTH = 100
SPARK_WIDTH = 24
LABEL_WIDTH = 13
_LEVELS = "▁▂▃▄▅▆▇█"
_ASCII = str.maketrans(_LEVELS, ".:,-=+*#")
_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}

SPIKY = 30.0
"""Ratio of the largest value to the median from which a sparkline is logarithmic."""

FEW = 0.9
"""Share of the steps below which it is said on how many a figure is known."""

_LARGEST = {"kl", "grad_norm", "completion_length_max"}
"""Figures where a bucket of a sparkline shows its largest value, not its mean."""


def in_ascii(shown: str) -> str:
    """The same for outputs that know no more than ASCII; as long as before.

    >>> in_ascii("▁▄█ é")
    '.-# ?'
    """
    plain = shown.translate(_ASCII)
    return "".join(one if one.isascii() else "?" for one in plain)


def of(one: Diagnosis) -> Text:
    """The report on one file."""
    text = Text()
    text.append(f"{_safe(one.path)}\n", style="bold")
    text.append(f"  {one.headline}\n", style=_STYLES.get(one.worst or "", "green"))
    text.append("\n")
    _verdicts(text, one)
    _figures(text, one)
    _list(text, "forecast", forecast_lines(one))
    _list(text, "not judged", one.not_judged)
    _list(text, "note", one.caveats)
    _list(text, "problem", problem_lines(one))
    _list(text, "read", read_lines(one))
    return text


def of_skipped(skipped: Sequence[Skipped]) -> Text:
    """Files without a diagnosis, each with its reason."""
    text = Text()
    for status, title in (("unreadable", "Could not be read"), ("not_a_log", "Not a log")):
        chosen = [one for one in skipped if one.status == status]
        if not chosen:
            continue
        text.append(f"{title}\n", style="bold red" if status == "unreadable" else "bold")
        for one in chosen:
            text.append(f"  {_safe(one.place)}\n")
            _wrapped(text, one.reason, indent=4)
    return text


def summary(judged: Sequence[Diagnosis]) -> Text:
    """One line a file, for several files."""
    text = Text("Summary\n", style="bold")
    for one in judged:
        text.append(f"  {one.worst or 'ok':<9}", style=_STYLES.get(one.worst or "", "green"))
        text.append(f"{_safe(one.path)}\n")
        _wrapped(text, one.headline, indent=11)
    return text


def _verdicts(text: Text, one: Diagnosis) -> None:
    if one.standing:
        text.append("  Standing at the end\n", style="bold")
        for episode in one.standing:
            _verdict(text, episode)
        text.append("\n")
    if one.resolved:
        text.append("  Raised earlier, resolved\n", style="bold")
        for episode in one.resolved:
            verdict = episode.verdict
            text.append(f"    {episode.worst:<9}", style=_STYLES.get(episode.worst, ""))
            text.append(
                f"{verdict.rule}  steps {verdict.since_step} to {episode.resolved} "
                f"(raised at {episode.raised})\n"
            )
            _wrapped(text, verdict.cause, indent=13)
        text.append("\n")


def _verdict(text: Text, episode: Episode) -> None:
    verdict = episode.verdict
    text.append(f"    {verdict.severity:<9}", style=_STYLES.get(verdict.severity, ""))
    text.append(f"{verdict.rule}")
    text.append(f"  since step {verdict.since_step} (raised at {episode.raised})\n")
    _wrapped(text, verdict.cause, indent=13)
    if verdict.evidence:
        shown = ", ".join(f"{name} {_value(value)}" for name, value in verdict.evidence.items())
        _wrapped(text, f"evidence: {shown}", indent=13)
    _wrapped(text, f"advice: {verdict.advice}", indent=13)


def _figures(text: Text, one: Diagnosis) -> None:
    if not one.ranges:
        return
    head = f"    {'':<19}{'first':>9}{'last':>9}{'min':>9}{'max':>9}"
    text.append(f"{head}\n", style="dim")
    values = one.replay.series.values
    num_steps = len(one.replay.series.steps)
    for name, found in one.ranges.items():
        if found.low == found.high == 0 and name.startswith("acr_"):
            continue
        cells = "".join(f"{number(value):>9}" for value in _row(found))
        spark = sparkline(values[name], largest=name in _LARGEST)
        partly = "" if found.count >= FEW * num_steps else f"  {found.count} of {num_steps} steps"
        text.append(f"    {TITLES[name]:<19}{cells}  {spark}{partly}\n")
    text.append("\n")


def _row(found: Range) -> tuple[float, float, float, float]:
    return found.first, found.last, found.low, found.high


def sparkline(
    values: Mapping[int, float], *, width: int = SPARK_WIDTH, largest: bool = False
) -> str:
    """Values over steps in one line; on a logarithmic scale, and marked so, when they are spiky.

    >>> sparkline({1: 0.0, 2: 1.0, 3: 0.5, 4: 1.0})
    '▁█▅█'
    """
    ordered = [values[step] for step in sorted(values)]
    if not ordered:
        return ""
    buckets = min(width, len(ordered))
    points = []
    for index in range(buckets):
        part = ordered[index * len(ordered) // buckets : (index + 1) * len(ordered) // buckets]
        points.append(max(part) if largest else sum(value / len(part) for value in part))
    mark = ""
    middle = sorted(map(abs, ordered))[len(ordered) // 2]
    if min(points) >= 0 and middle > 0 and max(points) > SPIKY * middle:
        floor = min((point for point in points if point > 0), default=1.0)
        points = [math.log2(max(point, floor)) for point in points]
        mark = " log"
    low, high = min(points), max(points)
    # Halved, so that the distance of two huge values stays finite.
    span = high / 2 - low / 2
    if span <= 0:
        return _LEVELS[0] * buckets
    marks = (round((point / 2 - low / 2) / span * (len(_LEVELS) - 1)) for point in points)
    return "".join(_LEVELS[at] for at in marks) + mark


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
        f"{found.expected:.1%} ({found.low:.1%} to {found.high:.1%}) on {found.benchmark}, from "
        f"ACR_100 {found.acr_100:.3f}; holds for {found.scope}. {found.caveat}"
    ]


def problem_lines(one: Diagnosis) -> list[str]:
    """Problems of the file, each with its place."""
    lines = []
    for found in one.problems:
        first, *next_ones = found.places
        spots = [f"line {place.line}" for place in next_ones if place.line is not None]
        places = ", ".join([_safe(str(first)), *spots])
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
        f"(step: {_safe(log.step_key or 'numbered')})"
    ]
    if (totals := one.replay.totals) is not None:
        sizes = sorted(totals.sizes)
        size = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        counts = ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in totals.outcomes.items() if count
        )
        lines.append(
            f"{totals.num_groups} groups of {size} (group: {_safe(log.group_key or 'in order')}, "
            f"reward: {_safe(log.reward_key or '?')}): {counts}"
        )
    if series.keys:
        lines.append("keys: " + ", ".join(f"{key} -> {name}" for name, key in series.keys.items()))
    if log.unknown:
        names = [_safe(name) for name in log.unknown]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        lines.append(f"not used: {', '.join(names[:8])}{more}")
    return lines


def _list(text: Text, label: str, lines: Iterable[str]) -> None:
    for line in lines:
        _wrapped(text, line, indent=2 + LABEL_WIDTH, label=label)
        label = ""


def _wrapped(text: Text, line: str, *, indent: int, label: str | None = None) -> None:
    first = " " * indent if label is None else f"  {label:<{indent - 2}}"
    wrapped = textwrap.wrap(
        line, WIDTH, initial_indent=first, subsequent_indent=" " * indent, break_on_hyphens=False
    )
    text.append("\n".join(wrapped) + "\n")


def _value(value: float | str) -> str:
    return _safe(value) if isinstance(value, str) else number(value)


def _safe(value: str) -> str:
    """A text from a file, without control characters that a terminal would obey."""
    return "".join(one if one.isprintable() else "?" for one in value)
