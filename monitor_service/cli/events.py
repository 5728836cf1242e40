"""`acr events`: what happened to a run."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from monitor_service.cli import completion
from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import INTERRUPTED, for_machines, hint, out, parts
from monitor_service.client.api import MonitorApi
from monitor_service.client.stream import Lost, Reconnected, Told
from monitor_service.engine.events import KINDS
from monitor_service.formats import clock
from monitor_service.resources import EventView, Run


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
    try:
        with monitor_at(url) as monitor:
            for view in (
                _followed(monitor, run, kinds, limit)
                if follow
                else _newest(monitor, run, kinds, limit)
            ):
                if as_json:
                    for_machines(view)
                else:
                    out.print(as_line(view))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _newest(monitor: MonitorApi, run: str, kinds: Sequence[str], limit: int) -> list[EventView]:
    """Oldest first."""
    return list(islice(monitor.events(run, kinds=kinds), limit))[::-1]


def _followed(
    monitor: MonitorApi, run: str, kinds: Sequence[str], limit: int
) -> Iterator[EventView]:
    """The newest ones, then those that come."""
    listed: list[EventView] = []
    newest: EventView | None = None
    is_lost = False
    for message in monitor.stream(run):
        match message:
            case Told(content=Run()):
                # To begin with; or anew, when more was missed than the stream can tell.
                listed = (
                    list(monitor.events(run, kinds=kinds, after=newest.id))
                    if newest
                    else _newest(monitor, run, kinds, limit)
                )
                yield from listed
                newest = listed[-1] if listed else newest
            case Told(content=EventView() as view) if view not in listed:
                newest = view
                if not kinds or view.event.kind in kinds:
                    yield view
            case Lost(why=why):
                if not is_lost:
                    hint(f"the connection is lost, and tried again: {why}")
                is_lost = True
            case Reconnected():
                is_lost = False


def as_line(view: EventView, when: Callable[[float], str] = clock) -> Text:
    """One event; `when` writes its time."""
    return parts(
        (when(view.at_s), "dim"),
        f"  step {view.event.step}  ",
        (view.event.kind, "bold"),
        f"  {' '.join(view.event.message.split())}",
    )
