"""`acr events`: what happened to a run."""

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from monitor_service.cli import completion
from monitor_service.cli.client import monitor_at
from monitor_service.cli.formats import clock
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import for_machines, out, parts
from monitor_service.engine.events import KINDS
from monitor_service.resources import EventView


def events(
    run: RunId,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="Only events of this kind; may be repeated.", autocompletion=completion.kinds
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most events; the newest ones.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with those that come.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List what happened to a run, oldest first. With --json a line of JSON for each event."""
    kinds = kind or []
    if unknown := [name for name in kinds if name not in KINDS]:
        raise typer.BadParameter(f"--kind: {unknown[0]!r} is not one of {', '.join(KINDS)}")
    with monitor_at(url) as monitor:
        for view in reversed(list(islice(monitor.events(run, kinds=kinds), limit))):
            _tell(view, as_json)


def line(view: EventView) -> Text:
    """One event."""
    return parts(
        (clock(view.at_s), "dim"),
        f"  step {view.event.step}  ",
        (view.event.kind, "bold"),
        f"  {' '.join(view.event.message.split())}",
    )


def _tell(view: EventView, as_json: bool) -> None:
    if as_json:
        for_machines(view)
    else:
        out.print(line(view))
