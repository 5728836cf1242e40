"""Streams: what happens to a run, or to the list of runs, as server-sent events."""

import asyncio
from contextlib import AbstractAsyncContextManager, aclosing

from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from monitor_service.api.body import caller_of, monitor_of
from monitor_service.api.openapi import documented
from monitor_service.api.parameters import LAST_EVENT_ID, text
from monitor_service.live.watcher import Watcher

router = APIRouter(prefix="/v1", tags=["stream"])

SSE = "text/event-stream"


class EventStream(Response):
    """Server-sent events, until the client leaves or the stream is over."""

    media_type = SSE

    def __init__(self, watching: AbstractAsyncContextManager[Watcher]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._watching = watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Deliver it; what forbids it is raised before the first byte."""
        async with self._watching as watcher:
            leaving = asyncio.create_task(_end_with(receive, watcher))
            try:
                await self._deliver(watcher, send)
            finally:
                leaving.cancel()

    async def _deliver(self, watcher: Watcher, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        async with aclosing(watcher.messages()) as messages:
            async for some in messages:
                await send({"type": "http.response.body", "body": some, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _end_with(receive: Receive, watcher: Watcher) -> None:
    """End a stream when its client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    watcher.end()


@router.get(
    "/runs/{run_id}/stream",
    **documented(reply=None, query=(LAST_EVENT_ID, text("last_event_id")), as_text=(SSE,)),
)
async def watch_run(run_id: str, request: Request) -> Response:
    """What happens to a run, from now on or on from `Last-Event-ID`: steps, settings, events."""
    last_id = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
    return EventStream(monitor_of(request).live.run(run_id, last_id))


@router.get("/stream", **documented(reply=None, as_text=(SSE,)))
async def watch_runs(request: Request) -> Response:
    """One light message for the transitions of any run, at most twice a second and run."""
    return EventStream(monitor_of(request).live.runs(caller_of(request).allows_run))
