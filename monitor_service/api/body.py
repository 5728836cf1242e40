"""Request bodies in, replies out: limits, formats and query parameters."""

from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response

from monitor_service.control import Control
from monitor_service.errors import InputTooLarge, InvalidInput, UnknownFormat
from monitor_service.monitor import Monitor
from monitor_service.wire import JSON, MSGPACK, decode

T = TypeVar("T")


def monitor_of(request: Request) -> Monitor:
    """The monitor this app was created with."""
    monitor: Monitor = request.app.state.monitor
    return monitor


def control_of(request: Request) -> Control:
    """What people order from that monitor."""
    return monitor_of(request).control


async def read(request: Request, kind: type[T]) -> T:
    """The body as a `kind`, refused as soon as it is known to be too large."""
    # Required, not assumed: a web page may send a body of no type here without asking first.
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (JSON, MSGPACK):
        raise UnknownFormat("content-type", media_type, f"{JSON} or {MSGPACK}")
    most: int = request.app.state.max_body_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise InputTooLarge(f"body: {announced} bytes announced; {most} are allowed")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise InputTooLarge(f"body: more than the {most} bytes allowed")
    return decode(bytes(body), media_type, kind)


def reply(
    content: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Content as JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type=JSON)


def whole_number(
    request: Request, name: str, default: int | None, *, low: int, high: int
) -> int | None:
    """A query parameter."""
    text = request.query_params.get(name)
    if text is None:
        return default
    number = int(text) if len(text) < 20 and text.isascii() and text.isdigit() else None
    if number is None or not low <= number <= high:
        raise InvalidInput(name, text, f"must be a whole number in [{low}, {high}]")
    return number
