"""Figures as bars of text: they say the same without colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.text import Text

_EIGHTHS = " ▁▂▃▄▅▆▇█"
EMPTY = (" ", "")


def sparkline(values: Sequence[float | None], low: float | None = None) -> str:
    """A bar for each value, between the extremes; nothing where there is no value.

    Args:
        values: in order.
        low: what the lowest bar stands for; None: the least of the values.

    >>> sparkline([0.0, None, 0.5, 1.0])
    '▁ ▄█'
    """
    known = [value for value in values if value is not None]
    if not known:
        return " " * len(values)
    floor = min(known) if low is None else low
    span = max(known) - floor or 1.0
    return "".join(
        " " if value is None else _EIGHTHS[1 + int(7.999 * (value - floor) / span)]
        for value in values
    )


def condensed(values: Sequence[float | None], most: int) -> list[float | None]:
    """At most so many values, each the one of its part that is farthest from the mean of all.

    >>> condensed([1.0, 1.0, 9.0, 1.0, 1.0, None], 3)
    [1.0, 9.0, 1.0]
    """
    known = [value for value in values if value is not None]
    if len(values) <= most or not known:
        return list(values[:most])
    mean = sum(known) / len(known)
    ends = [len(values) * index // most for index in range(most + 1)]
    return [
        max(
            (value for value in values[start:end] if value is not None),
            key=lambda value: abs(value - mean),
            default=None,
        )
        for start, end in pairwise(ends)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A part of each stacked bar."""

    fill: str
    """One character, another for each layer, so that they differ without colours."""
    style: str
    shares: Sequence[float | None]
    """In [0, 1], one for each bar; None where the bar has nothing to show."""


def stacked(
    layers: Sequence[Layer],
    *,
    height: int,
    marks: Sequence[float],
    mark: tuple[str, str],
) -> list[Text]:
    """Lines of a chart, from the top: bars side by side, layers from the bottom.

    What the layers leave of a bar stays empty. A cell shows the layer at its middle; the one that
    the bar ends in shows to an eighth how far it reaches.

    Args:
        layers: from the bottom; their shares of a bar add up to at most 1.
        height: lines.
        marks: a level in [0, 1] for each bar, shown where the bar does not reach it.
        mark: how a level is shown: character and style.
    """
    bars = [_bar(bar, layers, height) for bar in zip(*(one.shares for one in layers), strict=True)]
    for bar, level in zip(bars, marks, strict=True):
        at = min(height - 1, int(level * height))
        if bar[at] == EMPTY:
            bar[at] = mark
    return [Text.assemble(*(bar[row] for bar in bars)) for row in reversed(range(height))]


def _bar(
    shares: Sequence[float | None], layers: Sequence[Layer], height: int
) -> list[tuple[str, str]]:
    """The cells of one bar as (character, style), from the bottom."""
    tops: list[tuple[float, Layer]] = []
    reached = 0.0
    for share, layer in zip(shares, layers, strict=True):
        reached += (share or 0.0) * height
        if share:
            tops.append((reached, layer))
    cells: list[tuple[str, str]] = []
    for row in range(height):
        eighths = round(8 * min(1.0, max(0.0, reached - row)))
        if eighths == 8:
            at = next(layer for top, layer in tops if top >= row + 0.5)
            cells.append((at.fill, at.style))
        elif eighths:
            cells.append((_EIGHTHS[eighths], tops[-1][1].style))
        else:
            cells.append(EMPTY)
    return cells
