"""`acr`: what people type. Only this package prints.

Other distributions add commands by entry point. One of `acr.commands` is a function for typer;
`acr demo` comes from the trainer that way, so the service never imports it. One of `acr.groups`
makes a group of commands, such as `acr grafana` of the dashboards.
"""

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Annotated

import typer

from monitor_service.__about__ import __version__
from monitor_service.cli.alerts import alerts
from monitor_service.cli.audit import audit
from monitor_service.cli.defaults import defaults
from monitor_service.cli.events import events
from monitor_service.cli.export import export, import_
from monitor_service.cli.forecast import forecast, result
from monitor_service.cli.groups import groups
from monitor_service.cli.history import history
from monitor_service.cli.lifecycle import delete, note, restore, tag
from monitor_service.cli.orders import kill, rearm, save, stop
from monitor_service.cli.overview import show
from monitor_service.cli.report import report
from monitor_service.cli.runs import runs
from monitor_service.cli.serving import serve
from monitor_service.cli.settings import change, unset
from monitor_service.cli.terminal import complain
from monitor_service.cli.token import tokens
from monitor_service.cli.watch import watch
from monitor_service.diagnose.command import diagnose
from monitor_service.errors import AcrError

COMMANDS: Mapping[str, Mapping[str, Callable[..., None]]] = {
    "Look": {
        "runs": runs,
        "show": show,
        "watch": watch,
        "history": history,
        "events": events,
        "audit": audit,
        "groups": groups,
        "forecast": forecast,
        "diagnose": diagnose,
        "report": report,
    },
    "Steer": {
        "set": change,
        "unset": unset,
        "kill": kill,
        "rearm": rearm,
        "save": save,
        "stop": stop,
        "result": result,
        "defaults": defaults,
    },
    "Keep": {
        "tag": tag,
        "note": note,
        "delete": delete,
        "restore": restore,
        "export": export,
        "import": import_,
    },
    "Start": {"serve": serve},
}
"""Commands by their heading in the help, in the order they are listed."""
ADMINISTRATION = "Guard"
"""Heading of `acr token` and `acr alerts`, which are groups of commands."""
OTHERS = "Start"
"""Heading of the commands that other distributions add."""


def main() -> None:
    """Entry point of `acr`."""
    try:
        program()(prog_name="acr")
    except AcrError as error:
        complain(str(error))
        sys.exit(1)


def program() -> typer.Typer:
    """Every command, those of other distributions included."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(acr)
    for heading, commands in COMMANDS.items():
        for name, command in commands.items():
            app.command(name, rich_help_panel=heading)(command)
    app.add_typer(tokens(), name="token", rich_help_panel=ADMINISTRATION)
    app.add_typer(alerts(), name="alerts", rich_help_panel=ADMINISTRATION)
    for found in sorted(entry_points(group="acr.commands")):
        app.command(found.name, rich_help_panel=OTHERS)(found.load())
    for found in sorted(entry_points(group="acr.groups")):
        app.add_typer(found.load()(), name=found.name, rich_help_panel=OTHERS)
    return app


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"acr {__version__}")
        raise typer.Exit


def acr(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Measure, show and steer advantage collapse in GRPO training."""
