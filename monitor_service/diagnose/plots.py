"""Figures over steps as charts, each with a key."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor_service.diagnose.markup import text
from monitor_service.diagnose.numbers import number
from monitor_service.diagnose.svg import COLOURS, drawing
from monitor_service.engine.collapse import Matrix

HEIGHT_INCHES = 1.75
TALL_INCHES = 2.45

LOGARITHMIC_FROM = 100.0
"""Ratio of the largest value to the median from which an axis is logarithmic."""

LIMIT = 1e30
"""Magnitudes beyond this are drawn as this."""

DOTTED_BELOW = 60
"""Points of a line below which each of them is marked."""

_DASHES = {"solid": "-", "dashed": (0, (5, 2)), "dotted": (0, (1, 1.6))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One figure over the steps.

    Attributes:
        label: for the key; shown where a chart has several curves.
        steps: `[points]`, ascending.
        values: `[points]`, NaN where there is none.
        low: `[points]` the least of the steps that each point stands for; None: it stands for one.
        high: the greatest of them.
        style: solid, dashed or dotted.
    """

    label: str
    colour: str
    steps: Matrix
    values: Matrix
    low: Matrix | None = None
    high: Matrix | None = None
    style: str = "solid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One share of a whole over the steps, stacked on those before it; `values` are `[bins]`."""

    label: str
    colour: str
    values: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A step at which something happened."""

    step: float
    colour: str
    style: str = "dashed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What one drawing shows.

    Attributes:
        title: with the unit.
        steps: the first and the last.
        curves: drawn over the areas.
        areas: shares of each bin, from the bottom to the top.
        edges: `[bins + 1]` steps between which the areas are.
        acting: `[bins]` whether groups were injected there, shown below the axis.
        level: the run's own baseline, to compare with.
        is_share: from 0 to 1.
        has_key: whether a curve is named although it is the only one.
    """

    title: str
    steps: tuple[float, float]
    curves: Sequence[Curve]
    areas: Sequence[Area] = ()
    edges: Matrix | None = None
    acting: npt.NDArray[np.bool_] | None = None
    marks: Sequence[Mark] = ()
    level: float | None = None
    is_share: bool = False
    has_key: bool = False


def side_by_side(figures: Iterable[str]) -> str:
    """Figures beside and below each other, as the screen has room; nothing without one."""
    inside = "".join(figures)
    return f'<div class="charts">{inside}</div>' if inside else ""


def figure(chart: Chart) -> str:
    """A chart with its key."""
    told = [f"{area.label} {np.nanmean(area.values):.0%}" for area in chart.areas]
    told += [_told(curve) for curve in chart.curves]
    if chart.level is not None:
        told.append(f"baseline {number(chart.level)}")
    about = "; ".join(told)
    height = TALL_INCHES if chart.areas else HEIGHT_INCHES
    drawn = drawing(chart.title, about, chart.steps, height, lambda axes: _chart(axes, chart))
    return (
        f"<figure><figcaption><b>{text(chart.title)}</b>{_key(chart)}</figcaption>{drawn}</figure>"
    )


def _told(curve: Curve) -> str:
    """A curve in words."""
    known = curve.values[np.isfinite(curve.values)]
    low = curve.values if curve.low is None else curve.low
    high = curve.values if curve.high is None else curve.high
    return (
        f"{curve.label} {number(known[0])} at first, {number(known[-1])} at last, from "
        f"{number(np.nanmin(low))} to {number(np.nanmax(high))}"
    )


def _key(chart: Chart) -> str:
    areas = [(area.label, area.colour) for area in chart.areas]
    if chart.acting is not None:
        areas.append(("injected", "main"))
    lines = [(curve.label, curve.colour, curve.style) for curve in chart.curves]
    if chart.level is not None:
        lines.append(("baseline", "soft", "dotted"))
    if len(areas) + len(lines) < 2 and not chart.has_key:
        return ""
    looks = [(label, f'class="area" style="color:var(--{colour})"') for label, colour in areas]
    looks += [
        (label, f'style="color:var(--{colour});border-top-style:{style}"')
        for label, colour, style in lines
    ]
    return "".join(
        f' <span class="key"><i {look}></i>{text(label)}</span>' for label, look in looks
    )


def _chart(axes: Any, chart: Chart) -> None:
    axes.grid(visible=True, color=COLOURS["grid"], linewidth=0.6)
    axes.set_axisbelow(True)
    _areas(axes, chart)
    is_spiky = not chart.is_share and _is_spiky(chart.curves)
    for curve in chart.curves:
        _curve(axes, curve)
    if chart.level is not None:
        axes.axhline(
            _bounded(chart.level),
            color=COLOURS["soft"],
            linewidth=1.0,
            linestyle=_DASHES["dotted"],
        )
    for mark in chart.marks:
        axes.axvline(
            mark.step,
            color=COLOURS[mark.colour],
            linewidth=1.0,
            linestyle=_DASHES[mark.style],
        )
    if chart.is_share:
        axes.set_ylim(-0.03 if chart.acting is None else -0.09, 1.03)
    elif is_spiky:
        axes.set_yscale("log")


def _areas(axes: Any, chart: Chart) -> None:
    if chart.edges is None:
        return
    base = np.zeros(len(chart.edges) - 1)
    for area in chart.areas:
        top = base + np.nan_to_num(area.values)
        axes.stairs(
            top,
            chart.edges,
            baseline=base,
            fill=True,
            color=COLOURS[area.colour],
            alpha=0.6,
            linewidth=0,
        )
        base = top
    if chart.acting is not None:
        bottom = np.where(chart.acting, -0.07, -0.025)
        axes.stairs(
            np.full(len(bottom), -0.025),
            chart.edges,
            baseline=bottom,
            fill=True,
            color=COLOURS["main"],
            linewidth=0,
        )


def _curve(axes: Any, curve: Curve) -> None:
    colour = COLOURS[curve.colour]
    if curve.low is not None and curve.high is not None:
        axes.fill_between(
            curve.steps,
            _bounded(curve.low),
            _bounded(curve.high),
            color=colour,
            alpha=0.22,
            linewidth=0,
        )
    axes.plot(
        curve.steps,
        _bounded(curve.values),
        color=colour,
        linewidth=1.3,
        linestyle=_DASHES[curve.style],
        marker="." if len(curve.steps) < DOTTED_BELOW else None,
        markersize=4,
    )


def _is_spiky(curves: Sequence[Curve]) -> bool:
    found = np.concatenate(
        [
            part
            for curve in curves
            for part in (curve.values, curve.high, curve.low)
            if part is not None
        ]
    )
    known = found[np.isfinite(found)]
    positive = np.sort(known[known > 0])
    if not len(positive) or known.min() < 0:
        return False
    return bool(positive[-1] > LOGARITHMIC_FROM * positive[len(positive) // 2])


def _bounded(values: Any) -> Any:
    return np.clip(values, -LIMIT, LIMIT)
