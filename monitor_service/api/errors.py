"""Domain errors -> problem+json. The one place that knows both the errors and HTTP."""

import logging
import math
import re
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path

from monitor_service import errors
from monitor_service.resources import Problem

PROBLEM = "application/problem+json"
RETRY_AFTER_S = 1

STATUS = MappingProxyType(
    {
        errors.UnreadableInput: HTTPStatus.BAD_REQUEST,
        errors.UnknownFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
        errors.InputTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
        errors.Forbidden: HTTPStatus.FORBIDDEN,
        errors.TooManyRuns: HTTPStatus.FORBIDDEN,
        errors.HostNotServed: HTTPStatus.MISDIRECTED_REQUEST,
        errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
        errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
        errors.TooManyStreams: HTTPStatus.SERVICE_UNAVAILABLE,
        errors.RunNotFound: HTTPStatus.NOT_FOUND,
        errors.StepNotKept: HTTPStatus.NOT_FOUND,
        errors.RunDeleted: HTTPStatus.CONFLICT,
        errors.RunConflict: HTTPStatus.CONFLICT,
        errors.StepConflict: HTTPStatus.CONFLICT,
        errors.AttemptConflict: HTTPStatus.CONFLICT,
        errors.RunNotDeleted: HTTPStatus.CONFLICT,
        errors.RevisionConflict: HTTPStatus.PRECONDITION_FAILED,
        errors.Contention: HTTPStatus.SERVICE_UNAVAILABLE,
        errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
        errors.StoreCorrupt: HTTPStatus.INTERNAL_SERVER_ERROR,
    }
)
"""Status of every error a request can meet."""

NOT_FROM_REQUESTS = frozenset({errors.StartupError})
"""Errors that end the process before there are requests."""

log = logging.getLogger(__name__)


def problem(error: errors.AcrError) -> Problem:
    """The description of an error for a client."""
    status = STATUS[type(error)]
    found = Problem(
        type=problem_type(type(error)),
        title=status.phrase,
        status=status,
        detail=str(error),
    )
    if isinstance(error, errors.InvalidInput):
        found = msgspec.structs.replace(
            found, field=error.field, value=error.value, allowed=error.allowed
        )
    if isinstance(error, errors.RevisionConflict):
        found = msgspec.structs.replace(found, settings=error.settings)
    return found


def problem_type(kind: type[errors.AcrError]) -> str:
    """The stable name of a kind of error, such as `urn:acr:error:run-not-found`."""
    return "urn:acr:error:" + re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def response(found: Problem) -> Response:
    """A problem as a reply."""
    headers = {}
    if found.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(RETRY_AFTER_S)
    return Response(msgspec.json.encode(found), found.status, headers, media_type=PROBLEM)


async def on_our_mistake(request: Request, error: Exception) -> Response:
    """The reply when the fault is ours; the traceback is for the server's log, not for a client."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = f"{request.method} {request.scope['path']}: a mistake of the monitor's, see its log"
    return response(Problem(type="about:blank", title=status.phrase, status=status, detail=detail))


def refusal(error: errors.AcrError, request: str = "a request") -> Response:
    """An error as a reply, with the headers that go with it; what is not the caller's is logged."""
    found = problem(error)
    is_ours = found.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if is_ours and not isinstance(error, errors.Overloaded):
        log.error("%r: %s", request, error)  # Quoted: a path may hold line breaks.
    reply = response(found)
    if isinstance(error, errors.Unauthorized):
        reply.headers["www-authenticate"] = "Bearer"
    after_s = getattr(error, "retry_after_s", None)
    if after_s is not None:
        reply.headers["retry-after"] = str(math.ceil(after_s))
    return reply


def install(app: FastAPI) -> None:
    """Make every error of this app a problem+json reply."""
    app.add_exception_handler(Exception, on_our_mistake)
    # Nobody is there to read an answer, and nothing is wrong with us.
    app.add_exception_handler(ClientDisconnect, lambda request, error: Response(status_code=400))

    @app.exception_handler(errors.AcrError)
    async def on_domain_error(request: Request, error: errors.AcrError) -> Response:
        return refusal(error, f"{request.method} {request.scope['path']}")

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        reply = response(
            Problem(
                type="about:blank",
                title=status.phrase,
                status=status,
                detail=f"{request.method} {request.scope['path']}: {error.detail}",
            )
        )
        reply.headers.update(error.headers or {})
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            reply.headers["allow"] = ", ".join(sorted(_methods(request)))
        return reply


def _methods(request: Request) -> set[str]:
    """What the path of a request takes: each route knows of its own method only."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    taken = [
        operations
        for path, operations in paths.items()
        if compile_path(path)[0].match(request.scope["path"])
    ]
    return {method.upper() for operations in taken for method in operations}
