"""`acr tag`, `note`, `delete`, `restore`: what people say of a run, and whether it is kept."""

import sys
from typing import Annotated

import typer

from monitor_service.cli import values
from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import DEFAULT_URL, AsJson, OptionalReason, RunId, Url, actor
from monitor_service.cli.terminal import for_machines, out, parts, printable
from monitor_service.resources import Run


def tag(
    run: RunId,
    tags: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", show_default=False, help="Tags to add or replace."),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Take this tag away; may be repeated."),
    ] = None,
    reason: OptionalReason = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Tag a run; without tags, show those it has."""
    wanted: dict[str, str | None] = dict(map(values.tag, tags or []))
    wanted |= dict.fromkeys(remove or [])
    with monitor_at(url) as monitor:
        found = (
            monitor.describe(run, tags=wanted, reason=reason, actor=actor())
            if wanted
            else monitor.run(run)
        )
    if as_json:
        for_machines(found)
        return
    for name, text in sorted(found.tags.items()):
        out.print(parts((name, "bold"), f"={text}"))


def note(
    run: RunId,
    text: Annotated[
        str | None,
        typer.Argument(show_default=False, help="Takes the place of the notes; '' deletes them."),
    ] = None,
    reason: OptionalReason = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Write a note next to a run; without a text, show it."""
    with monitor_at(url) as monitor:
        found = (
            monitor.run(run)
            if text is None
            else monitor.describe(run, notes=text, reason=reason, actor=actor())
        )
    if as_json:
        for_machines(found)
    elif found.notes:
        print(printable(found.notes))


def delete(
    run: RunId,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove all that is kept of it, for good.")
    ] = False,
    is_sure: Annotated[bool, typer.Option("--yes", help="Purge without asking.")] = False,
    reason: OptionalReason = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Hide a run: it takes and shows nothing until it is restored."""
    if purge and not is_sure:
        _make_sure(run)
    with monitor_at(url) as monitor:
        found = monitor.delete(run, reason=reason, actor=actor())
        if purge:
            monitor.purge(run)
    if as_json:
        for_machines(found)
    elif purge:
        print(f"{run}: purged; nothing of it is left")
    else:
        print(f"{run}: deleted; bring it back with: acr restore {run}")


def restore(
    run: RunId, reason: OptionalReason = None, url: Url = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Bring a deleted run back, as it was."""
    with monitor_at(url) as monitor:
        found: Run = monitor.restore(run, reason=reason, actor=actor())
    if as_json:
        for_machines(found)
        return
    print(f"{run}: restored, at step {found.step}")


def _make_sure(run: str) -> None:
    """Ask whoever is there; nobody there means no."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("--purge cannot be undone: add --yes")
    typed = typer.prompt(f"Purging cannot be undone. The id of the run, to go on [{run}]", err=True)
    if typed.strip() != run:
        raise typer.BadParameter("that is not the id of the run")
