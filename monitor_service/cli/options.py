"""Arguments and options that several commands have."""

import os
from typing import Annotated

import typer

from monitor_service.cli import address
from monitor_service.cli.completion import run_ids
from monitor_service.errors import InvalidInput
from monitor_service.wire import check_run_id


def _run_id(text: str) -> str:
    try:
        return check_run_id(text)
    except InvalidInput as error:
        # Not left to the monitor: as a part of a path an empty id, or one with a slash, gets lost.
        raise typer.BadParameter(str(error)) from error


RunId = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Id of the run.",
        show_default=False,
        callback=_run_id,
        autocompletion=run_ids,
    ),
]
Url = Annotated[
    str,
    typer.Option(
        "--url", envvar=address.URL_VARIABLE, callback=address.full, help="Address of the monitor."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept with the change.")]
OptionalReason = Annotated[
    str | None, typer.Option("--reason", "-r", help="Why; kept with the order.")
]
DEFAULT_URL = address.USUAL


def actor() -> str:
    """Who gives the orders, by this machine's account."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or "acr"
