"""One drawing over steps as an SVG that a page can hold; drawn by matplotlib.

It is drawn in placeholder colours which are then replaced by CSS variables, so that one SVG serves
the light and the dark page. It is as wide as a phone, so that its letters can be read there.
"""

import io
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from monitor_service.diagnose.markup import text

EXTRA = "acr-monitor[diagnose]"

WIDTH_INCHES = 4.9
LETTERS = 9.2
"""Points."""

NUM_RUNS = 8
"""Curves that have a colour of their own beside each other."""
COLOURS = {
    name: f"#01{index:02x}01"
    for index, name in enumerate(
        (
            *("ink", "soft", "grid", "main", "second", "wrong", "correct", "other", "mixed"),
            *("warning", "critical", "info"),
            *(f"run-{number}" for number in range(NUM_RUNS)),
        )
    )
}
"""Variables that the page defines, and what stands for each in a drawing."""


def missing() -> str | None:
    """What to install, when matplotlib is not there."""
    if find_spec("matplotlib") is None:
        return f"plots need matplotlib: pip install '{EXTRA}'"
    return None


def drawing(
    title: str,
    about: str,
    steps: tuple[float, float],
    height_inches: float,
    draw: Callable[[Any], None],
) -> str:
    """An SVG element with its title and description.

    Args:
        title: what it shows.
        about: the same as is to be seen in it, in words.
        steps: the first and the last, where its axis begins and ends.
        height_inches: at a width of `WIDTH_INCHES`; a page scales it.
        draw: draws into matplotlib's axes, in `COLOURS`.
    """
    # Heavy, and only of use here.
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        # Otherwise two charts would share the ids of what is in them.
        "svg.hashsalt": f"{title} {about} {steps}",
        "font.family": "sans-serif",
        "font.size": LETTERS,
        "path.simplify": False,
    }
    with rc_context(style):
        sheet = Figure(figsize=(WIDTH_INCHES, height_inches))
        sheet.patch.set_visible(False)
        axes = sheet.subplots()
        draw(axes)
        axes.set_xlim(steps[0] - 0.5, steps[1] + 0.5)
        axes.patch.set_visible(False)
        axes.tick_params(colors=COLOURS["ink"], length=2.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(COLOURS["ink"])
        sheet.tight_layout(pad=0.2)
        stream = io.StringIO()
        sheet.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    over = f"{title}, steps {steps[0]:.0f} to {steps[1]:.0f}"
    named = f"<title>{text(over)}</title><desc>{text(about)}</desc>"
    opening, rest = _themed(stream.getvalue()).split(">", 1)
    return f'{opening} role="img">{named}{rest}'


def _themed(drawn: str) -> str:
    """The SVG element alone, its placeholders replaced, its shape kept and its size not."""
    drawn = drawn[drawn.index("<svg") :]
    for name, colour in COLOURS.items():
        drawn = drawn.replace(colour, f"var(--{name})")
    # A hundredth of a point is finer than any screen.
    drawn = re.sub(r' (?:d|x|y|transform)="[^"]*"', _rounded, drawn)
    drawn = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", drawn)
    opening, rest = drawn.split(">", 1)
    return re.sub(r' (?:width|height)="[^"]*"', "", opening) + ">" + rest


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(r"(\d\.\d\d)\d+", r"\1", attribute[0])
