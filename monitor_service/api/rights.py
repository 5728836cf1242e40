"""Which scope a request needs, by its method and path; what is not listed is only for `control`."""

from collections.abc import Mapping
from types import MappingProxyType

from monitor_service.errors import Forbidden
from monitor_service.tokens import EVERY_RUN, Caller, Scope

_OF_A_RUN = "/v1/runs/"
_NEEDED: Mapping[tuple[str, str], tuple[Scope, ...]] = MappingProxyType(
    {
        ("POST", "steps"): ("report",),
        ("POST", "end"): ("report",),
        ("POST", "result"): ("report", "control"),
        ("GET", "settings"): ("read", "report"),
    }
)
"""Scopes, one of which is enough, by method and by what follows the id of the run."""
_CREATION = ("POST", "/v1/runs")
_OF_SEVERAL_RUNS = frozenset({"/v1/runs", "/v1/stream", "/v1/fields", "/openapi.json", "/docs"})
"""Paths also for a token of certain runs: the routes show and take only those."""
_OF_THE_CALLER = "/v1/me"
"""For every token."""


def check_rights(caller: Caller, method: str, path: str) -> None:
    """Raises Forbidden when the request needs another scope, or is about other runs."""
    if path == _OF_THE_CALLER:
        return
    run_id, what = "", ""
    if path.startswith(_OF_A_RUN):
        run_id, _, what = path[len(_OF_A_RUN) :].partition("/")
    needed = _needed(method, path, what if run_id else None)
    if not any(map(caller.allows, needed)):
        raise Forbidden(
            f"this needs the scope {' or '.join(needed)}; the token {caller.name!r} has "
            f"{', '.join(sorted(caller.scopes))}"
        )
    if run_id:
        caller.require_run(run_id)
    elif caller.runs != EVERY_RUN and path not in _OF_SEVERAL_RUNS:
        raise Forbidden(f"the token {caller.name!r} is for runs {caller.runs!r} only")


def _needed(method: str, path: str, what: str | None) -> tuple[Scope, ...]:
    if what is not None and (found := _NEEDED.get((method, what))):
        return found
    if (method, path) == _CREATION:
        return ("report",)
    return ("read",) if method in ("GET", "HEAD") else ("control",)
