"""Who is told of alarms, and how that goes."""

from fastapi import APIRouter, Request, Response

from monitor_service.alert import AlertsView
from monitor_service.alerts.dispatcher import Dispatcher
from monitor_service.api.body import reply
from monitor_service.api.openapi import documented

router = APIRouter(prefix="/v1/alerts", tags=["alerts"])


@router.get("", **documented(reply=AlertsView))
async def get_alerts(request: Request) -> Response:
    """The sinks, each with its newest delivery and its newest failure; by host and port only."""
    dispatcher: Dispatcher | None = request.app.state.dispatcher
    if dispatcher is None:
        return reply(AlertsView(sinks=[], is_delivering=False))
    return reply(await dispatcher.view())
