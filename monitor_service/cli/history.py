"""`acr history`: what became of a run's figures over its steps."""

from collections.abc import Sequence
from typing import Annotated

import typer

from monitor_service.cli.bars import condensed, sparkline
from monitor_service.cli.client import monitor_at
from monitor_service.cli.completion import figures
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import MAX_WIDTH, columns, drawn, for_machines, out, parts
from monitor_service.formats import NOTHING, plural
from monitor_service.resources import StepColumns
from monitor_service.series import COLUMNS

USUAL = (
    *("acr", "acr_wrong", "acr_correct", "acr_effective", "threshold", "reward_mean"),
    *("entropy", "kl", "completion_length_mean"),
)
POINTS = 2000
"""Steps that are looked at for a line of bars; the extremes of a longer run are among them."""
FEWEST_BARS = 12
TITLES = ("figure", "first", "least", "most", "last")


def history(
    run: RunId,
    first: Annotated[int, typer.Option("--from", min=1, help="First step.")] = 1,
    last: Annotated[
        int | None, typer.Option("--to", min=1, help="Last step; by default the newest.")
    ] = None,
    fields: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help=f"Figures: {', '.join(COLUMNS[1:])}.",
            autocompletion=figures,
        ),
    ] = ",".join(USUAL),
    points: Annotated[
        int | None,
        typer.Option(min=2, help="At most so many steps, chosen so that spikes survive."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a line for each step.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show a run's figures over its steps: a line for each, or every step with --csv or --json."""
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json are two formats")
    names = _known(fields)
    with monitor_at(url) as monitor:
        if as_csv:
            for line in monitor.csv(run, names, first=first, last=last, points=points):
                print(line)
            return
        looked_at = points if as_json else points or POINTS
        found = monitor.columns(run, names, first=first, last=last, points=looked_at)
    if as_json:
        for_machines(found)
        return
    _print(found)


def _known(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in COLUMNS]:
        raise typer.BadParameter(f"--fields: {unknown[0]!r} is not one of {', '.join(COLUMNS)}")
    return names


def _print(found: StepColumns) -> None:
    steps = plural(found.total, "step")
    if found.steps_from is None:
        out.print(parts((found.run_id, "bold"), f"  {steps}"))
        return
    where = f"  {steps}, from {found.steps_from} to {found.steps_to}"
    out.print(parts((found.run_id, "bold"), where))
    shown = {name: column for name, column in found.columns.items() if name != "step"}
    titles, *rows = columns([TITLES, *(_row(name, one) for name, one in shown.items())], left=(0,))
    out.print(parts(("  ".join(titles), "dim")))
    width = max(FEWEST_BARS, min(out.width, MAX_WIDTH) - len("  ".join(titles)) - 2)
    for cells, column in zip(rows, shown.values(), strict=True):
        bars = sparkline(condensed(column, width))
        out.print(drawn(parts("  ".join(cells), f"  {bars}".rstrip())))


def _row(name: str, column: Sequence[float | None]) -> tuple[str, ...]:
    known = [value for value in column if value is not None]
    if not known:
        return (name, *[NOTHING] * 4)
    figures = (column[0], min(known), max(known), column[-1])
    return (name, *(NOTHING if value is None else f"{value:.4g}" for value in figures))
