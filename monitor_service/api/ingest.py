"""`POST /v1/runs/{id}/steps`, what trainers send all day, without a framework around it.

The route in `routes.steps` answers the same and describes it; this one stands in front of it, since
routing, a request and a reply object cost more than the report itself.
"""

import re
from typing import Any

import msgspec
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor_service.api import errors
from monitor_service.api.body import collected
from monitor_service.errors import AcrError, InvalidInput
from monitor_service.recorder import Recorder
from monitor_service.resources import Ack, Problem
from monitor_service.wire import JSON, MAX_REPORTS, StepReport, decode

_PATH = re.compile(r"/v1/runs/([^/]+)/steps")
_REPORTS: Any = list[StepReport] | StepReport


async def taken(recorder: Recorder, run_id: str, body: bytes, media_type: str) -> Ack | Problem:
    """The answer to one report or a list of them."""
    found: list[StepReport] | StepReport = decode(body, media_type, _REPORTS)
    reports: list[StepReport] = found if isinstance(found, list) else [found]
    if not 1 <= len(reports) <= MAX_REPORTS:
        raise InvalidInput("body", len(reports), f"must be 1 to {MAX_REPORTS} reports")
    answer = await recorder.record(run_id, reports)
    if answer.conflict:
        return msgspec.structs.replace(errors.problem(answer.conflict), results=answer.results)
    return Ack(results=answer.results, settings=answer.settings)


class Ingest:
    """Takes reports, and hands everything else on."""

    def __init__(self, app: ASGIApp, recorder: Recorder, max_body_bytes: int) -> None:
        self._app = app
        self._recorder = recorder
        self._most = max_body_bytes
        self._safely = ServerErrorMiddleware(self._take, errors.on_our_mistake)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        is_report = (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and _PATH.fullmatch(scope["path"]) is not None
        )
        await (self._safely if is_report else self._app)(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, _, _, run_id, _ = scope["path"].split("/")
        try:
            body, media_type = await collected(scope["headers"], receive, self._most)
            answer = await taken(self._recorder, run_id, body, media_type)
        except ClientDisconnect:
            return
        except AcrError as error:
            await errors.refusal(error, f"POST {scope['path']}")(scope, receive, send)
            return
        if isinstance(answer, Problem):
            await errors.response(answer)(scope, receive, send)
            return
        content = msgspec.json.encode(answer)
        headers = [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
