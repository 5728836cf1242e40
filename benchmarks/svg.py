"""Plots as SVG, one file for light and for dark pages.

Lines and texts are drawn in the light colours; a style sheet inside the file exchanges them, and
the ground with them, where the reader prefers dark.
"""

import io
import re
from typing import Any

from matplotlib.figure import Figure

GROUND, INK, GRID = "#ffffff", "#24292f", "#d8dee4"
LINES = ("#bc4c00", "#8250df", "#1a7f37", "#0550ae")
"""For what is compared."""
DARK = {
    GROUND: "#0d1117",
    INK: "#e6edf3",
    GRID: "#30363d",
    LINES[0]: "#ffa657",
    LINES[1]: "#d2a8ff",
    LINES[2]: "#56d364",
    LINES[3]: "#79c0ff",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": GROUND,
    "grid.color": GRID,
    "axes.grid": True,
    "grid.linewidth": 0.6,
}


def svg(figure: Figure) -> str:
    """The file's text; draw within `STYLE`."""
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark} !important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    # A hundredth of a point is finer than any screen.
    rounded = re.sub(r"(\d\.\d\d)\d+", r"\1", target.getvalue())
    before, after = rounded.split("<defs>", 1)
    return f"{before}{style}\n<defs>{after}"
