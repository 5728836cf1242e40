"""The monitor, asked over HTTP."""

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import typer

from monitor_service.__about__ import __version__
from monitor_service.cli.options import actor
from monitor_service.cli.terminal import complain
from monitor_service.resources import Problem, SettingsView
from monitor_service.urls import without_password

TIMEOUT_S = 10.0
NO_SUCH_ROUTE = "about:blank"
"""Type of a problem that is not one of the monitor's own."""

T = TypeVar("T")


class Health(msgspec.Struct, frozen=True):
    """What a monitor of any version says of itself."""

    version: str


def run_path(run: str, *parts: str) -> str:
    """The path of a run, or of something of it."""
    return "/".join(("/v1/runs", *(quote(part, safe="") for part in (run, *parts))))


def order(url: str, path: str, reason: str | None, **rest: Any) -> tuple[str, SettingsView]:
    """The answer to an order, which names who gives it and why."""
    body = {"actor": actor(), "reason": reason, **rest}
    return request(SettingsView, "POST", url, path, body)


def request(
    kind: type[T],
    method: str,
    url: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[str, T]:
    """The monitor's answer, as text and as a `kind`; ends the program when there is none."""
    try:
        reply = httpx.request(method, url + path, json=body, headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        complain(
            f"no monitor answers at {without_password(url)}: {error}; start one with `acr serve`, "
            "or say where with --url or ACR_MONITOR_URL"
        )
        raise typer.Exit(1) from error
    try:
        if not reply.is_error:
            return reply.text, msgspec.json.decode(reply.content, type=kind)
        problem = msgspec.json.decode(reply.content, type=Problem)
        text = problem.detail
        if problem.type.endswith(":run-not-found"):
            text += " (`acr runs` lists them)"
        elif problem.type == NO_SUCH_ROUTE and (both := _versions(url)) is not None:
            text += f"; {both}"
    except msgspec.DecodeError as error:
        both = _versions(url)
        what = f"what answers at {without_password(url)} is not a monitor"
        text = (
            f"{what} (status {reply.status_code})"
            if both is None
            else f"the monitor's answer is not understood: {error}; {both}"
        )
    complain(text)
    raise typer.Exit(1)


def _versions(url: str) -> str | None:
    """Which versions talk to each other; None when there is no monitor."""
    try:
        found = httpx.get(url + "/healthz", timeout=TIMEOUT_S)
        theirs = msgspec.json.decode(found.content, type=Health).version
    except (httpx.HTTPError, msgspec.DecodeError):
        return None
    if theirs == __version__:
        return f"both say that they are acr {theirs}; are they the same installation?"
    return f"the monitor is acr {theirs}, this is acr {__version__}: use one version for both"
