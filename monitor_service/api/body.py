"""Request bodies in, replies out: limits, formats and query parameters."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from monitor_service.control import Control
from monitor_service.errors import InputTooLarge, InvalidInput, UnknownFormat
from monitor_service.monitor import Monitor
from monitor_service.resources import Origin
from monitor_service.tokens import CALLER, Caller
from monitor_service.wire import JSON, MSGPACK, decode

MAX_CLIENT_CHARS = 120

T = TypeVar("T")


def monitor_of(request: Request) -> Monitor:
    """The monitor this app was created with."""
    monitor: Monitor = request.app.state.monitor
    return monitor


def control_of(request: Request) -> Control:
    """What people order from that monitor, each order with its origin."""
    return monitor_of(request).control.by(origin_of(request))


def caller_of(request: Request) -> Caller:
    """Who asks; somebody without a token where nobody stands at the door."""
    caller: Caller | None = request.scope.get(CALLER)
    if caller is not None:
        return caller
    return Caller(
        address=request.client.host if request.client else "",
        client=request.headers.get("user-agent", ""),
    )


def origin_of(request: Request) -> Origin:
    """From where a request came, fit to be kept."""
    caller = caller_of(request)
    client = "".join(filter(str.isprintable, caller.client))
    return Origin(
        address=caller.address or None,
        token=caller.name or None,
        client=client[:MAX_CLIENT_CHARS] or None,
    )


async def read(request: Request, kind: type[T]) -> T:
    """The body as a `kind`, refused as soon as it is known to be too large."""
    most: int = request.app.state.max_body_bytes
    body, media_type = await collected(request.scope["headers"], request.receive, most)
    return decode(body, media_type, kind)


async def collected(
    headers: Iterable[tuple[bytes, bytes]], receive: Receive, most: int
) -> tuple[bytes, str]:
    """The whole body and its format.

    Raises:
        UnknownFormat: neither JSON nor msgpack, by its own words.
        InputTooLarge: more than `most` bytes, announced or sent.
        ClientDisconnect: the sender is gone.
    """
    media_type, announced = "", ""
    for name, value in headers:
        if name == b"content-type":
            media_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == b"content-length":
            announced = value.decode("latin-1")
    # Required, not assumed: a web page may send a body of no type here without asking first.
    if media_type not in (JSON, MSGPACK):
        raise UnknownFormat("content-type", media_type, f"{JSON} or {MSGPACK}")
    if announced.isdigit() and int(announced) > most:
        raise InputTooLarge(f"body: {announced} bytes announced; {most} are allowed")
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > most:
            raise InputTooLarge(f"body: more than the {most} bytes allowed")
        if not message.get("more_body", False):
            return b"".join(pieces), media_type


def reply(
    content: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Content as JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type=JSON)


def if_match(request: Request) -> int | None:
    """The revision that an If-Match header names; None: any."""
    header = request.headers.get("if-match", "*").strip()
    if header == "*":
        return None
    if found := re.fullmatch(r'(?:W/)?"?r(\d{1,18})"?', header):
        return int(found[1])
    raise InvalidInput("If-Match", header, 'must be an ETag such as "r3", or *')


def flag(request: Request, name: str) -> bool:
    """A query parameter that is true or false; without it, false."""
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidInput(name, text, "must be true or false")
    return text == "true"


def whole_number(
    request: Request, name: str, default: int | None, *, low: int, high: int
) -> int | None:
    """A query parameter."""
    text = request.query_params.get(name)
    return default if text is None else parsed(name, text, low=low, high=high)


def parsed(name: str, text: str, *, low: int, high: int) -> int:
    """A whole number of the path or the query."""
    number = int(text) if len(text) < 20 and text.isascii() and text.isdigit() else None
    if number is None or not low <= number <= high:
        raise InvalidInput(name, text, f"must be a whole number in [{low}, {high}]")
    return number
