"""What a shell may complete: ids of runs, settings, figures. Never an error, never a wait."""

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Any, Literal, get_args, get_origin

import typer
from msgspec.structs import fields

from monitor_service.cli.address import URL_VARIABLE, USUAL, full, own_token
from monitor_service.client.api import MonitorApi
from monitor_service.client.http import ClientError, NotUnderstood, Unreachable
from monitor_service.engine.events import KINDS
from monitor_service.engine.settings import TUNABLE, Settings
from monitor_service.engine.virtual import STRATEGIES
from monitor_service.errors import InvalidInput
from monitor_service.series import COLUMNS

TIMEOUT_S = 0.5
"""Who pressed a key waits for it."""
MANY_RUNS = 200


def run_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The newest runs."""
    url = context.params.get("url") or os.environ.get(URL_VARIABLE) or USUAL
    with (
        suppress(ClientError, NotUnderstood, Unreachable, InvalidInput),
        MonitorApi(full(url), token=own_token(), timeout_s=TIMEOUT_S) as monitor,
    ):
        return _beginning([run.id for run in islice(monitor.runs(), MANY_RUNS)], incomplete)
    return []


def assignments(incomplete: str) -> list[str]:
    """Settings, and what those that are words can be."""
    name, equals, _ = incomplete.partition("=")
    if not equals:
        return _beginning([f"{name}=" for name in TUNABLE], incomplete)
    return _beginning([f"{name}={value}" for value in _VALUES.get(name, ())], incomplete)


def figures(incomplete: str) -> list[str]:
    """Columns, after those that were typed already."""
    typed, comma, rest = incomplete.rpartition(",")
    return [f"{typed}{comma}{name}" for name in _beginning(COLUMNS, rest)]


def kinds(incomplete: str) -> list[str]:
    """Kinds of events."""
    return _beginning(KINDS, incomplete)


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _words(annotation: Any) -> tuple[str, ...]:
    """What a setting of this type can be, when it is one of few words."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    kinds = {annotation, *get_args(annotation)}
    if bool not in kinds:
        return ()
    return ("true", "false", "null") if type(None) in kinds else ("true", "false")


_VALUES = {field.name: _words(field.type) for field in fields(Settings) if field.name in TUNABLE}
_VALUES["strategy"] = tuple(STRATEGIES)
