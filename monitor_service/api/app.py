"""The HTTP application around a monitor."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from monitor_service.__about__ import __version__
from monitor_service.alerts.dispatcher import Dispatcher
from monitor_service.api import errors, openapi
from monitor_service.api.ingest import Ingest
from monitor_service.api.routes import (
    alerts,
    control,
    defaults,
    health,
    history,
    runs,
    settings,
    steps,
    stream,
    system,
    transfer,
)
from monitor_service.api.scrape import Scrape
from monitor_service.config import DEFAULT_MAX_BODY_BYTES
from monitor_service.monitor import Monitor
from monitor_service.web import page


def create_app(
    monitor: Monitor,
    dispatcher: Dispatcher | None = None,
    *,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> ASGIApp:
    """The app; it owns nothing and starts nothing. `dispatcher`: who tells people of alarms."""
    api = create_api(monitor, max_body_bytes, dispatcher)
    return Ingest(api, monitor.recorder, max_body_bytes)


def create_api(
    monitor: Monitor, max_body_bytes: int, dispatcher: Dispatcher | None = None
) -> FastAPI:
    """Every route, with its description."""
    app = FastAPI(
        title="ACR monitor",
        version=__version__,
        summary="Advantage collapse in GRPO training: measured, shown, steered.",
        # A redirect would name the scheme and host it guesses, and clients take their token there.
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.monitor = monitor
    app.state.max_body_bytes = max_body_bytes
    app.state.dispatcher = dispatcher
    app.state.scrape = Scrape(monitor, dispatcher)
    modules = (runs, steps, history, settings, defaults, control, health, stream, system, transfer)
    for module in (*modules, alerts):
        app.include_router(module.router)
    app.router.routes.extend(page.routes())
    errors.install(app)
    openapi.install(app)
    return app
