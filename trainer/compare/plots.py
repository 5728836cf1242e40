"""What the arms did, drawn: each arm against the baseline over the steps, and the differences.

A column for each arm, with the baseline behind it in grey, keeps many arms readable where many
lines in one plot are not; the two colours differ in lightness too.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.compare.plan import Plan
from trainer.compare.results import Result
from trainer.compare.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXTRA = "acr-monitor[diagnose]"
POINTS = 30
"""Of a line over the steps: each is the mean of as many steps as it takes."""
INK, GRID, GROUND = "#24292f", "#d8dee4", "#ffffff"
BASELINE, ARM, SHOWN = "#8c959f", "#0550ae", "#bc4c00"
"""Grey, blue, and orange for differences that are shown; told apart by any eye, and in print."""

_CURVES = (
    ("accuracy", "accuracy in training"),
    ("acr", "ACR"),
    ("acr_effective", "effective ACR"),
    ("entropy", "entropy trained on"),
)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "compare",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": GROUND,
    "axes.facecolor": GROUND,
}

_Found = Mapping[tuple[str, int], Result]


def missing() -> str | None:
    """What to install, when matplotlib is not there."""
    if find_spec("matplotlib") is None:
        return f"plots need matplotlib: pip install '{EXTRA}'"
    return None


def draw(summary: Summary, plan: Plan, found: _Found, folder: Path) -> list[Path]:
    """Write `curves` and `differences`, as SVG and PNG each; returns the files.

    Args:
        summary: of the same results.
        plan: the plan.
        found: (arm, seed) -> result; at least one, those that failed are left out.
        folder: where to write.
    """
    from matplotlib import rc_context

    done = {at: result for at, result in found.items() if result.error is None}
    files: list[Path] = []
    with rc_context(_STYLE):
        drawn = {"curves": _curves(plan, done)} if done else {}
        if summary.comparisons:
            drawn["differences"] = _differences(summary)
        for name, figure in drawn.items():
            for suffix, options in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 130})):
                files.append(folder / f"{name}{suffix}")
                figure.savefig(files[-1], **options)
    return files


def _curves(plan: Plan, done: _Found) -> "Figure":
    """Rows of figures over the steps, and pass@k over k; a column for each arm."""
    from matplotlib.figure import Figure

    arms = [arm for arm in plan.arms if arm != plan.baseline]
    rows = len(_CURVES) + 1
    figure = Figure(figsize=(1.2 + 1.75 * max(3, len(arms)), 0.9 + 1.35 * rows))
    grid = figure.subplots(rows, len(arms), squeeze=False, sharey="row", sharex=False)
    for column, arm in enumerate(arms):
        grid[0][column].set_title(arm, fontweight="bold", color=ARM)
        for row in range(1, len(_CURVES)):
            grid[row][column].sharex(grid[0][column])
        for row, (name, _) in enumerate(_CURVES):
            axes = grid[row][column]
            for which, colour in ((plan.baseline, BASELINE), (arm, ARM)):
                _over_steps(axes, [getattr(r.series, name) for r in _of(done, which)], colour)
            axes.set_xlabel("step" if row == len(_CURVES) - 1 else "", labelpad=1)
            if row < len(_CURVES) - 1:
                axes.tick_params(labelbottom=False)
        for which, colour in ((plan.baseline, BASELINE), (arm, ARM)):
            _over_k(grid[-1][column], _of(done, which), sorted(plan.evaluate.k), colour)
    for row, (_, label) in enumerate((*_CURVES, ("", "pass@k, held out"))):
        grid[row][0].set_ylabel(label)
    figure.legend(
        handles=_handles(plan.baseline),
        loc="lower center",
        ncols=4,
        frameon=False,
    )
    figure.align_ylabels()
    figure.tight_layout(rect=(0, 0.35 / figure.get_figheight(), 1, 1), h_pad=0.5, w_pad=0.5)
    return figure


def _handles(baseline: str) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Line2D([], [], color=ARM, label="the arm, mean of the seeds"),
        Line2D([], [], color=BASELINE, label=baseline),
        Patch(color=BASELINE, alpha=0.3, label="range over seeds"),
        Line2D([], [], color=INK, linestyle=":", label="before training"),
    ]


def _of(done: _Found, arm: str) -> list[Result]:
    return [result for (name, _), result in done.items() if name == arm]


def _over_steps(axes: "Axes", columns: Sequence[Sequence[float | None]], colour: str) -> None:
    """Mean and range over the seeds of block means; blocks nobody measured are left out."""
    num_steps = min((len(column) for column in columns), default=0)
    if not num_steps:
        return
    values_SP = np.array([_blocks(column[:num_steps]) for column in columns])
    measured = ~np.isnan(values_SP).any(axis=0)
    if not measured.any():
        return
    steps = _blocks(list(range(1, num_steps + 1)))[measured]
    _band(axes, steps, values_SP[:, measured], colour)


def _over_k(axes: "Axes", results: Sequence[Result], k: Sequence[int], colour: str) -> None:
    for score, style in (("after", "-"), ("before", ":")):
        scores = [found for result in results if (found := getattr(result, score))]
        if not scores:
            continue
        values_SK = np.array(
            [[float(one.per_problem(each).mean()) for each in k] for one in scores]
        )
        if score == "after":
            _band(axes, np.asarray(k, dtype=np.float64), values_SK, colour)
        elif colour == BASELINE:  # Arms that are paired begin alike.
            axes.plot(k, values_SK.mean(axis=0), style, color=INK, linewidth=1.0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(k), [str(each) for each in k])
    axes.minorticks_off()
    axes.set_xlabel("k", labelpad=1)


def _band(
    axes: "Axes", where: NDArray[np.float64], values: NDArray[np.float64], colour: str
) -> None:
    axes.fill_between(
        where, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.22, linewidth=0
    )
    marker = "." if len(where) < 8 else None
    axes.plot(where, values.mean(axis=0), color=colour, linewidth=1.4, marker=marker)


def _blocks(column: Sequence[float | None]) -> NDArray[np.float64]:
    """Means of at most `POINTS` blocks of neighbouring steps; NaN where nothing was measured."""
    values = np.array([np.nan if value is None else value for value in column], dtype=np.float64)
    return np.array(
        [
            np.nan if np.isnan(block).all() else np.nanmean(block)
            for block in np.array_split(values, min(POINTS, len(values)))
        ]
    )


def _differences(summary: Summary) -> "Figure":
    """A panel for each figure compared: the arms' differences to the baseline, with intervals."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(comparison.figure for comparison in summary.comparisons))
    arms = [arm.name for arm in summary.arms if arm.name != summary.baseline]
    height = 1.2 + 0.24 * len(arms)
    figure = Figure(figsize=(1.2 + 1.9 * len(names), height))
    grid = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for axes, name in zip(grid, names, strict=True):
        for comparison in summary.comparisons:
            if comparison.figure == name:
                found = comparison.difference
                is_shown = found.verdict in ("higher", "lower")
                axes.errorbar(
                    *(found.value, arms.index(comparison.arm)),
                    xerr=found.half_width,
                    fmt="s" if is_shown else "o",
                    color=SHOWN if is_shown else ARM,
                    markersize=4.5 if is_shown else 4,
                    markerfacecolor=SHOWN if is_shown else GROUND,
                    elinewidth=1.3,
                    capsize=2,
                )
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_title(summary.figures[name])
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=4)
    grid[0].set_yticks(range(len(arms)), arms)
    grid[0].set_ylim(len(arms) - 0.5, -0.5)
    figure.text(
        *(0.5, 0.02),
        f"arm less {summary.baseline}, within each seed; {summary.confidence:.0%} interval over "
        "seeds. Filled square: shown after correction.",
        ha="center",
    )
    figure.tight_layout(rect=(0, 0.28 / height, 1, 1), w_pad=0.6)
    return figure
