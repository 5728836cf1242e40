"""OpenAPI from the wire types themselves: `wire`, `requests` and `resources` are the contract.

A route says what is particular to it. What every route may answer, and what stands in paths, is
added to the finished document, so that no status a client may meet is missing.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Response

from monitor_service import resources, wire
from monitor_service.api import schemas
from monitor_service.api.errors import PROBLEM
from monitor_service.api.parameters import IF_MATCH, IN_PATH, Parameter, whole

_TEXT = {"type": "string"}
_OPEN = "/healthz"
_SECURITY: dict[str, list[dict[str, list[str]]]] = {_OPEN: [], "/readyz": [{"token": []}, {}]}
"""Where the token is not asked for; `/readyz` asks those who are not on this machine."""
_ALWAYS = (
    *(HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
    *(HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.TOO_MANY_REQUESTS),
    *(HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE),
)
_WITH_BODY = (
    *(HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    *(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY),
)
_OF_A_RUN = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)
_MEANING = {
    HTTPStatus.BAD_REQUEST: "Not readable as what it says it is",
    HTTPStatus.UNAUTHORIZED: "No token, or not a valid one",
    HTTPStatus.FORBIDDEN: "The token is not for this, or a limit on runs is reached",
    HTTPStatus.NOT_FOUND: "No run of this id, or no such thing of the run",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not arrive in time",
    HTTPStatus.CONFLICT: "It contradicts what is recorded, or the run was deleted",
    HTTPStatus.PRECONDITION_FAILED: "Somebody changed it in between",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "More than a limit allows",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "A format that is not read here",
    HTTPStatus.MISDIRECTED_REQUEST: "Asked under a name that this monitor does not go by",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A value is wrong: which, and what is allowed",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests; try again later",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Redis holds something that this version cannot read",
    HTTPStatus.SERVICE_UNAVAILABLE: "The store does not answer, or there is no room; try again",
}


def documented(
    *,
    reply: Any,
    body: Any = None,
    status: HTTPStatus = HTTPStatus.OK,
    query: tuple[str | Parameter, ...] = (),
    as_text: tuple[str, ...] = (),
    or_empty: bool = False,
    or_known: bool = False,
    has_revision: bool = False,
) -> dict[str, Any]:
    """Keyword arguments for a route decorator that describe its body, query and replies.

    Args:
        reply: what the answer holds; of several kinds, one of them; None: text only.
        body: what is read; a media type alone stands for a text.
        status: of the answer.
        query: parameters; a name alone stands for a whole number from 1.
        as_text: further media types of the answer.
        or_empty: whether the answer may be 204 instead.
        or_known: whether it may be 200 instead, for what was there already.
        has_revision: whether the answer has an ETag, and a change takes If-Match.
    """
    extra: dict[str, Any] = {}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": _read(body)}
    parameters = [whole(one) if isinstance(one, str) else one for one in query]
    if has_revision and body is not None:
        parameters.append(IF_MATCH)
    if parameters:
        extra["parameters"] = [dict(one) for one in parameters]
    content = _answered(reply) if reply is not None else {}
    content |= {name: {"schema": _TEXT} for name in as_text}
    answer: dict[str, Any] = {"description": status.phrase, "content": content}
    if has_revision:
        about = "Names this revision; for If-Match"
        answer["headers"] = {"ETag": {"schema": _TEXT, "required": True, "description": about}}
    responses: dict[int | str, Any] = {int(status): answer}
    if or_known:
        responses[200] = {**answer, "description": "It was there already"}
    if or_empty:
        responses[204] = {"description": "Done; there is nothing to show"}
    if has_revision and body is not None:
        responses[412] = _refusal(HTTPStatus.PRECONDITION_FAILED)
    return {
        "response_model": None,
        "response_class": Response,
        "status_code": status,
        "responses": responses,
        "openapi_extra": extra,
    }


def install(app: FastAPI) -> None:
    """Complete the app's OpenAPI document."""
    generate = app.openapi

    def with_what_is_common() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(generate())
        return generate()

    app.openapi = with_what_is_common  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    components["schemas"] = schemas.components()
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "Made by `acr token create`; not needed while there is none",
        }
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = _SECURITY.get(path, [{"token": []}])
            for one in operation.get("parameters", []):
                if one["in"] == "path":
                    one["schema"] = dict(IN_PATH[one["name"]])
            # FastAPI describes the 422 of a validation that is not ours.
            operation["responses"].pop("422", None)
            for status in _refusals(path, operation):
                operation["responses"].setdefault(str(int(status)), _refusal(status))


def _refusals(path: str, operation: dict[str, Any]) -> Iterator[HTTPStatus]:
    """What may be answered in place of what was asked for."""
    if path == _OPEN:
        return
    yield from _ALWAYS
    if "requestBody" in operation:
        yield from _WITH_BODY
    if "{run_id}" in path:
        yield from _OF_A_RUN
    if operation.get("parameters"):
        yield HTTPStatus.UNPROCESSABLE_ENTITY


def _refusal(status: HTTPStatus) -> dict[str, Any]:
    schema = schemas.of(resources.Problem)
    example = {"type": "about:blank", "title": status.phrase, "status": int(status)}
    example |= {"detail": _MEANING[status]}
    content = {PROBLEM: {"schema": schema, "example": example}}
    found: dict[str, Any] = {"description": _MEANING[status], "content": content}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        seconds = {"type": "integer", "minimum": 0}
        found["headers"] = {"Retry-After": {"schema": seconds, "required": True}}
    return found


def _read(body: Any) -> dict[str, Any]:
    """The content of a request."""
    if isinstance(body, str):
        return {body: {"schema": _TEXT}}
    schema = schemas.of(body)
    if body is wire.StepReport:
        several = {"type": "array", "items": schema, "minItems": 1, "maxItems": wire.MAX_REPORTS}
        schema = {"anyOf": [schema, several]}
    return {name: {"schema": schema} for name in (wire.JSON, wire.MSGPACK)}


def _answered(reply: Any) -> dict[str, Any]:
    """The content of an answer."""
    kinds = reply if isinstance(reply, tuple) else (reply,)
    found = [schemas.of(kind) for kind in kinds]
    return {wire.JSON: {"schema": found[0] if len(found) == 1 else {"oneOf": found}}}
