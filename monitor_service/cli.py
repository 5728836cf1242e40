"""`acr`: the only module that prints. Other distributions add commands by entry point.

A command of the group `acr.commands` is a function for typer; `acr demo` comes from the trainer
that way, so the service never imports it.
"""

import logging
import math
import os
import signal
import sys
import threading
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from monitor_service import config as service_config
from monitor_service.__about__ import __version__
from monitor_service.engine.settings import TUNABLE
from monitor_service.errors import AcrError
from monitor_service.server import Endpoint, serve
from monitor_service.urls import without_password
from monitor_service.wire import DEFAULT_PORT, Problem, Run, RunList, SettingsView

TIMEOUT_S = 10.0
T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)


def _address(url: str) -> str:
    return (url if "://" in url else f"http://{url}").rstrip("/")


Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="ACR_MONITOR_URL", callback=_address, help="Address of the monitor."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"

COLUMNS = (
    *("run", "step", "attempt", "ACR", "wrong", "correct", "threshold", "mode", "injected"),
    "last report",
)
LEFT_ALIGNED = {"run", "mode"}


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"acr {__version__}")
        raise typer.Exit


@app.callback()
def acr(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Measure, show and steer advantage collapse in GRPO training."""


@app.command("serve")
def serve_command(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the embedded store lives.")] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Use this Redis instead of the embedded store.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback without authentication.")
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
        safe_redis = escape(without_password(endpoint.redis_url))
        out.print(f"[bold]ACR monitor[/] at {endpoint.url}  (API: {endpoint.url}/docs)")
        out.print(f"  settings for trainers through {safe_redis}", soft_wrap=True)

    if with_parent:
        threading.Thread(target=_end_with_standard_input, daemon=True).start()
    serve(service_config.from_environment(environ), ready)


@app.command()
def runs(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the runs, newest first."""
    body, listed = _request(RunList, "GET", url, "/v1/runs")
    if as_json:
        print(body)
        return
    if not listed.runs:
        train = "acr-train examples/toy.yaml --use_avspo true --monitor_url"
        print(f"No runs yet. Train one: {train} {without_password(url)}")
        return
    # Not a rich table: that fits the width by cutting ids, which people copy from here.
    now_s = time.time()
    rows = [COLUMNS, *(_row(run, now_s) for run in listed.runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    title, *lines = (
        "  ".join(
            cell.ljust(width) if name in LEFT_ALIGNED else cell.rjust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        )
        for row in rows
    )
    out.print(Text(title, style="bold"), soft_wrap=True)
    for line in lines:
        print(line)


@app.command("set")
def set_command(
    run: Annotated[str, typer.Argument(help="Id of the run.")],
    changes: Annotated[list[str], typer.Argument(help="FIELD=VALUE ...", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; kept with the change.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Change settings of a running trainer; in force from its next batch on."""
    actor = os.environ.get("USER") or os.environ.get("LOGNAME") or "acr"
    assigned = _assignments(changes)
    wanted = {"reason": reason, "actor": actor, **assigned}
    path = f"/v1/runs/{quote(run, safe='')}/settings"
    body, view = _request(SettingsView, "PATCH", url, path, wanted)
    now = view.settings
    is_inside = now.threshold_low <= now.threshold <= now.threshold_high
    if "threshold" in assigned and now.controller == "paper" and not is_inside:
        bounds = f"[{now.threshold_low:g}, {now.threshold_high:g}]"
        hint = f"hint: the paper controller keeps it in {bounds}; add controller=fixed to pin it"
        err.print(hint, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(body)
        return
    shown = ", ".join(f"{name}={getattr(now, name)}" for name in TUNABLE if name in wanted)
    out.print(f"{run}: {shown}  [dim](version {now.version}, after step {now.through_step})[/]")


def main() -> None:
    """Entry point of `acr`."""
    for command in sorted(entry_points(group="acr.commands")):
        app.command(command.name)(command.load())
    try:
        app(prog_name="acr")
    except AcrError as error:
        _complain(str(error))
        sys.exit(1)


def _complain(text: str) -> None:
    err.print(f"[red]acr:[/] {escape(text)}", highlight=False, soft_wrap=True)


def _end_with_standard_input() -> None:
    # Not through sys.stdin: its lock, held by this thread, would abort the interpreter's shutdown.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _request(
    kind: type[T], method: str, url: str, path: str, body: dict[str, Any] | None = None
) -> tuple[str, T]:
    """The monitor's answer, as text and as a `kind`."""
    try:
        reply = httpx.request(method, url + path, json=body, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        _complain(
            f"no monitor answers at {without_password(url)}: {error}; start one with `acr serve`, "
            "or say where with --url or ACR_MONITOR_URL"
        )
        raise typer.Exit(1) from error
    try:
        if not reply.is_error:
            return reply.text, msgspec.json.decode(reply.content, type=kind)
        problem = msgspec.json.decode(reply.content, type=Problem)
        is_unknown = problem.type.endswith(":run-not-found")
        text = problem.detail + (" (`acr runs` lists them)" if is_unknown else "")
    except msgspec.DecodeError:
        text = (
            f"what answers at {without_password(url)} is not a monitor (status {reply.status_code})"
        )
    _complain(text)
    raise typer.Exit(1)


def _assignments(texts: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not FIELD=VALUE")
        if name in ("reason", "actor"):
            hint = "use --reason" if name == "reason" else "it is $USER"
            raise typer.BadParameter(f"{name} is not a setting; {hint}")
        if name in found:
            raise typer.BadParameter(f"{name} is given twice")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    """JSON, else a number as people write it (`.3`), else the text itself."""
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _age(seconds: float) -> str:
    for unit, length_s in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length_s:
            return f"{int(seconds // length_s)}{unit}"
    return f"{max(0, int(seconds))}s"


def _row(run: Run, now_s: float) -> tuple[str, ...]:
    figures = run.last.collapse if run.last else None
    injected = run.counters.injected_wrong + run.counters.injected_correct
    return (
        run.id,
        str(run.step),
        str(run.attempt),
        *(
            "-" if rate is None else f"{rate:.2f}"
            for rate in (
                (figures.acr, figures.acr_wrong, figures.acr_correct) if figures else (None,) * 3
            )
        ),
        f"{run.settings.threshold:.3f}",
        run.settings.mode,
        str(injected),
        "-" if run.last_report_at_s is None else _age(now_s - run.last_report_at_s),
    )
