"""Runs: create, list, get, and what happened to them."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from monitor_service.api.body import monitor_of, read, reply, whole_number
from monitor_service.api.openapi import documented
from monitor_service.engine.events import KINDS
from monitor_service.errors import InvalidInput
from monitor_service.resources import EndOfRun, EventPage, Run, RunList
from monitor_service.wire import CreateRun

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.post("", **documented(body=CreateRun, reply=Run, status=HTTPStatus.CREATED))
async def create_run(request: Request) -> Response:
    """Create a run, or find it: 201 when it is new, 200 when the id was known."""
    run, is_new = await monitor_of(request).create(await read(request, CreateRun))
    return reply(run, HTTPStatus.CREATED if is_new else HTTPStatus.OK)


@router.get("", **documented(reply=RunList))
async def list_runs(request: Request) -> Response:
    """All runs, newest first."""
    return reply(await monitor_of(request).runs())


@router.get("/{run_id}", **documented(reply=Run))
async def get_run(run_id: str, request: Request) -> Response:
    """One run as it stands."""
    return reply(await monitor_of(request).run(run_id))


@router.get("/{run_id}/events", **documented(reply=EventPage, query=("limit",)))
async def list_events(run_id: str, request: Request) -> Response:
    """Events of a run, newest first, a page at a time; `after` an event, oldest first.

    `kind` names those that are wanted and may be repeated.
    """
    limit = whole_number(request, "limit", 100, low=1, high=1000) or 100
    query = request.query_params
    kinds = query.getlist("kind")
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidInput("kind", kind, f"must be one of {', '.join(KINDS)}")
    page = await monitor_of(request).events(
        run_id, limit, before=query.get("before"), after=query.get("after"), kinds=kinds
    )
    return reply(page)


@router.post("/{run_id}/end", **documented(body=EndOfRun, reply=Run))
async def end_run(run_id: str, request: Request) -> Response:
    """The trainer says that its training is over; its silence is no alarm from now on."""
    return reply(await monitor_of(request).end(run_id, await read(request, EndOfRun)))
