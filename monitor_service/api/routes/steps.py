"""Steps: reports in."""

from fastapi import APIRouter, Request, Response

from monitor_service.api import errors
from monitor_service.api.body import collected, reply
from monitor_service.api.ingest import taken
from monitor_service.api.openapi import documented
from monitor_service.resources import Ack, Problem
from monitor_service.wire import StepReport

router = APIRouter(prefix="/v1/runs/{run_id}/steps", tags=["steps"])


@router.post("", **documented(body=StepReport, reply=Ack))
async def report_steps(run_id: str, request: Request) -> Response:
    """Report one step or a list of steps, in order; the reply carries the newest settings.

    Repeating a report changes nothing. When one of a list contradicts what is recorded the status
    is 409 and `results` says what became of each.
    """
    state = request.app.state
    body, media_type = await collected(
        request.scope["headers"], request.receive, state.max_body_bytes
    )
    answer = await taken(state.monitor.recorder, run_id, body, media_type)
    return errors.response(answer) if isinstance(answer, Problem) else reply(answer)
