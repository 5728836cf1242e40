"""A summary as tables: for a terminal by rich, for a page as Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainer.compare.paired import Mean
from trainer.compare.summary import Comparison, Summary

_OUTCOMES = ("accuracy", "gain", "pass@")
_SIGNALS = ("acr", "acr_wrong", "acr_correct", "acr_effective", "entropy")
_COSTS = ("injected", "completions", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Texts in rows and columns; the first columns of words, the others of numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    sections: frozenset[int] = frozenset()
    """Rows after which a line is drawn."""
    words: frozenset[int] = frozenset({0})
    """Columns that are not numbers."""


def grids(summary: Summary) -> Iterator[Grid]:
    """What came out, what was seen on the way and what it cost, and the differences."""
    names = list(summary.figures)
    outcomes = [name for name in names if name.startswith(_OUTCOMES)]
    yield _arms(summary, outcomes, with_interval=True)
    yield _arms(summary, [n for n in names if n in (*_SIGNALS, *_COSTS)], with_interval=False)
    if summary.comparisons:
        yield _differences(summary)


def terminal(summary: Summary) -> RenderableType:
    """For a rich console, some 110 columns wide or more."""
    parts: list[RenderableType] = [Text(summary.title, style="bold")]
    if summary.question:
        parts.append(Text(summary.question))
    parts += [_table(grid) for grid in grids(summary)]
    return Group(*parts, Text("\n".join(legend(summary))))


def markdown(summary: Summary, command: str) -> str:
    """A section of a page, with the command that repeats it."""
    lines = [f"## {summary.title}", ""]
    if summary.question:
        lines += [f"**Question.** {summary.question}", ""]
    lines += ["```sh", command, "```", ""]
    for grid in grids(summary):
        lines.append("| " + " | ".join(grid.columns) + " |")
        marks = ["---" if at in grid.words else "---:" for at in range(len(grid.columns))]
        lines.append("| " + " | ".join(marks) + " |")
        lines += ["| " + " | ".join(row) + " |" for row in grid.rows]
        lines.append("")
    return "\n".join([*lines, *(f"- {text}" for text in legend(summary)), ""])


def legend(summary: Summary) -> list[str]:
    """How to read the tables, and the summary's notes."""
    percent = f"{summary.confidence:.0%}"
    return [
        f"{summary.num_finished} of {summary.num_cells} cells finished. ±: {percent} interval over "
        "seeds (t).",
        "Accuracy: greedy, on held-out problems, after training; gain: over the start. Late: mean "
        "of the last fifth of the steps. Effective: the ACR after injection or filtering, low by "
        "construction. Entropy: of the policy after training, nats per token along its greedy "
        "held-out answers. Generated: completions of a cell, those thrown away included.",
        f"Differences to {summary.baseline} are taken within each seed; p is corrected for the "
        "comparisons in the same figure (Holm), not across figures. Detectable: the true "
        "difference that so many seeds with this spread would show in 80 % of such comparisons, "
        "before correction; a smaller one may be there and be missed.",
        f"Problems: how far one seed's difference moves with the choice of evaluation problems "
        f"(half of its {percent} interval, bootstrap); retraining is not in it.",
        *summary.notes,
    ]


def _arms(summary: Summary, names: Sequence[str], *, with_interval: bool) -> Grid:
    rows = []
    for arm in summary.arms:
        cells = [_mean(name, arm.figures.get(name), with_interval) for name in names]
        rows.append([arm.name, str(len(arm.seeds)), *cells])
    return Grid(columns=["arm", "seeds", *(summary.figures[name] for name in names)], rows=rows)


def _differences(summary: Summary) -> Grid:
    rows: list[list[str]] = []
    sections, newest = set(), ""
    for comparison in summary.comparisons:
        title = summary.figures[comparison.figure]
        if newest and title != newest:
            sections.add(len(rows) - 1)
        rows.append([title if title != newest else "", *_difference(comparison)])
        newest = title
    columns = [
        *("figure", "arm", f"less {summary.baseline}", "p", "detectable", "problems"),
        "reading",
    ]
    return Grid(
        columns=columns, rows=rows, sections=frozenset(sections), words=frozenset({0, 1, 6})
    )


def _difference(comparison: Comparison) -> list[str]:
    found = comparison.difference
    half = "" if found.half_width is None else f" ± {found.half_width:.3f}"
    return [
        comparison.arm,
        f"{_signed(found.value)}{half}",
        _p(found.p_holm),
        _or_dash(found.detectable),
        "" if comparison.evaluation_noise is None else f"± {comparison.evaluation_noise:.3f}",
        comparison.reading,
    ]


def _mean(name: str, found: Mean | None, with_interval: bool) -> str:
    if found is None:
        return "-"
    if name in _COSTS:
        return f"{found.value:,.0f}"
    number = _signed(found.value) if name == "gain" else f"{found.value:.3f}"
    if not with_interval or found.half_width is None:
        return number
    return f"{number} ± {found.half_width:.3f}"


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return "0.000" if text in ("+0.000", "-0.000") else text.replace("-", "\N{MINUS SIGN}")


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for at, column in enumerate(grid.columns):
        table.add_column(column, justify="left" if at in grid.words else "right", no_wrap=at == 0)
    for at, row in enumerate(grid.rows):
        table.add_row(*(Text(text) for text in row), end_section=at in grid.sections)
    return table
