"""`acr defaults`: what new runs start with."""

from typing import Annotated, Any

import typer

from monitor_service.cli import completion, values
from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import DEFAULT_URL, AsJson, OptionalReason, Url, actor
from monitor_service.cli.terminal import for_machines, labelled, parts, wrapped
from monitor_service.client.api import MonitorApi
from monitor_service.formats import assignments, clock
from monitor_service.resources import Defaults


def defaults(
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIELD=VALUE",
            show_default=False,
            help="profile, for runs that name none, and settings on top of any profile.",
            autocompletion=completion.assignments,
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="No longer set this; may be repeated."),
    ] = None,
    reason: OptionalReason = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what new runs start with, or change it; runs that exist stay as they are."""
    assigned = values.assignments(changes or [])
    with monitor_at(url) as monitor:
        found = monitor.defaults()
        if assigned or remove:
            if reason is None:
                raise typer.BadParameter("a change needs its --reason")
            found = _changed(monitor, found, assigned, remove or [], reason)
    if as_json:
        for_machines(found)
        return
    _print(found)


def _changed(
    monitor: MonitorApi,
    before: Defaults,
    assigned: dict[str, Any],
    removed: list[str],
    reason: str,
) -> Defaults:
    """The settings are replaced as a whole, so nobody else may have changed them meanwhile."""
    profile = assigned.pop("profile", None)
    if unknown := [name for name in removed if name not in before.settings]:
        raise typer.BadParameter(f"--remove: {unknown[0]!r} is not among the defaults")
    kept = {name: value for name, value in before.settings.items() if name not in removed}
    return monitor.change_defaults(
        profile=profile,
        settings=kept | assigned,
        reason=reason,
        actor=actor(),
        if_revision=before.revision,
    )


def _print(found: Defaults) -> None:
    labelled("profile", [parts((found.profile, "bold"), ", for runs that name none")])
    told = assignments(found.settings) if found.settings else "none on top of a profile"
    labelled("settings", wrapped(told))
    if changed := found.changed:
        who = f"{changed.actor}, {clock(changed.at_s)}: {changed.reason}"
        labelled("last change", wrapped(who))
