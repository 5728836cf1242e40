"""Orders as people give them over HTTP, and what is looked at afterwards."""

from typing import Any

import httpx

from tests.service.reports import body


def ordered(client: httpx.Client, run_id: str, order: str, **content: Any) -> httpx.Response:
    """The reply to `POST /v1/runs/{run_id}/{order}`."""
    return client.post(f"/v1/runs/{run_id}/{order}", json=content)


def settings_after(reply: httpx.Response) -> dict[str, Any]:
    """What an accepted order or change made of the settings."""
    assert reply.is_success, reply.text
    found: dict[str, Any] = reply.json()["settings"]
    return found


def patched(client: httpx.Client, run_id: str, **changes: Any) -> httpx.Response:
    """The reply to a change of settings."""
    content = {"reason": "why", **changes}
    return client.patch(f"/v1/runs/{run_id}/settings", json=content)


def reported(client: httpx.Client, run_id: str, *steps: int, **fields: Any) -> dict[str, Any]:
    """The settings in answer to these steps, all with the same content."""
    content = [body(step, **fields) for step in steps]
    return settings_after(client.post(f"/v1/runs/{run_id}/steps", json=content))


def applied(**fields: Any) -> dict[str, Any]:
    """What a trainer says it did."""
    needed = {"settings_version": 1, "through_step": 0, "mode": "active", "threshold": 0.5}
    return {**needed, "triggered": False, **fields}


def run_of(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """The run as it stands."""
    found: dict[str, Any] = client.get(f"/v1/runs/{run_id}").json()
    return found


def events_of(client: httpx.Client, run_id: str, *kinds: str) -> list[dict[str, Any]]:
    """Events of these kinds, or all, oldest first."""
    found = client.get(f"/v1/runs/{run_id}/events", params={"limit": 1000}).json()["events"]
    events = [view["event"] for view in reversed(found)]
    return [event for event in events if not kinds or event["kind"] in kinds]
