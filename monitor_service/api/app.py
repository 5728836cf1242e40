"""The HTTP application around a monitor."""

from fastapi import FastAPI

from monitor_service.__about__ import __version__
from monitor_service.api import errors, openapi
from monitor_service.api.routes import control, health, runs, settings, steps, system
from monitor_service.config import DEFAULT_MAX_BODY_BYTES
from monitor_service.monitor import Monitor


def create_app(monitor: Monitor, *, max_body_bytes: int = DEFAULT_MAX_BODY_BYTES) -> FastAPI:
    """The app; it owns nothing and starts nothing."""
    app = FastAPI(
        title="ACR monitor",
        version=__version__,
        summary="Advantage collapse in GRPO training: measured, shown, steered.",
    )
    app.state.monitor = monitor
    app.state.max_body_bytes = max_body_bytes
    for module in (runs, steps, settings, control, health, system):
        app.include_router(module.router)
    errors.install(app)
    openapi.install(app)
    return app
