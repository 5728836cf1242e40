"""Domain errors -> problem+json. The one place that knows both the errors and HTTP."""

import logging
import re
from http import HTTPStatus
from types import MappingProxyType

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

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
        errors.RunNotFound: HTTPStatus.NOT_FOUND,
        errors.StepConflict: HTTPStatus.CONFLICT,
        errors.AttemptConflict: HTTPStatus.CONFLICT,
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


def install(app: FastAPI) -> None:
    """Make every error of this app a problem+json reply."""

    @app.exception_handler(errors.AcrError)
    async def on_domain_error(request: Request, error: errors.AcrError) -> Response:
        found = problem(error)
        if found.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("%s %s: %s", request.method, request.url.path, error)
        return response(found)

    @app.exception_handler(Exception)
    async def on_our_mistake(request: Request, error: Exception) -> Response:
        # The server logs the traceback; it is nothing for a client.
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        detail = f"{request.method} {request.url.path}: a mistake of the monitor's, see its log"
        return response(
            Problem(type="about:blank", title=status.phrase, status=status, detail=detail)
        )

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        reply = response(
            Problem(
                type="about:blank",
                title=status.phrase,
                status=status,
                detail=f"{request.method} {request.url.path}: {error.detail}",
            )
        )
        reply.headers.update(error.headers or {})
        return reply
