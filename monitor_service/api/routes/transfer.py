"""A run out as a file, and in again."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from monitor_service.api.body import monitor_of, reply
from monitor_service.api.openapi import documented
from monitor_service.errors import UnknownFormat
from monitor_service.resources import Run

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["runs"])

LINES = "application/x-ndjson"
IMPORT_BODIES = 32
"""A file may be so many times as large as another body, and each of its lines as large as one."""


@router.get("/export", **documented(reply=None, as_text=(LINES,)))
async def export_run(run_id: str, request: Request) -> Response:
    """All that is kept of a run, as JSON lines; without a line of kind `end` it is not whole."""
    lines = await monitor_of(request).transfer.exported(run_id)
    name = f'attachment; filename="{run_id}.jsonl"'
    return StreamingResponse(lines, media_type=LINES, headers={"content-disposition": name})


@router.post(
    "/import",
    **documented(body=LINES, reply=Run, status=HTTPStatus.CREATED, or_known=True),
)
async def import_run(run_id: str, request: Request) -> Response:
    """Take in what an export wrote, under this id, whole or not at all; the run is ended.

    201 when it is new, 200 when the same was there already, 409 when another run has the id.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != LINES:
        raise UnknownFormat("content-type", media_type, LINES)
    most: int = request.app.state.max_body_bytes
    run, is_new = await monitor_of(request).transfer.imported(
        run_id, request.stream(), max_line_bytes=most, max_bytes=IMPORT_BODIES * most
    )
    return reply(run, HTTPStatus.CREATED if is_new else HTTPStatus.OK)
