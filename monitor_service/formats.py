"""How figures are written for people."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

NOTHING = "-"
"""What does not exist is not zero."""


def age(seconds: float) -> str:
    """A span of time in its largest unit, rounded down.

    >>> age(3599), age(2 * 86400)
    ('59m', '2d')
    """
    for unit, length_s in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length_s:
            return f"{int(seconds // length_s)}{unit}"
    return f"{max(0, int(seconds))}s"


def span(seconds: float) -> str:
    """A span of time in its two largest units, rounded down.

    >>> span(1800), span(5399), span(86400), span(0.4)
    ('30m', '1h29m', '24h', '0s')
    """
    whole = max(0, int(round(seconds, 3)))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "m"), (rest if not hours else 0, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def clock(unix_s: float) -> str:
    """A point in time, by the clock of this machine."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def moment(unix_s: float) -> str:
    """A point in time wherever that is read, in UTC.

    >>> moment(0.0)
    '1970-01-01 00:00'
    """
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M")


def time_of_day(unix_s: float) -> str:
    """A point in time of today, by the clock of this machine."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%H:%M:%S")


def rate(value: float | None) -> str:
    """A rate in [0, 1], to two places."""
    return NOTHING if value is None else f"{value:.2f}"


def figure(value: float | None) -> str:
    """A figure of the trainer's, to three places."""
    return NOTHING if value is None else f"{value:.3f}"


def percent(value: float) -> str:
    """A fraction as a percentage, to one place.

    >>> percent(0.4312)
    '43.1 %'
    """
    return f"{100 * value:.1f} %"


def plural(count: int, thing: str) -> str:
    """A count with its noun.

    >>> plural(1, "group"), plural(0, "group")
    ('1 group', '0 groups')
    """
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def value(found: Any) -> str:
    """A setting as people type it.

    >>> value(0.3), value(None), value(True), value("both")
    ('0.3', 'null', 'true', 'both')
    """
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, float):
        return f"{found:.6g}"
    return "null" if found is None else str(found)


def assignments(changes: Any) -> str:
    """Settings as people type them.

    >>> assignments({"threshold": 0.3, "beta": None})
    'threshold=0.3 beta=null'
    """
    return " ".join(f"{name}={value(found)}" for name, found in changes.items())


def moves(old: Mapping[str, Any], new: Mapping[str, Any], arrow: str = "->") -> list[str]:
    """What is other than before, setting by setting.

    >>> moves({"threshold": 0.5, "mode": "off"}, {"threshold": 0.3, "mode": "off", "beta": None})
    ['threshold 0.5 -> 0.3', 'beta null']
    """
    moved = [name for name, found in new.items() if name not in old or old[name] != found]
    before = {name: f"{value(old[name])} {arrow} " for name in moved if name in old}
    return [f"{name} {before.get(name, '')}{value(new[name])}" for name in moved]
