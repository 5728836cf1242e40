"""What every refusal has in common."""

import httpx

from monitor_service.api.errors import PROBLEM


def refused(reply: httpx.Response, status: int) -> dict:
    """The problem of a refusal, once everything every refusal has was checked."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == PROBLEM
    found = reply.json()
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    return found
