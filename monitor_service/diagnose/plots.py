"""Plots of one log as SVG, drawn by matplotlib; colours are variables that the page defines.

A plot is drawn in placeholder colours which are then replaced by CSS variables, so that one SVG
serves the light and the dark page.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from monitor_service.diagnose.replay import Episode
from monitor_service.diagnose.report import Diagnosis

EXTRA = "acr-monitor[diagnose]"

WIDTH_INCHES = 9.0
HEIGHT_INCHES = 1.65
"""Of one plot among those that share the axis of steps."""

INK, GRID, MAIN, SECOND, WRONG, CORRECT, OTHER, WARNING, CRITICAL = (
    *("#010101", "#020202", "#030303", "#040404", "#050505", "#060606", "#070707"),
    *("#080808", "#090909"),
)
_VARIABLES = {
    INK: "--ink",
    GRID: "--grid",
    MAIN: "--main",
    SECOND: "--second",
    WRONG: "--wrong",
    CORRECT: "--correct",
    OTHER: "--other",
    WARNING: "--warning",
    CRITICAL: "--critical",
}

LOGARITHMIC_FROM = 100.0
"""Ratio of the largest value to the median from which an axis is logarithmic."""

LIMIT = 1e30
"""Magnitudes beyond this are drawn as this."""

MAX_POINTS = 4000
"""Points of a line; a longer series is thinned, its extremes kept."""

SMOOTHED_FROM = 100
"""Points from which a noisy figure gets a running mean."""

_NOISY = {"reward_mean", "grad_norm", "kl", "completion_length_mean"}

Line = tuple[str, str, str]
"""(figure, label, colour)."""

_PLOTS: Sequence[tuple[str, Sequence[Line]]] = (
    ("reward", (("reward_mean", "reward", MAIN),)),
    (
        "ACR",
        (
            ("acr", "ACR of the step", SECOND),
            ("acr_smoothed", "pooled", MAIN),
            ("wrong_smoothed", "pooled, all wrong", WRONG),
            ("correct_smoothed", "pooled, all correct", CORRECT),
        ),
    ),
    ("entropy", (("entropy", "entropy", MAIN),)),
    ("KL", (("kl", "KL", MAIN),)),
    ("gradient norm", (("grad_norm", "gradient norm", MAIN),)),
    (
        "length, tokens",
        (
            ("completion_length_mean", "mean", MAIN),
            ("completion_length_max", "longest", SECOND),
        ),
    ),
    ("truncated", (("truncated_fraction", "truncated", MAIN),)),
    ("clipped", (("clip_fraction", "clipped", MAIN),)),
)


def missing() -> str | None:
    """What to install, when matplotlib is not there."""
    if find_spec("matplotlib") is None:
        return f"plots need matplotlib: pip install '{EXTRA}'"
    return None


def svg(one: Diagnosis) -> str:
    """All figures of a log over its steps; marks where alarms rose."""
    # Heavy, and only of use here.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    values = one.replay.series.values
    chosen = [
        (title, [line for line in lines if values.get(line[0])])
        for title, lines in _PLOTS
        if any(values.get(line[0]) for line in lines)
    ]
    if not chosen:
        return ""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "acr", "font.family": "sans-serif"}):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES * len(chosen) + 0.55))
        figure.patch.set_visible(False)
        every = figure.subplots(len(chosen), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, lines) in zip(every, chosen, strict=True):
            _plot(axes, title, lines, values)
            _marks(axes, one.replay.episodes, is_first=axes is every[0])
        steps = one.replay.series.steps
        every[-1].set_xlabel("step", color=INK)
        if steps[0] < steps[-1]:
            every[-1].set_xlim(steps[0], steps[-1])
        figure.align_ylabels()
        figure.tight_layout(h_pad=0.6)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _themed(stream.getvalue())


def _plot(
    axes: Any, title: str, lines: Sequence[Line], values: Mapping[str, Mapping[int, float]]
) -> None:
    axes.patch.set_visible(False)
    axes.set_ylabel(title, color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    is_rate = title in ("ACR", "truncated", "clipped")
    is_spiky = _is_spiky([value for line in lines for value in values[line[0]].values()])
    for name, label, colour in lines:
        steps, points = thinned(values[name])
        if name in _NOISY and len(steps) >= SMOOTHED_FROM and not is_spiky:
            axes.plot(steps, points, color=SECOND, linewidth=0.7)
            points = running_mean(points)
        marker = "." if len(steps) < 60 else None
        is_raw = name == "acr"
        axes.plot(
            *(steps, points),
            color=colour,
            label=label,
            linewidth=0.7 if is_raw else 1.4,
            marker="." if is_raw else marker,
            markersize=3,
            linestyle="" if is_raw else "-",
        )
    if is_rate:
        axes.set_ylim(-0.04, 1.04)
    elif is_spiky:
        axes.set_yscale("log")
    if len(lines) > 1:
        legend = axes.legend(fontsize=8, frameon=False, ncols=4, loc="best")
        for text in legend.get_texts():
            text.set_color(INK)


def _is_spiky(points: Sequence[float]) -> bool:
    positive = sorted(point for point in points if point > 0)
    if not positive or min(points) < 0:
        return False
    return positive[-1] > LOGARITHMIC_FROM * positive[len(positive) // 2]


def thinned(column: Mapping[int, float]) -> tuple[list[int], list[float]]:
    """Steps and values of a figure, at most `MAX_POINTS` of them, extremes kept."""
    steps = sorted(column)
    if len(steps) > MAX_POINTS:
        buckets = MAX_POINTS // 2
        kept: set[int] = set()
        for index in range(buckets):
            part = steps[index * len(steps) // buckets : (index + 1) * len(steps) // buckets]
            kept.add(min(part, key=column.__getitem__))
            kept.add(max(part, key=column.__getitem__))
        steps = sorted(kept)
    return steps, [max(-LIMIT, min(LIMIT, column[step])) for step in steps]


def running_mean(points: Sequence[float]) -> list[float]:
    """Means of a fortieth of the points, centred.

    >>> running_mean([1.0, 2.0, 3.0])
    [1.5, 2.0, 2.5]
    """
    reach = max(1, len(points) // 80)
    return [
        math.fsum(part) / len(part)
        for index in range(len(points))
        if (part := points[max(0, index - reach) : index + reach + 1])
    ]


def _marks(axes: Any, episodes: Sequence[Episode], *, is_first: bool) -> None:
    height = 0
    for episode in episodes:
        if episode.worst == "info":
            continue
        colour = CRITICAL if episode.worst == "critical" else WARNING
        axes.axvline(episode.raised, color=colour, linewidth=1.1, linestyle=(0, (4, 2)))
        if is_first:
            axes.annotate(
                f" {episode.verdict.rule}",
                (episode.raised, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3 + 10 * height),
                textcoords="offset points",
                color=colour,
                fontsize=8,
            )
            height += 1


def _themed(text: str) -> str:
    """The SVG element alone, its placeholders replaced, without ids that two plots would share."""
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r' id="[A-Za-z]\w*_\d+"', "", text)
    # The page sets the width; the box keeps the shape.
    opening, rest = text.split(">", 1)
    return re.sub(r' (?:width|height)="[^"]*"', "", opening) + ">" + rest
