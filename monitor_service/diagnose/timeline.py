"""What stood when, as a chart of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitor_service.diagnose.markup import text
from monitor_service.diagnose.svg import COLOURS, LETTERS, drawing

ROW_INCHES = 0.2
AXIS_INCHES = 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a timeline: spans as (first step, last step, colour), points as (step, text)."""

    label: str
    told: str
    """The same in words."""
    spans: Sequence[tuple[float, float, str]] = ()
    points: Sequence[tuple[float, str]] = ()


def figure(title: str, rows: Sequence[Row], steps: tuple[float, float]) -> str:
    """What stood when, a row each; nothing without rows. `steps` are the first and the last."""
    if not rows:
        return ""
    about = "; ".join(f"{row.label}: {row.told}" for row in rows)
    drawn = drawing(
        title,
        about,
        steps,
        ROW_INCHES * len(rows) + AXIS_INCHES,
        lambda axes: _draw(axes, rows, least=(steps[1] - steps[0]) / 150),
    )
    return f"<figure><figcaption><b>{text(title)}</b></figcaption>{drawn}</figure>"


def _draw(axes: Any, rows: Sequence[Row], least: float) -> None:
    for height, row in enumerate(rows):
        for first, last, colour in row.spans:
            axes.barh(
                height,
                max(least, last - first),
                left=first,
                height=0.62,
                color=COLOURS[colour],
                linewidth=0,
            )
        for step, name in row.points:
            axes.annotate(
                name,
                (step, height),
                ha="center",
                va="center",
                fontsize=LETTERS,
                color=COLOURS["ink"],
            )
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=True, axis="x", color=COLOURS["grid"], linewidth=0.6)
    axes.set_axisbelow(True)
