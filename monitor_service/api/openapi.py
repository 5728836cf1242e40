"""OpenAPI from the wire types themselves: `wire.py` and `resources.py` are the contract."""

from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI

from monitor_service import resources, wire

_REF = "#/components/schemas/{name}"
_TEXT = {"type": "string"}
_TYPES = (
    *(wire.CreateRun, wire.StepReport, resources.Run, resources.RunList, resources.Ack),
    *(resources.StepPage, resources.SettingsView, resources.EventPage, resources.Problem),
    *(resources.OverrideRequest, resources.Order, resources.CommandRequest, resources.EndOfRun),
    *(resources.Diagnosis, resources.ForecastView, resources.ResultRequest, resources.Result),
    *(resources.StepRecord, resources.StepColumns, resources.StepGroups),
    *(resources.Description, resources.Defaults, resources.DefaultsRequest),
)


def documented(
    *,
    reply: type | tuple[type, ...] | None,
    body: Any = None,
    status: HTTPStatus = HTTPStatus.OK,
    query: tuple[str | dict[str, Any], ...] = (),
    as_text: tuple[str, ...] = (),
    or_empty: bool = False,
) -> dict[str, Any]:
    """Keyword arguments for a route decorator that describe its body, query and replies.

    Args:
        reply: what the answer holds; of several kinds, one of them; None: text only.
        body: what is read; a media type alone stands for a text.
        status: of the answer.
        query: parameters; a name alone stands for a whole number from 1.
        as_text: further media types of the answer.
        or_empty: whether the answer may be 204 instead.
    """
    problem = {"application/problem+json": {"schema": _schema(resources.Problem)}}
    extra: dict[str, Any] = {}
    if body is not None and not isinstance(body, str):
        schema = _schema(body)
        if body is wire.StepReport:
            schema = {"anyOf": [schema, {"type": "array", "items": schema}]}
        formats = (wire.JSON, wire.MSGPACK)
        extra["requestBody"] = {
            "required": True,
            "content": {name: {"schema": schema} for name in formats},
        }
    if isinstance(body, str):
        extra["requestBody"] = {"required": True, "content": {body: {"schema": _TEXT}}}
    if query:
        extra["parameters"] = [
            {"name": one, "in": "query", "schema": {"type": "integer", "minimum": 1}}
            if isinstance(one, str)
            else {"in": "query", **one}
            for one in query
        ]
    return {
        "response_model": None,
        "status_code": status,
        "responses": {
            int(status): {
                "description": status.phrase,
                "content": {
                    **({wire.JSON: {"schema": _one_of(reply)}} if reply else {}),
                    **{name: {"schema": _TEXT} for name in as_text},
                },
            },
            **({204: {"description": "Done; there is nothing to show"}} if or_empty else {}),
            "4XX": {"description": "The caller's mistake", "content": problem},
            "503": {"description": "The store does not answer; try again", "content": problem},
        },
        "openapi_extra": extra,
    }


def install(app: FastAPI) -> None:
    """Add the wire types to the app's OpenAPI document."""
    generate = app.openapi

    def with_wire_types() -> dict[str, Any]:
        document = generate()
        _, components = msgspec.json.schema_components(_TYPES, ref_template=_REF)
        document.setdefault("components", {}).setdefault("schemas", {}).update(components)
        return document

    app.openapi = with_wire_types  # type: ignore[method-assign]


def _one_of(kinds: type | tuple[type, ...]) -> dict[str, Any]:
    if isinstance(kinds, tuple):
        return {"oneOf": [_schema(kind) for kind in kinds]}
    return _schema(kinds)


def _schema(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return schema
