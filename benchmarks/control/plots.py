"""The figures of the simulation, drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.control.laws import OBSERVE, PAPER, Law
from benchmarks.control.scenarios import (
    FLAT_MID,
    HARD,
    IMPROVING,
    REGRESSING,
    SATURATING,
    Scenario,
    truth,
)
from benchmarks.control.summary import ENTRY, Cell
from benchmarks.svg import INK, LINES, STYLE, svg
from monitor_service.engine.collapse import Matrix

SHOWN = (IMPROVING, FLAT_MID, SATURATING, HARD, REGRESSING)
BLOCK = 10
"""Steps that share a point."""
DASHES: tuple[Any, ...] = ((0, (1, 1)), (0, (4, 1.5)), (0, (7, 1.5, 1, 1.5)), "solid")


def draw(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Write every plot into `folder`, which is made if need be; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with mpl.rc_context(STYLE):
        for name, figure in (("injecting", _injecting(cells)), ("threshold", _threshold(cells))):
            files.append(folder / f"control-{name}.svg")
            files[-1].write_text(svg(figure))
    return files


def _injecting(cells: Sequence[Cell]) -> Figure:
    """Share of runs that inject: a row for each law, a column for each scenario."""
    laws = (PAPER, OBSERVE)
    figure, grid = _grid(len(laws), "share of runs that inject")
    # The upper row has the names of the scenarios as well.
    for row, law, above in zip(grid, laws, (1.24, 1.1), strict=True):
        row[0].text(0, above, law.name, transform=row[0].transAxes, fontweight="bold")
        for axes, scenario in zip(row, SHOWN, strict=True):
            for at, cell in enumerate(_of(cells, scenario)):
                _line(axes, cell.injecting[law.name], at, cell.groups)
            steps = len(_of(cells, scenario)[0].injecting[law.name])
            _true(axes, scenario, steps, law)
    _legend(figure, grid[0][0], grid[1][0])
    return figure


def _threshold(cells: Sequence[Cell]) -> Figure:
    """The paper's tau: median, and a band from 5 to 95 % of the runs."""
    figure, grid = _grid(1, "threshold tau")
    for axes, scenario in zip(grid[0], SHOWN, strict=True):
        for at, cell in enumerate(_of(cells, scenario)):
            low, middle, high = (_thinned(row) for row in cell.threshold[PAPER.name])
            where = _middles(middle)
            axes.fill_between(where, low, high, color=LINES[at], alpha=0.18, linewidth=0)
            _line(axes, cell.threshold[PAPER.name][1], at, cell.groups)
        _true(axes, scenario, len(_of(cells, scenario)[0].threshold[PAPER.name][1]), PAPER)
    _legend(figure, grid[0][0])
    return figure


def _of(cells: Sequence[Cell], scenario: Scenario) -> list[Cell]:
    return [cell for cell in cells if cell.scenario == scenario]


def _grid(rows: int, label: str) -> tuple[Figure, list[list[Axes]]]:
    height = 0.95 + 1.75 * rows
    figure = Figure(figsize=(10, height))
    found = figure.subplots(rows, len(SHOWN), sharex=True, sharey=True, squeeze=False)
    below, above = 0.75 / height, 1 - 0.5 / height
    figure.subplots_adjust(
        left=0.055, right=0.99, bottom=below, top=above, wspace=0.12, hspace=0.45
    )
    for row in found:
        row[0].set_ylabel(label)
        row[0].set_ylim(-0.02, 1.02)
        row[0].set_yticks((0, 0.25, 0.5, 0.75, 1))
    for axes, scenario in zip(found[0], SHOWN, strict=True):
        axes.set_title(scenario.name)
    for axes in found[-1]:
        axes.set_xlabel("step")
    return figure, found.tolist()


def _line(axes: Axes, values: Matrix, at: int, groups: int) -> None:
    thin = _thinned(values)
    color, dashes = LINES[at % len(LINES)], DASHES[at % len(DASHES)]
    axes.plot(
        _middles(thin), thin, color=color, linestyle=dashes, linewidth=1.3, label=f"N = {groups}"
    )


def _true(axes: Axes, scenario: Scenario, steps: int, law: Law) -> None:
    """What is true of the data: for the paper's law all collapse, for ours the all-wrong share."""
    real = truth(scenario, steps)
    values, label, dashes = real.wrong, "true all-wrong share", DASHES[1]
    if law is PAPER:
        values, label, dashes = real.acr, "true ACR", "solid"
    thin = _thinned(values)
    axes.plot(
        _middles(thin), thin, color=INK, linewidth=0.9, alpha=0.75, linestyle=dashes, label=label
    )
    if law is OBSERVE:
        axes.axhline(ENTRY, color=INK, linewidth=0.6, linestyle=(0, (2, 3)), label="entry level")


def _thinned(values: Matrix) -> Matrix:
    """Means of blocks of steps; a last, shorter block is left out unless it is the only one."""
    whole = len(values) // BLOCK * BLOCK
    if not whole:
        return np.asarray([values.mean()], dtype=np.float64)
    return np.asarray(values[:whole].reshape(-1, BLOCK).mean(axis=1), dtype=np.float64)


def _middles(thin: Matrix) -> Matrix:
    return np.asarray((np.arange(len(thin)) + 0.5) * BLOCK)


def _legend(figure: Figure, *axes: Axes) -> None:
    found: dict[str, Artist] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(
        list(found.values()),
        list(found),
        loc="lower center",
        ncols=len(found),
        frameon=False,
        handlelength=3.2,
    )
