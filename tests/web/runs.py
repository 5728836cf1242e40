"""Runs for the page to show, reported over HTTP as a trainer would."""

from collections.abc import Iterable
from typing import Any

import httpx

from monitor_service.wire import MAX_REPORTS
from tests.service.reports import body


def create(url: str, run_id: str, *, token: str | None = None, **fields: Any) -> None:
    """A new run; `fields` are further ones of the request, such as `tags` or `profile`."""
    _send(url, "POST", "/v1/runs", {"id": run_id, **fields}, token)


def report(
    url: str, run_id: str, reports: Iterable[dict[str, Any]], *, token: str | None = None
) -> None:
    """Deliver these reports, of a run that exists."""
    waiting = list(reports)
    for start in range(0, len(waiting), MAX_REPORTS):
        some = waiting[start : start + MAX_REPORTS]
        _send(url, "POST", f"/v1/runs/{run_id}/steps", some, token)


def make(
    url: str, run_id: str, num_steps: int = 20, *, token: str | None = None, **fields: Any
) -> None:
    """A run with some steps of ACR 0.5; `fields` are of its creation."""
    create(url, run_id, token=token, **fields)
    report(url, run_id, map(body, range(1, num_steps + 1)), token=token)


def order(url: str, run_id: str, what: str, *, method: str = "POST", **fields: Any) -> Any:
    """Order something of a run; its answer."""
    return _send(url, method, f"/v1/runs/{run_id}/{what}".rstrip("/"), fields, None)


def delete(url: str, run_id: str) -> None:
    """Hide it."""
    order(url, run_id, "", method="DELETE")


def get(url: str, path: str, *, token: str | None = None) -> Any:
    """What the monitor answers; None when it lets nobody in with that token."""
    reply = httpx.get(url + path, headers=_headers(token), trust_env=False)
    assert reply.is_success or reply.status_code == 401, reply.text
    return reply.json() if reply.is_success else None


def _headers(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _send(url: str, method: str, path: str, content: Any, token: str | None) -> Any:
    reply = httpx.request(
        method, url + path, json=content, headers=_headers(token), trust_env=False
    )
    assert reply.is_success, reply.text
    return reply.json()
