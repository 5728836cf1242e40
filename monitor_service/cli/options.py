"""Arguments and options that several commands have."""

import os
from typing import Annotated

import typer

from monitor_service.wire import DEFAULT_PORT


def _address(url: str) -> str:
    return (url if "://" in url else f"http://{url}").rstrip("/")


RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.", show_default=False)]
Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="ACR_MONITOR_URL", callback=_address, help="Address of the monitor."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept with the change.")]
OptionalReason = Annotated[
    str | None, typer.Option("--reason", "-r", help="Why; kept with the order.")
]
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"


def actor() -> str:
    """Who gives the orders, by this machine's account."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or "acr"
