"""What a request may say beside its body, as OpenAPI describes it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from monitor_service.wire import RUN_ID_PATTERN

Parameter = Mapping[str, Any]

MAX_STEP = 2**53
"""Steps, attempts and numbers of overrides go up to here: whole in every JSON reader."""

REVISION = '^(W/)?"?r[0-9]{1,18}"?$'
"""An ETag of ours."""

EVENT_ID = "^[0-9]{1,20}-[0-9]{1,20}$"


def whole(name: str, high: int = MAX_STEP, *, low: int = 1, about: str = "") -> Parameter:
    """A whole number in [low, high]."""
    return _query(name, {"type": "integer", "minimum": low, "maximum": high}, about)


def text(name: str, *, pattern: str = "", about: str = "") -> Parameter:
    """Any text, or one of a pattern."""
    return _query(name, {"type": "string", **({"pattern": pattern} if pattern else {})}, about)


def flag(name: str, *, about: str = "") -> Parameter:
    """True or false; false when it is left out."""
    return _query(name, {"type": "boolean", "default": False}, about)


def choice(name: str, *names: str, about: str = "") -> Parameter:
    """One of a few names."""
    return _query(name, {"type": "string", "enum": list(names)}, about)


def several(name: str, one: Mapping[str, Any], *, about: str = "") -> Parameter:
    """Any number of times, each as `one` says."""
    return _query(name, {"type": "array", "items": dict(one)}, about)


def header(name: str, pattern: str, *, about: str) -> Parameter:
    """A header, which may be left out."""
    schema = {"type": "string", **({"pattern": pattern} if pattern else {})}
    return {"name": name, "in": "header", "schema": schema, "description": about}


IF_MATCH = header(
    "If-Match", REVISION, about="The ETag of what was seen: refused (412) if it has changed since"
)
LAST_EVENT_ID = header("Last-Event-ID", "", about="Go on after this message; without it, from now")

IN_PATH: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "run_id": {"type": "string", "pattern": RUN_ID_PATTERN},
        "step": {"type": "integer", "minimum": 1, "maximum": MAX_STEP},
        "number": {"type": "integer", "minimum": 1, "maximum": 10**15 - 1},
    }
)
"""What stands in paths, by its name."""


def _query(name: str, schema: Mapping[str, Any], about: str) -> Parameter:
    found: dict[str, Any] = {"name": name, "in": "query", "schema": dict(schema)}
    return {**found, "description": about} if about else found
