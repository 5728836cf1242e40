"""Probes and metrics."""

from fastapi import APIRouter, Request, Response

from monitor_service.__about__ import __version__
from monitor_service.api.body import monitor_of, reply
from monitor_service.api.openapi import documented
from monitor_service.api.scrape import Scrape
from monitor_service.exposition import CONTENT_TYPE
from monitor_service.resources import Health

router = APIRouter(tags=["system"])


@router.get("/healthz", **documented(reply=Health))
async def health() -> Response:
    """Whether the process answers; says nothing about the store."""
    return reply(Health(status="ok", version=__version__))


@router.get("/readyz", **documented(reply=Health))
async def ready(request: Request) -> Response:
    """Whether reports can be taken: 503 while the store does not answer."""
    await monitor_of(request).ping()
    return reply(Health(status="ready", version=__version__))


@router.get("/metrics", **documented(reply=None, as_text=(CONTENT_TYPE,)))
async def metrics(request: Request) -> Response:
    """Every run that reports, for Prometheus, as it stood at most a second ago."""
    scrape: Scrape = request.app.state.scrape
    return Response(await scrape.text(), media_type=CONTENT_TYPE)
