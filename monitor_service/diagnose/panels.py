"""Which charts there are of a run, live or from a log, made of its figures in bins of steps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor_service.diagnose.markup import paragraph
from monitor_service.diagnose.plots import Area, Chart, Curve, Mark
from monitor_service.engine.collapse import Matrix
from monitor_service.resources import StepBins

MOST_BINS = 120
"""Of a chart: more of them were narrower than what can be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One column as a chart shows it; `has_range`: with its extremes."""

    column: str
    label: str
    colour: str = "main"
    style: str = "solid"
    has_range: bool = True


_MOVING = frozenset({"grad_norm"})
"""What is usual of these moves along with the run: no height to compare all of it with."""

_GROUPS = (
    ("all_wrong", "all wrong", "wrong"),
    ("all_correct", "all correct", "correct"),
    ("uniform_other", "all of another value", "other"),
    ("mixed", "mixed", "mixed"),
    ("unscored", "not scored", "grid"),
)
_RATES = (
    Line(column="acr", label="ACR", colour="ink", has_range=False),
    Line(column="acr_smoothed", label="pooled", has_range=False),
    Line(column="acr_effective", label="effective", style="dashed", has_range=False),
    Line(column="acr_primary", label="of the accuracy alone", colour="second", has_range=False),
    Line(column="threshold", label="threshold", colour="ink", style="dotted", has_range=False),
)
_FIGURES: Sequence[tuple[str, Sequence[Line]]] = (
    ("Reward", (Line(column="reward_mean", label="reward"),)),
    ("Entropy, nats per token", (Line(column="entropy", label="entropy"),)),
    ("KL, nats per token", (Line(column="kl", label="KL"),)),
    ("Gradient norm", (Line(column="grad_norm", label="gradient norm"),)),
    (
        "Completion length, tokens",
        (
            Line(column="completion_length_mean", label="mean"),
            Line(
                column="completion_length_max",
                label="longest",
                colour="second",
                style="dashed",
                has_range=False,
            ),
        ),
    ),
    ("Share of completions cut at the limit", (Line(column="truncated_fraction", label="cut"),)),
    ("Share of clipped updates", (Line(column="clip_fraction", label="clipped"),)),
)
FIELDS = (
    *(name for name, _, _ in _GROUPS),
    *(line.column for line in _RATES),
    *(line.column for _, lines in _FIGURES for line in lines),
    *("injected_wrong", "injected_correct"),
)
"""Columns that the charts are made of."""


def of(bins: StepBins, marks: Sequence[Mark], baselines: Mapping[str, float]) -> Iterator[Chart]:
    """The charts of all that is known; `baselines` are what columns are compared with."""
    groups = _groups(bins, marks)
    if groups is not None:
        yield groups
    for title, lines in _FIGURES:
        name = lines[0].column
        curves = [curve for line in lines if (curve := curve_of(bins, line)) is not None]
        if curves:
            yield Chart(
                title=title,
                steps=_ends(bins),
                curves=curves,
                marks=marks,
                level=None if name in _MOVING else baselines.get(name),
                is_share=title.startswith("Share"),
            )


def about(bins: StepBins, *, has_alarms: bool) -> str:
    """What the points of charts stand for, and the upright lines."""
    lines = []
    if bins.steps_per_bin > 1:
        lines.append(
            f"Each point is the mean of {bins.steps_per_bin} steps, the band around it from their "
            "least to their greatest."
        )
    if has_alarms:
        lines.append("Dashed, upright: an alarm rose.")
    return paragraph(" ".join(lines), "soft")


def curve_of(bins: StepBins, line: Line) -> Curve | None:
    """A column over the middles of the bins; None where no step has it."""
    values = column(bins.columns, line.column)
    if not np.isfinite(values).any():
        return None
    has_range = line.has_range and bins.steps_per_bin > 1
    return Curve(
        label=line.label,
        colour=line.colour,
        style=line.style,
        steps=(column(bins.low, "step") + column(bins.high, "step")) / 2,
        values=values,
        low=column(bins.low, line.column) if has_range else None,
        high=column(bins.high, line.column) if has_range else None,
    )


def column(columns: Mapping[str, Sequence[float | None]], name: str) -> Matrix:
    """`[bins]` float64, NaN for None; all NaN for a column that is not there."""
    found = columns.get(name) or [None] * len(columns["step"])
    return np.array([math.nan if value is None else value for value in found], dtype=np.float64)


def _groups(bins: StepBins, marks: Sequence[Mark]) -> Chart | None:
    """Groups by their outcome, under the rates; the rates alone where outcomes are not known."""
    counts = {name: column(bins.columns, name) for name, _, _ in _GROUPS}
    total = np.nansum(np.stack(list(counts.values())), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        areas = [
            Area(label=label, colour=colour, values=counts[name] / total)
            for name, label, colour in _GROUPS
            if np.nansum(counts[name]) > 0
        ]
    curves = [curve for line in _RATES if (curve := curve_of(bins, line)) is not None]
    if not curves and not areas:
        return None
    injected = column(bins.high, "injected_wrong") + column(bins.high, "injected_correct")
    firsts, lasts = column(bins.low, "step"), column(bins.high, "step")
    return Chart(
        title="Groups by outcome, and ACR" if areas else "ACR",
        steps=_ends(bins),
        curves=curves,
        areas=areas,
        edges=np.append(firsts - 0.5, lasts[-1] + 0.5),
        acting=injected > 0 if np.nansum(injected) > 0 else None,
        marks=marks,
        is_share=True,
    )


def _ends(bins: StepBins) -> tuple[float, float]:
    return float(bins.steps_from or 0), float(bins.steps_to or 0)
