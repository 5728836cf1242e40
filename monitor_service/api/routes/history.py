"""History: what was reported of a run's steps, as records, as columns, group by group."""

import asyncio
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from monitor_service.api.body import monitor_of, parsed, reply, whole_number
from monitor_service.api.openapi import documented
from monitor_service.api.parameters import MAX_STEP, choice, text, whole
from monitor_service.errors import InvalidInput
from monitor_service.resources import StepBins, StepColumns, StepGroups, StepPage, StepRecord
from monitor_service.series import COLUMNS, comma_separated

router = APIRouter(prefix="/v1/runs/{run_id}/steps", tags=["history"])

CSV = "text/csv"
PAGE_STEPS = 1000
PAGE_ROWS = 10_000
MOST_BINS = 2000

_NAME = f"({'|'.join(COLUMNS)})"
_LISTED = (
    *("from", "to", whole("limit", PAGE_ROWS, about=f"Of records at most {PAGE_STEPS}")),
    text("fields", pattern=f"^{_NAME}(,{_NAME})*$", about="Answer these columns"),
    whole(
        *("points", PAGE_ROWS),
        low=2,
        about="Answer at most so many steps of the whole range, so that spikes survive",
    ),
    whole(
        *("bins", MOST_BINS),
        about="Answer the whole range in at most so many bins: mean, least and greatest of each",
    ),
    whole("last", PAGE_ROWS, about="Answer the newest so many steps"),
    choice("format", "json", "csv"),
)


@router.get(
    "",
    **documented(
        reply=(StepPage, StepColumns, StepBins),
        query=_LISTED,
        as_text=(CSV,),
    ),
)
async def list_steps(run_id: str, request: Request) -> Response:
    """A run's history, in order, a page at a time: records, or with `fields` columns.

    `points`, `bins`, `last` and CSV are always columns, by default all of them.
    """
    first = whole_number(request, "from", 1, low=1, high=MAX_STEP) or 1
    last = whole_number(request, "to", None, low=1, high=MAX_STEP)
    points = whole_number(request, "points", None, low=2, high=PAGE_ROWS)
    bins = whole_number(request, "bins", None, low=1, high=MOST_BINS)
    newest = whole_number(request, "last", None, low=1, high=PAGE_ROWS)
    fields = request.query_params.get("fields")
    as_csv = _wants_csv(request)
    _check_together(request, as_csv)
    history = monitor_of(request).history
    if fields is None and points is bins is newest is None and not as_csv:
        limit = whole_number(request, "limit", PAGE_STEPS, low=1, high=PAGE_STEPS) or PAGE_STEPS
        page = await history.steps(run_id, first, last, limit)
        return await asyncio.to_thread(reply, page)
    names = COLUMNS if fields is None else [name.strip() for name in fields.split(",")]
    if bins is not None:
        binned = await history.binned(run_id, names, first, last, bins)
        return await asyncio.to_thread(reply, binned)
    if newest is not None:
        found = await history.newest(run_id, names, newest)
    else:
        rows = whole_number(request, "limit", PAGE_ROWS, low=1, high=PAGE_ROWS) or PAGE_ROWS
        found = await history.columns(run_id, names, first, last, limit=rows, points=points)
    if not as_csv:
        return await asyncio.to_thread(reply, found)
    text = await asyncio.to_thread(comma_separated, found.columns)
    return Response(text, media_type=CSV, headers=_link(request, found.next_from))


@router.get("/{step}", **documented(reply=StepRecord, query=("attempt",)))
async def get_step(run_id: str, step: str, request: Request) -> Response:
    """The record of one step; of a replaced attempt only when it is named."""
    return reply(await monitor_of(request).history.step(run_id, _step(step), _attempt(request)))


@router.get("/{step}/groups", **documented(reply=StepGroups, query=("attempt",)))
async def get_groups(run_id: str, step: str, request: Request) -> Response:
    """The raw rewards of a step's groups, judged; kept of the newest steps only."""
    found = await monitor_of(request).history.groups(run_id, _step(step), _attempt(request))
    return await asyncio.to_thread(reply, found)


def _step(text: str) -> int:
    return parsed("step", text, low=1, high=MAX_STEP)


def _attempt(request: Request) -> int | None:
    return whole_number(request, "attempt", None, low=1, high=MAX_STEP)


def _check_together(request: Request, as_csv: bool) -> None:
    """Raises InvalidInput when two parameters say which steps to show."""
    query = request.query_params
    given = [name for name in ("limit", "points", "bins", "last") if name in query]
    if "last" in given:
        given += [name for name in ("from", "to") if name in query]
    if len(given) > 1:
        allowed = f"no {given[0]} beside {given[1]}: each says which steps to show"
        raise InvalidInput(given[0], query[given[0]], allowed)
    if as_csv and "bins" in given:
        raise InvalidInput("format", "csv", "must be json for bins, which are three tables")


def _wants_csv(request: Request) -> bool:
    wanted = request.query_params.get("format")
    if wanted not in (None, "json", "csv"):
        raise InvalidInput("format", wanted, "must be json or csv")
    return CSV in request.headers.get("accept", "") if wanted is None else wanted == "csv"


def _link(request: Request, next_from: int | None) -> dict[str, str]:
    """Where the next page is, which a table has no place for."""
    if next_from is None:
        return {}
    query = urlencode({**request.query_params, "from": next_from})
    return {"link": f'<{request.url.path}?{query}>; rel="next"'}
