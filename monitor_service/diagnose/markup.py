"""What pages are made of: one file that needs nothing else, no script, no font, no network.

Everything that is given as text comes out as text, whatever is in it.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape

from monitor_service.diagnose.numbers import number
from monitor_service.formats import NOTHING

START = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="generator" content="acr '
)
"""What every page begins with, and no other file."""

LONG = 24
"""Characters from which a cell of a table may take several lines."""

Cell = str | float | None

# Controls, what turns the direction of writing, and halves of characters that no file can hold.
_UNSHOWN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_LIGHT = """--paper: #ffffff; --ink: #1d2430; --soft: #5b6675; --line: #d8dde5; --grid: #e6e9ee;
  --main: #1f5fbf; --second: #6d8bb5; --wrong: #c2410c; --correct: #15803d; --other: #7c6f64;
  --mixed: #c9d1dc; --warning: #b45309; --critical: #b91c1c; --info: #0e7490; --good: #15803d;
  --card: #f6f7f9; --run-0: #1f5fbf; --run-1: #c2410c; --run-2: #15803d; --run-3: #7e22ce;
  --run-4: #0e7490; --run-5: #be185d; --run-6: #7c5a14; --run-7: #4b5563;"""
_DARK = """--paper: #12161c; --ink: #e6e9ee; --soft: #9aa5b4; --line: #2c3440; --grid: #262d37;
  --main: #6ea8ff; --second: #7f9cc4; --wrong: #fb923c; --correct: #4ade80; --other: #b6a999;
  --mixed: #3d4756; --warning: #fbbf24; --critical: #f87171; --info: #67e8f9; --good: #4ade80;
  --card: #1a2029; --run-0: #6ea8ff; --run-1: #fb923c; --run-2: #4ade80; --run-3: #c084fc;
  --run-4: #67e8f9; --run-5: #f472b6; --run-6: #d9b45f; --run-7: #cbd5e1;"""
_STYLE = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.4rem; margin: 0 0 1rem; }} h2 {{ font-size: 1.15rem; margin: 0; }}
h3 {{ font-size: 1rem; margin: 1.8rem 0 .4rem; }}
section {{ border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1.5rem; }}
p {{ margin: .4rem 0; max-width: 48rem; }} .soft {{ color: var(--soft); }}
.headline {{ font-size: 1.1rem; font-weight: 600; margin: .3rem 0 0; }}
.badge {{ display: inline-block; min-width: 4.6rem; font-size: .8rem; font-weight: 700; }}
.critical {{ color: var(--critical); }} .warning {{ color: var(--warning); }}
.info {{ color: var(--info); }} .ok {{ color: var(--good); }}
.verdict {{ background: var(--card); border-left: 3px solid currentColor; padding: .6rem .9rem;
  margin: .5rem 0; }} .verdict p {{ color: var(--ink); max-width: none; margin: .25rem 0 0; }}
.verdict .soft {{ color: var(--soft); font-size: .9rem; }}
.wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; vertical-align: top; padding: .2rem .9rem .2rem 0; white-space: pre; }}
.number {{ text-align: right; }} th[scope=row] {{ font-weight: 400; }}
.long {{ white-space: pre-line; min-width: 12rem; max-width: 30rem; }}
thead th {{ color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line); }}
dl {{ display: grid; grid-template-columns: fit-content(40%) 1fr; gap: .15rem 1.2rem; }}
dt {{ color: var(--soft); }} dd {{ margin: 0; white-space: pre-line; max-width: 48rem; }}
ul {{ margin: .2rem 0; padding-left: 1.2rem; }} nav ul {{ padding: 0; }}
nav li {{ list-style: none; margin: .25rem 0; }} a {{ color: var(--main); }}
.charts {{ display: grid; gap: 1.2rem 1.6rem; align-items: end; margin-top: .8rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }}
figure {{ margin: 0; max-width: 36rem; }} figcaption {{ font-size: .85rem; color: var(--soft); }}
figcaption b {{ color: var(--ink); }} .key {{ display: inline-block; margin-left: .7rem; }}
.key i {{ display: inline-block; width: 1.3rem; margin-right: .3rem; vertical-align: middle;
  border-top: 2px solid; }} .key i.area {{ height: .7rem; opacity: .6; border-top-width: .7rem; }}
svg {{ width: 100%; height: auto; display: block; }}
svg text {{ font-family: system-ui, sans-serif !important; }}
@media print {{ body {{ padding: 0; max-width: none; font-size: 10pt; }}
  * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
  figure, .verdict, tr {{ break-inside: avoid; }} h2, h3 {{ break-after: avoid; }}
  .wide {{ overflow: visible; }} }}
"""


def document(command: str, body: Iterable[str], *, title: str | None = None) -> str:
    """A page as `acr <command>` writes it."""
    return "\n".join(
        (
            f'{START}{command}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(title or f'acr {command}')}</title><style>{_STYLE}</style></head><body>",
            f"<main><h1>acr {command}</h1>",
            *body,
            "</main></body></html>\n",
        )
    )


def text(value: str) -> str:
    r"""A text as it is, without what nobody can see.

    >>> text("<b>\x1b R&D")
    '&lt;b&gt;? R&amp;D'
    """
    return escape(_UNSHOWN.sub("?", value))


def paragraph(line: str, kind: str = "") -> str:
    """One sentence or more; nothing without a text."""
    return f'<p class="{kind}">{text(line)}</p>' if line else ""


def listed(title: str, lines: Iterable[str]) -> str:
    """Sentences under a heading; nothing without one."""
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f"<h3>{text(title)}</h3><ul>{items}</ul>" if items else ""


def table(name: str, head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table whose first cells name the rows; nothing without rows.

    Numbers stand at the right: whole ones in full, others as people read them. `name` is read out.
    """
    if not rows:
        return ""
    kinds = [_kind(column) for column in zip(*rows, strict=True)]
    titles = "".join(
        f'<th scope="col"{kind}>{text(title)}</th>' for title, kind in zip(head, kinds, strict=True)
    )
    # Focusable, so that keys can move what is wider than the screen.
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{text(name)}">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>"
        + "".join(f"<tr>{_cells(row, kinds)}</tr>" for row in rows)
        + "</tbody></table></div>"
    )


def _kind(column: Sequence[Cell]) -> str:
    """How the cells of a column are set, as an attribute."""
    if any(isinstance(cell, float | int) for cell in column):
        return ' class="number"'
    is_long = any(isinstance(cell, str) and len(cell) > LONG for cell in column)
    return ' class="long"' if is_long else ""


def _cells(row: Sequence[Cell], kinds: Sequence[str]) -> str:
    first, *others = map(_written, row)
    cells = (f"<td{kind}>{cell}</td>" for cell, kind in zip(others, kinds[1:], strict=True))
    return f'<th scope="row"{kinds[0]}>{first}</th>{"".join(cells)}'


def _written(cell: Cell) -> str:
    if isinstance(cell, str):
        return text(cell)
    if isinstance(cell, int):
        return str(cell)
    return NOTHING if cell is None else number(cell)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names with what there is to say about each; without those that have nothing."""
    shown = "".join(f"<dt>{text(name)}</dt><dd>{text(said)}</dd>" for name, said in pairs if said)
    return f"<dl>{shown}</dl>"


def badge(severity: str | None) -> str:
    """A severity in its colour; `ok` for none."""
    return f'<span class="badge {severity or "ok"}">{severity or "ok"}</span>'
