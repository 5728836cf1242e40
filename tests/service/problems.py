"""What every refusal has in common."""

from typing import Any

import httpx

from monitor_service.api.errors import PROBLEM


def refused(reply: httpx.Response, status: int) -> dict[str, Any]:
    """The problem of a refusal, once everything every refusal has was checked."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == PROBLEM
    found: dict[str, Any] = reply.json()
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    return found
