"""`acr runs`: a line for each run."""

import time
from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from monitor_service.cli import values
from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import DEFAULT_URL, AsJson, Url
from monitor_service.cli.steering import LOCKED
from monitor_service.cli.terminal import (
    FINE,
    SEVERITY_STYLES,
    columns,
    for_machines,
    out,
    printable,
)
from monitor_service.formats import NOTHING, age, rate
from monitor_service.listing import STANDINGS
from monitor_service.resources import Run
from monitor_service.urls import without_password

COLUMNS = (
    *("run", "step", "attempt", "ACR", "wrong", "correct", "threshold", "mode", "injected"),
    *("verdict", "last report", "in short"),
)
LEFT_ALIGNED = ("run", "mode", "verdict", "in short")
DISPENSABLE = ("in short", "attempt", "injected", "threshold", "correct", "wrong")
"""Left out, in this order, on a terminal that is too narrow; `acr show` has them all."""
GAP = "  "


def runs(
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", show_default=False, help="Only with this in their id."),
    ] = None,
    state: Annotated[str | None, typer.Option(help=f"Only such: {', '.join(STANDINGS)}.")] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="NAME=VALUE", help="Only with this tag; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most runs; the newest ones.")] = 200,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List the runs, newest first; deleted ones only with --state deleted."""
    if state is not None and state not in STANDINGS:
        raise typer.BadParameter(f"--state: {state!r} is not one of {', '.join(STANDINGS)}")
    wanted = dict(map(values.tag, tags or []))
    with monitor_at(url) as monitor:
        found = monitor.runs(state=state, tags=wanted, text=text)
        listed = list(islice(found, limit))
    if as_json:
        for_machines({"runs": listed})
        return
    if not listed and (text or state or wanted):
        out.print("No such runs.")
        return
    if not listed:
        train = "acr-train examples/toy.yaml --use_avspo true --monitor_url"
        print(f"No runs yet. Train one: {train} {without_password(url)}")
        return
    # Not a rich table: that fits the width by cutting ids, which people copy from here.
    now_s = time.time()
    rows = _fitting([dict(zip(COLUMNS, _row(run, now_s), strict=True)) for run in listed])
    left = [index for index, name in enumerate(rows[0]) if name in LEFT_ALIGNED]
    title, *lines = columns([list(rows[0]), *(list(row.values()) for row in rows)], left=left)
    out.print(Text(GAP.join(title).rstrip(), style="bold"))
    for cells, run in zip(lines, listed, strict=True):
        styles = {"verdict": _health_style(run), "mode": _mode_style(run)}
        shown = zip(cells, rows[0], strict=True)
        line = Text(GAP).join(Text(cell, styles.get(name, "")) for cell, name in shown)
        line.rstrip()
        out.print(line)


def _fitting(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows, on a terminal without the columns that it has no room for."""
    for name in DISPENSABLE:
        widths = [max(map(len, (title, *(row[title] for row in rows)))) for title in rows[0]]
        if not out.is_terminal or sum(widths) + len(GAP) * (len(widths) - 1) <= out.width:
            break
        rows = [{title: cell for title, cell in row.items() if title != name} for row in rows]
    return rows


def _health_style(run: Run) -> str:
    if run.verdicts:
        return SEVERITY_STYLES[run.verdicts[0].severity]
    return FINE if run.last else ""


def _mode_style(run: Run) -> str:
    return LOCKED if run.settings.acting_mode == "locked" else ""


def _row(run: Run, now_s: float) -> tuple[str, ...]:
    figures = run.last.collapse if run.last else None
    rates = (figures.acr, figures.acr_wrong, figures.acr_correct) if figures else (None,) * 3
    acting = run.settings.in_force(step=run.step + 1, now_s=now_s)
    injected = run.counters.injected_wrong + run.counters.injected_correct
    nothing_found = NOTHING if run.last is None else "ok"
    return (
        run.id,
        str(run.step),
        str(run.attempt),
        *map(rate, rates),
        f"{acting.threshold:.3f}",
        acting.acting_mode,
        str(injected),
        f"{run.verdicts[0].severity}:{run.verdicts[0].rule}" if run.verdicts else nothing_found,
        NOTHING if run.last_report_at_s is None else age(now_s - run.last_report_at_s),
        printable(run.headline),
    )
