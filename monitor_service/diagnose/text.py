"""A report for terminals, as wide as they are up to 100 columns; no colour is needed to read it."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from monitor_service.diagnose.numbers import number
from monitor_service.diagnose.replay import Episode
from monitor_service.diagnose.report import TITLES, Diagnosis, Range, Skipped
from monitor_service.diagnose.sentences import (
    ABOUT_ACR,
    advice_of,
    forecast_lines,
    printable,
    problem_lines,
    read_lines,
)

MAX_WIDTH = 100
MIN_WIDTH = 60
"""Narrower terminals break the lines themselves."""

SPARK_WIDTH = 24
LABEL_WIDTH = 13
MAX_NAMED = 5
"""Files left out for one and the same reason that are named."""

_LEVELS = "▁▂▃▄▅▆▇█"
_ASCII = str.maketrans(_LEVELS, ".:,-=+*#")
_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_FINE = "green"

SPIKY = 30.0
"""Ratio of the largest value to the median from which a sparkline is logarithmic."""

FLAT = 1e-9
"""Spread, relative to the size of the values, below which a sparkline shows no change."""

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


@dataclass(slots=True)
class _Sheet:
    """Text of a certain width, as it grows."""

    width: int
    text: Text = field(default_factory=Text)

    def add(self, line: str, style: str = "") -> None:
        """Add as it is."""
        self.text.append(line, style=style)

    def wrap(self, line: str, *, indent: int, label: str | None = None, style: str = "") -> None:
        """Add a sentence in lines that fit, beside a label."""
        first = " " * indent if label is None else f"  {label:<{indent - 2}}"
        width = min(MAX_WIDTH, max(MIN_WIDTH, self.width))
        lines = textwrap.wrap(
            line,
            width,
            initial_indent=first,
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )
        self.add("\n".join(lines) + "\n", style)

    def listed(self, label: str, lines: Iterable[str]) -> None:
        """Add sentences with a label beside the first."""
        for line in lines:
            self.wrap(line, indent=2 + LABEL_WIDTH, label=label)
            label = ""


def of(one: Diagnosis, width: int = MAX_WIDTH) -> Text:
    """The report on one file; `width` in columns, which paths may exceed."""
    sheet = _Sheet(width)
    sheet.add(f"{printable(one.path)}\n", "bold")
    sheet.wrap(one.headline, indent=2, style=_STYLES.get(one.worst or "", _FINE))
    sheet.add("\n")
    _verdicts(sheet, one)
    _figures(sheet, one)
    sheet.listed("forecast", forecast_lines(one))
    sheet.listed("not judged", one.not_judged)
    sheet.listed("note", one.caveats)
    sheet.listed("problem", problem_lines(one))
    sheet.listed("read", read_lines(one))
    return sheet.text


def of_skipped(skipped: Sequence[Skipped], width: int = MAX_WIDTH) -> Text:
    """Files without a diagnosis: each that could not be read, the others by their reason."""
    sheet = _Sheet(width)
    if broken := [one for one in skipped if one.status == "unreadable"]:
        sheet.add("Could not be read\n", "bold red")
        for one in broken:
            sheet.add(f"  {printable(one.place)}\n")
            sheet.wrap(printable(one.reason), indent=4)
    reasons: dict[str, list[str]] = {}
    for one in skipped:
        if one.status == "not_a_log":
            reasons.setdefault(one.reason, []).append(one.place)
    if reasons:
        sheet.add("Not a log\n", "bold")
    for reason, places in reasons.items():
        for place in places[:MAX_NAMED]:
            sheet.add(f"  {printable(place)}\n")
        if len(places) > MAX_NAMED:
            sheet.add(f"  and {len(places) - MAX_NAMED} more\n")
        sheet.wrap(printable(reason), indent=4)
    return sheet.text


def summary(judged: Sequence[Diagnosis], width: int = MAX_WIDTH) -> Text:
    """The headlines of several files."""
    sheet = _Sheet(width)
    sheet.add("Summary\n", "bold")
    for one in judged:
        sheet.add(f"  {one.worst or 'ok':<9}", _STYLES.get(one.worst or "", _FINE))
        sheet.add(f"{printable(one.path)}\n")
        sheet.wrap(one.headline, indent=11)
    return sheet.text


def _verdicts(sheet: _Sheet, one: Diagnosis) -> None:
    if one.standing:
        sheet.add("  Standing at the end\n", "bold")
        advice = advice_of([episode.verdict for episode in one.standing])
        for episode, advised in zip(one.standing, advice, strict=True):
            _verdict(sheet, episode, advised)
        sheet.add("\n")
    if one.resolved:
        sheet.add("  Raised earlier, resolved\n", "bold")
        for episode in one.resolved:
            verdict = episode.verdict
            sheet.add(f"    {episode.worst:<9}", _STYLES.get(episode.worst, ""))
            sheet.add(
                f"{verdict.rule}  steps {verdict.since_step} to {episode.resolved} "
                f"(raised at {episode.raised})\n"
            )
            sheet.wrap(printable(verdict.cause), indent=13)
        sheet.add("\n")


def _verdict(sheet: _Sheet, episode: Episode, advice: str) -> None:
    verdict = episode.verdict
    sheet.add(f"    {verdict.severity:<9}", _STYLES.get(verdict.severity, ""))
    sheet.add(f"{verdict.rule}  since step {verdict.since_step} (raised at {episode.raised})\n")
    sheet.wrap(printable(verdict.cause), indent=13)
    if verdict.evidence:
        shown = ", ".join(f"{name} {_value(value)}" for name, value in verdict.evidence.items())
        sheet.wrap(f"evidence: {shown}", indent=13)
    sheet.wrap(f"advice: {advice}", indent=13)


def _figures(sheet: _Sheet, one: Diagnosis) -> None:
    if not one.ranges:
        return
    head = f"    {'':<19}{'first':>9}{'last':>9}{'min':>9}{'max':>9}"
    sheet.add(f"{head}\n", "dim")
    values = one.replay.series.values
    num_steps = len(one.replay.series.steps)
    room = sheet.width - len(head) - 2
    for name, found in one.ranges.items():
        if found.low == found.high == 0 and name.startswith("acr_"):
            continue
        cells = "".join(f"{number(value):>9}" for value in _row(found))
        spark = sparkline(values[name], largest=name in _LARGEST) if room >= SPARK_WIDTH else ""
        partly = "" if found.count >= FEW * num_steps else f"  {found.count} of {num_steps} steps"
        sheet.add(f"    {TITLES[name]:<19}{cells}  {spark}{partly}".rstrip() + "\n")
    if "acr" in one.ranges:
        sheet.wrap(ABOUT_ACR, indent=4, style="dim")
    sheet.add("\n")


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
    if span <= FLAT * max(abs(low), abs(high)):
        return _LEVELS[0] * buckets
    marks = (round((point / 2 - low / 2) / span * (len(_LEVELS) - 1)) for point in points)
    return "".join(_LEVELS[at] for at in marks) + mark


def _value(value: float | str) -> str:
    return printable(value) if isinstance(value, str) else number(value)
