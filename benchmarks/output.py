"""What every benchmark prints: progress on standard error, tables on standard output, JSON."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

_PIPED_WIDTH = 130


def progress() -> Progress:
    """A bar on standard error."""
    return Progress(
        TextColumn("{task.description:12}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def show(about: dict[str, object], *parts: str | Table) -> None:
    """The machine, then lines and tables."""
    # What is piped into a file is not to be wrapped.
    out = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)
    out.print(", ".join(f"{name} {found}" for name, found in about.items()), soft_wrap=True)
    for part in parts:
        out.print()
        out.print(part, soft_wrap=isinstance(part, str))


def write(path: Path | None, figures: dict[str, Any]) -> None:
    """The figures as JSON, where a file is wanted."""
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n")


def verdicts(claims: Iterable[tuple[str, bool]]) -> str:
    """One line for each claim, with whether it holds."""
    return "\n".join(
        f"{'[green]holds[/]' if holds else '[red]FAILS[/]'}  {text}" for text, holds in claims
    )
