"""Runs: create, list, get, and what happened to them."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from monitor_service.api.body import (
    caller_of,
    flag,
    monitor_of,
    origin_of,
    read,
    reply,
    whole_number,
)
from monitor_service.api.openapi import documented
from monitor_service.api.parameters import EVENT_ID, choice, several, text, whole
from monitor_service.api.parameters import flag as may_be
from monitor_service.engine.events import KINDS
from monitor_service.errors import InvalidInput
from monitor_service.lifecycle import Lifecycle
from monitor_service.listing import STANDINGS, Wanted
from monitor_service.requests import Description, EndOfRun, Order
from monitor_service.resources import EventPage, Run, RunList
from monitor_service.wire import CreateRun

router = APIRouter(prefix="/v1/runs", tags=["runs"])

MOST_RUNS = 1000
MOST_EVENTS = 1000

_LISTED = (
    whole("limit", MOST_RUNS),
    text("after", about="`next_after` of the page before"),
    choice("state", *STANDINGS),
    several("tag", {"type": "string", "pattern": ":"}, about="NAME:VALUE"),
    text("q", about="Part of the id"),
)
_HAPPENED = (
    whole("limit", MOST_EVENTS),
    text("before", pattern=EVENT_ID, about="An event: the older ones, newest first"),
    text("after", pattern=EVENT_ID, about="An event: the newer ones, oldest first"),
    several("kind", {"type": "string", "enum": list(KINDS)}),
)


@router.post("", **documented(body=CreateRun, reply=Run, status=HTTPStatus.CREATED, or_known=True))
async def create_run(request: Request) -> Response:
    """Create a run, or find it: 201 when it is new, 200 when the id was known."""
    wanted = await read(request, CreateRun)
    caller_of(request).require_run(wanted.id)
    run, is_new = await monitor_of(request).create(wanted)
    return reply(run, HTTPStatus.CREATED if is_new else HTTPStatus.OK)


@router.get("", **documented(reply=RunList, query=_LISTED))
async def list_runs(request: Request) -> Response:
    """Runs, newest first, a page at a time; deleted ones only with `state=deleted`."""
    query = request.query_params
    state = query.get("state")
    if state is not None and state not in STANDINGS:
        raise InvalidInput("state", state, f"must be one of {', '.join(STANDINGS)}")
    wanted = Wanted(
        limit=whole_number(request, "limit", 100, low=1, high=MOST_RUNS) or 100,
        after=query.get("after"),
        state=state,
        tags=dict(_tag(text) for text in query.getlist("tag")),
        text=query.get("q", ""),
        allows=caller_of(request).allows_run,
    )
    return reply(await monitor_of(request).runs(wanted))


def _tag(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise InvalidInput("tag", text, "must be NAME:VALUE")
    return name, value


@router.get("/{run_id}", **documented(reply=Run, query=(may_be("deleted"),)))
async def get_run(run_id: str, request: Request) -> Response:
    """One run as it stands; with `deleted=true` even if it was deleted."""
    is_deleted = flag(request, "deleted")
    return reply(await monitor_of(request).run(run_id, is_deleted=is_deleted))


@router.patch("/{run_id}", **documented(body=Description, reply=Run))
async def describe_run(run_id: str, request: Request) -> Response:
    """Tags and notes, for people. Tags are merged with those there are; null deletes one."""
    wanted = await read(request, Description)
    return reply(await _lifecycle(request).describe(run_id, wanted))


@router.delete(
    "/{run_id}",
    **documented(
        reply=Run,
        query=(may_be("purge"), text("reason"), text("actor", pattern=r"\S")),
        or_empty=True,
    ),
)
async def delete_run(run_id: str, request: Request) -> Response:
    """Hide a run: it takes no reports and is in no list until somebody restores it.

    With `purge=true` everything of a run that is hidden already is removed for good: 204.
    """
    query = request.query_params
    order = Order(reason=query.get("reason"), actor=query.get("actor"))
    if flag(request, "purge"):
        await _lifecycle(request).purge(run_id)
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return reply(await _lifecycle(request).delete(run_id, order))


@router.post("/{run_id}/restore", **documented(body=Order, reply=Run))
async def restore_run(run_id: str, request: Request) -> Response:
    """Bring a deleted run back, as it was."""
    return reply(await _lifecycle(request).restore(run_id, await read(request, Order)))


def _lifecycle(request: Request) -> Lifecycle:
    return monitor_of(request).lifecycle.by(origin_of(request))


@router.get("/{run_id}/events", **documented(reply=EventPage, query=_HAPPENED))
async def list_events(run_id: str, request: Request) -> Response:
    """Events of a run, newest first, a page at a time; `after` an event, oldest first.

    `kind` names those that are wanted and may be repeated.
    """
    limit = whole_number(request, "limit", 100, low=1, high=MOST_EVENTS) or 100
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
