"""Probes and metrics."""

from fastapi import APIRouter, Request, Response

from monitor_service.__about__ import __version__
from monitor_service.api.body import caller_of, monitor_of, reply
from monitor_service.api.openapi import documented
from monitor_service.api.scrape import Scrape
from monitor_service.engine.fields import FIELDS
from monitor_service.exposition import CONTENT_TYPE
from monitor_service.resources import FieldList, Health
from monitor_service.tokens import Me

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


@router.get("/v1/me", **documented(reply=Me))
async def get_me(request: Request) -> Response:
    """Who asks and may do what; any token is enough."""
    return reply(caller_of(request).me)


@router.get("/v1/fields", **documented(reply=FieldList))
async def list_fields() -> Response:
    """Every setting that people may change: what it takes, its default, and what it does."""
    return reply(FieldList(fields=FIELDS))


@router.get("/metrics", **documented(reply=None, as_text=(CONTENT_TYPE,)))
async def metrics(request: Request) -> Response:
    """Every run that reports, for Prometheus, as it stood at most a second ago."""
    scrape: Scrape = request.app.state.scrape
    return Response(await scrape.text(), media_type=CONTENT_TYPE)
