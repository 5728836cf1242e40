"""The monitor, as commands ask it: an answer, or a sentence that helps and the end."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import islice
from urllib.parse import unquote

import typer

from monitor_service.__about__ import __version__
from monitor_service.cli.address import TOKEN_VARIABLE, own_token
from monitor_service.cli.terminal import complain
from monitor_service.client.api import MonitorApi
from monitor_service.client.http import ClientError, NotUnderstood, Unreachable

NO_SUCH_ROUTE = "about:blank"
"""Kind of a problem that is not one of the monitor's own."""
MANY_RUNS = 1000
"""Runs, the newest ones, among which the one that was meant is looked for."""


@contextmanager
def monitor_at(url: str) -> Iterator[MonitorApi]:
    """The monitor at `url`; what goes wrong in the block is told, and ends the program."""
    try:
        with MonitorApi(url, token=own_token()) as monitor:
            try:
                yield monitor
            except ClientError as error:
                complain(_refusal(monitor, error))
            except NotUnderstood as error:
                complain(_misunderstanding(monitor, error))
            else:
                return
    except Unreachable as error:
        complain(f"{error}; start one with `acr serve`, or say where with --url or ACR_MONITOR_URL")
    raise typer.Exit(1)


def _refusal(monitor: MonitorApi, error: ClientError) -> str:
    """What the monitor said, and what to do about it."""
    text = error.problem.detail
    wanted = unquote(error.path).removeprefix("/v1/runs/").partition("/")[0]
    if error.kind == "run-deleted":
        return f"{text}; bring it back with: acr restore {wanted}"
    if error.kind == "run-not-found":
        near = _near(monitor, wanted)
        return f"{text}{near} (`acr runs` lists them)"
    if error.status == 401 and own_token() is None:
        return f"{text}; put one into {TOKEN_VARIABLE}: `acr token create` makes one"
    if error.status == 401:
        return f"{text}; it is the one in {TOKEN_VARIABLE}"
    if error.status == 403:
        return f"{text}; `acr token create` makes a token that may, to put into {TOKEN_VARIABLE}"
    if error.kind == NO_SUCH_ROUTE and (both := _versions(monitor)) is not None:
        return f"{text}; {both}"
    return text


def _near(monitor: MonitorApi, wanted: str) -> str:
    with suppress(ClientError, NotUnderstood, Unreachable):
        known = [run.id for run in islice(monitor.runs(), MANY_RUNS)]
        if near := get_close_matches(wanted, known, n=3, cutoff=0.7):
            return f"; did you mean {' or '.join(near)}?"
    return ""


def _misunderstanding(monitor: MonitorApi, error: NotUnderstood) -> str:
    both = _versions(monitor)
    if both is None:
        return f"what answers at {error.url} is not a monitor (status {error.status})"
    return f"the monitor's answer is not understood: {error.why}; {both}"


def _versions(monitor: MonitorApi) -> str | None:
    """Which versions talk to each other; None when there is no monitor."""
    try:
        theirs = monitor.health().version
    except (ClientError, NotUnderstood, Unreachable):
        return None
    if theirs == __version__:
        return f"both say that they are acr {theirs}; are they the same installation?"
    return f"the monitor is acr {theirs}, this is acr {__version__}: use one version for both"
