"""Settings: what the trainer applies at its next step, and how people change it."""

from typing import Any

from fastapi import APIRouter, Request, Response

from monitor_service.api.body import control_of, if_match, monitor_of, read, reply, whole_number
from monitor_service.api.openapi import documented
from monitor_service.api.parameters import EVENT_ID, text, whole
from monitor_service.resources import OrderPage, SettingsView

router = APIRouter(prefix="/v1/runs/{run_id}/settings", tags=["settings"])

MOST_ORDERS = 1000


@router.get("", **documented(reply=SettingsView, has_revision=True))
async def get_settings(run_id: str, request: Request) -> Response:
    """The settings in force. The ETag changes when a person changes them, not at every step."""
    return _with_etag(await monitor_of(request).settings(run_id))


@router.get(
    "/history",
    **documented(
        reply=OrderPage, query=(whole("limit", MOST_ORDERS), text("before", pattern=EVENT_ID))
    ),
)
async def list_orders(run_id: str, request: Request) -> Response:
    """What people ordered, newest first: who, from where and why, and from which step it acted."""
    limit = whole_number(request, "limit", 100, low=1, high=MOST_ORDERS) or 100
    before = request.query_params.get("before")
    return reply(await monitor_of(request).orders(run_id, limit, before=before))


@router.patch("", **documented(body=dict[str, Any], reply=SettingsView, has_revision=True))
async def change_settings(run_id: str, request: Request) -> Response:
    """Change any tunable fields; `reason` is required, `actor` says who.

    With If-Match, refused (412, showing the other's change) when someone was faster.
    """
    changes = await read(request, dict[str, Any])
    reason, actor = changes.pop("reason", None), changes.pop("actor", None)
    view = await control_of(request).change(
        run_id, changes, actor=actor, reason=reason, if_revision=if_match(request)
    )
    return _with_etag(view)


def _with_etag(view: SettingsView) -> Response:
    return reply(view, headers={"etag": f'"r{view.settings.revision}"'})
