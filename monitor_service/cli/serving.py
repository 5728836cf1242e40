"""`acr serve`: the monitor itself."""

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from monitor_service import config as service_config
from monitor_service import server
from monitor_service.cli.options import AsJson
from monitor_service.cli.terminal import out
from monitor_service.server import Endpoint
from monitor_service.urls import without_password


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the embedded store lives.")] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Use this Redis instead of the embedded store.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback without a token.")
    ] = False,
    with_parent: Annotated[
        bool,
        typer.Option("--with-parent", help="Stop when standard input closes, so with its parent."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the monitor. Options override the ACR_* variables."""
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "redis_url": redis_url,
        "insecure": insecure or None,
    }
    environ = dict(os.environ)
    environ.update(
        {f"ACR_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    )
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )

    def ready(endpoint: Endpoint) -> None:
        if as_json:
            print(msgspec.json.encode(endpoint).decode(), flush=True)
            return
        out.print(f"[bold]ACR monitor[/] at {endpoint.url}  (API: {endpoint.url}/docs)")
        out.print(f"  settings for trainers through {escape(without_password(endpoint.redis_url))}")

    if with_parent:
        threading.Thread(target=_end_with_standard_input, daemon=True).start()
    server.serve(service_config.from_environment(environ), ready)


def _end_with_standard_input() -> None:
    # Not through sys.stdin: its lock, held by this thread, would abort the interpreter's shutdown.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
