"""Standard output for what was asked, standard error for everything else."""

import signal
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from monitor_service.diagnose.text import in_ascii

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

MAX_WIDTH = 100
"""Columns beyond which sentences are hard to read."""
SEVERITY_STYLES: Mapping[str, str] = MappingProxyType(
    {"critical": "bold red", "warning": "yellow", "info": "cyan"}
)
FINE = "green"
LABEL_WIDTH = 12
INTERRUPTED = 128 + signal.SIGINT
"""Status of what Ctrl-C ended."""
_IN_ASCII = str.maketrans("░▒▓▲╌·", ".:%^-~")


def complain(text: str) -> None:
    """Say what went wrong."""
    err.print(parts(("acr:", "red"), f" {text}"))


def hint(text: str) -> None:
    """Say what a person may not have thought of."""
    err.print(parts(f"hint: {text}"))


def for_machines(found: Any) -> None:
    """Print as a line of JSON, and nothing else of it."""
    print(msgspec.json.encode(found).decode(), flush=True)


def printable(text: str) -> str:
    """Text of others, without the control characters that a terminal would obey."""
    return "".join(one if one.isprintable() or one == "\n" else "?" for one in text)


def parts(*found: str | tuple[str, str]) -> Text:
    """A line of plain texts and (text, style) pairs."""
    return Text.assemble(
        *(printable(one) if isinstance(one, str) else (printable(one[0]), one[1]) for one in found)
    )


def drawn(line: Text) -> Text:
    """A line with bars or shades, as far as the terminal knows them."""
    if not out.encoding.lower().startswith("utf"):
        # The same length, so that the colours stay where they are.
        line.plain = in_ascii(line.plain.translate(_IN_ASCII))
    return line


def wrapped(text: str, *, lead: str = "", style: str = "") -> list[Text]:
    """A sentence in lines that fit beside a label; words, and so ids, are never cut.

    Args:
        text: the sentence.
        lead: what its first line begins with; the others are indented as far.
        style: of all of it.
    """
    lines = textwrap.wrap(
        " ".join(printable(text).split()),
        max(40, min(out.width, MAX_WIDTH)) - LABEL_WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [Text(line, style) for line in lines]


def beside(label: str, lines: Iterable[Text]) -> list[Text]:
    """The lines, with a label beside the first."""
    return [
        Text.assemble((f"{'' if index else label:<{LABEL_WIDTH}}", "dim"), line)
        for index, line in enumerate(lines)
    ]


def labelled(label: str, lines: Iterable[Text]) -> None:
    """Print lines with a label beside the first."""
    for line in beside(label, lines):
        out.print(line)


def columns(rows: Sequence[Sequence[str]], *, left: Sequence[int] = ()) -> list[list[str]]:
    """The cells of each row, padded to columns; those named in `left` start at their left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell.ljust(most) if index in left else cell.rjust(most)
            for index, (cell, most) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
