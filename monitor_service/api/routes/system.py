"""Probes and metrics."""

import asyncio

from fastapi import APIRouter, Request, Response

from monitor_service.__about__ import __version__
from monitor_service.api.body import monitor_of, reply
from monitor_service.exposition import CONTENT_TYPE, render

router = APIRouter(tags=["system"])


@router.get("/healthz")
async def health() -> Response:
    """Whether the process answers; says nothing about the store."""
    return reply({"status": "ok", "version": __version__})


@router.get("/readyz")
async def ready(request: Request) -> Response:
    """Whether reports can be taken: 503 while the store does not answer."""
    await monitor_of(request).ping()
    return reply({"status": "ready", "version": __version__})


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Every run for Prometheus, as it stands now."""
    runs = (await monitor_of(request).runs()).runs
    return Response(await asyncio.to_thread(render, runs), media_type=CONTENT_TYPE)
