"""Steps: reports in, history out."""

from http import HTTPStatus
from typing import Literal

import msgspec
from fastapi import APIRouter, Request, Response

from monitor_service.api import errors
from monitor_service.api.body import monitor_of, read, reply, whole_number
from monitor_service.api.openapi import documented
from monitor_service.engine.settings import Settings
from monitor_service.errors import Conflict, InvalidInput
from monitor_service.resources import Ack, StepPage, StepResult
from monitor_service.wire import MAX_REPORTS, StepReport, observation

router = APIRouter(prefix="/v1/runs/{run_id}/steps", tags=["steps"])

PAGE_STEPS = 1000


@router.post("", **documented(body=StepReport, reply=Ack))
async def report_steps(run_id: str, request: Request) -> Response:
    """Report one step or a list of steps, in order; the reply carries the newest settings.

    Repeating a report changes nothing. When one of a list contradicts what is recorded the status
    is 409 and `results` says what became of each.
    """
    found = await read(request, list[StepReport] | StepReport)  # type: ignore[arg-type]
    reports: list[StepReport] = found if isinstance(found, list) else [found]
    if not 1 <= len(reports) <= MAX_REPORTS:
        raise InvalidInput("body", len(reports), f"must be 1 to {MAX_REPORTS} reports")
    if len(reports) > 1:
        for report in reports:
            observation(report)  # All of them are valid before the first is written.
    monitor = monitor_of(request)
    results: list[StepResult] = []
    conflict: Conflict | None = None
    settings: Settings | None = None
    for report in reports:
        try:
            is_new, settings = await monitor.report(run_id, report)
        except Conflict as error:
            conflict = conflict or error
            results.append(StepResult(step=report.step, status="conflict", detail=str(error)))
        else:
            status: Literal["recorded", "duplicate"] = "recorded" if is_new else "duplicate"
            results.append(StepResult(step=report.step, status=status))
    if conflict:
        return errors.response(msgspec.structs.replace(errors.problem(conflict), results=results))
    assert settings is not None
    return reply(Ack(results=results, settings=settings))


@router.get("", **documented(reply=StepPage, query=("from", "to", "limit")))
async def list_steps(run_id: str, request: Request) -> Response:
    """A run's history, in order, a page at a time."""
    first = whole_number(request, "from", 1, low=1, high=2**53)
    last = whole_number(request, "to", None, low=1, high=2**53)
    limit = whole_number(request, "limit", PAGE_STEPS, low=1, high=PAGE_STEPS)
    page = await monitor_of(request).steps(run_id, first or 1, last, limit or PAGE_STEPS)
    return reply(page, HTTPStatus.OK)
