"""What people type, read: settings, spans of time, accuracies."""

import math
import re
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import typer
from msgspec.structs import fields

from monitor_service.engine.orders import MAX_OVERRIDE_S
from monitor_service.engine.settings import TUNABLE, Settings

NULLABLE = frozenset(
    field.name
    for field in fields(Settings)
    if field.name in TUNABLE and type(None) in get_args(field.type)
)
"""Settings that can be put back to nothing; elsewhere `none` is a word like any other."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Settings by name, from `FIELD=VALUE` texts; raises BadParameter."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not FIELD=VALUE")
        if name in ("reason", "actor"):
            instead = "use --reason" if name == "reason" else "it is $USER"
            raise typer.BadParameter(f"{name} is not a setting; {instead}")
        if name in found:
            raise typer.BadParameter(f"{name} is given twice")
        found[name] = _value(name, value)
    return found


def _value(name: str, text: str) -> Any:
    """JSON, or Python's words for it, or a number as people write it (`.3`), or the text itself."""
    word = text.lower()
    if word in ("true", "false", "null") or (word == "none" and name in NULLABLE):
        return {"true": True, "false": False}.get(word)
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def tag(text: str) -> tuple[str, str]:
    """Name and text of a tag, from `NAME=VALUE`; raises BadParameter.

    >>> tag("team=rl")
    ('team', 'rl')
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def span_s(text: str, *, most_s: float = MAX_OVERRIDE_S) -> float:
    """Seconds of a span such as `90s`, `30m`, `2h` or `1h30m`; raises BadParameter.

    >>> span_s("1h30m")
    5400.0
    """
    word = text.strip().lower()
    if not _SPAN.fullmatch(word):
        raise typer.BadParameter(f"{text!r} is not a time such as 90s, 30m or 2h")
    parts = re.findall(r"([\d.]+)([smhd])", word)
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if not 1 <= seconds <= most_s:
        most = f"{most_s // 3600:.0f}h"
        raise typer.BadParameter(f"{text!r} is not in the range from 1s to {most}")
    return seconds


def accuracy(text: str) -> float:
    """A fraction in [0, 1] from `0.412` or `41.2%`; raises BadParameter.

    >>> accuracy("41.2%")
    0.412
    """
    number, percent, rest = text.strip().partition("%")
    try:
        found = float(number)
    except ValueError:
        found = math.nan
    # Rounded, so that 41.2% is the number that 0.412 is.
    fraction = round(found / 100, 12) if percent else found
    if rest or not 0 <= fraction <= 1:
        raise typer.BadParameter(f"{text!r} is not a fraction from 0 to 1, nor 0% to 100%")
    return fraction
