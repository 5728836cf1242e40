"""The trainer's own parameters: what is asked for beside what the trainer says."""

from collections.abc import Sequence

from rich.text import Text

from monitor_service.cli.terminal import FINE, SEVERITY_STYLES, columns, parts, wrapped
from monitor_service.formats import NOTHING, value
from monitor_service.resources import Requested

TITLES = ("knob", "requested", "applied")
OWN = "own"
"""What is asked for when nothing is: the trainer's own value, as it was configured."""


def table(knobs: Sequence[Requested]) -> list[Text]:
    """The titles, and each knob with what the trainer had to say about it."""
    titles, *rows = columns([TITLES, *(_row(knob) for knob in knobs)], left=(0,))
    lines = [parts(("  ".join(titles), "dim"))]
    for cells, knob in zip(rows, knobs, strict=True):
        lines.append(parts("  ".join(cells), (f"  {_status(knob)}", _style(knob))))
        if knob.applied and knob.applied.reason:
            lines.extend(wrapped(knob.applied.reason, lead="  "))
    return lines


def one_by_one(knobs: Sequence[Requested]) -> list[Text]:
    """A line for each knob, where there is no room for a table."""
    lines = []
    for knob in knobs:
        name, requested, inside = _row(knob)
        why = f": {knob.applied.reason}" if knob.applied and knob.applied.reason else ""
        figures = f"{name}  {requested} requested, {inside} applied  "
        lines.append(parts(figures, (f"{_status(knob)}{why}", _style(knob))))
    return lines


def _status(knob: Requested) -> str:
    return knob.applied.status if knob.applied else "not reported on yet"


def _row(knob: Requested) -> tuple[str, str, str]:
    requested = OWN if knob.requested is None else value(knob.requested)
    inside = None if knob.applied is None else knob.applied.value
    return knob.name, requested, NOTHING if inside is None else value(inside)


def _style(knob: Requested) -> str:
    if knob.applied is None:
        return "dim"
    if knob.applied.status == "ignored":
        return SEVERITY_STYLES["warning"]
    return FINE if knob.applied.value == knob.requested else ""
