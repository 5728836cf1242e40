"""One connection: how much a peer may send, and how long it may take, before there is a request.

uvicorn's protocol waits for ever for the rest of a head, keeps any amount of it, and queues any
number of requests that arrive at once; and it keeps a reply for a reader that does not read.
"""

import asyncio
from collections import Counter
from http import HTTPStatus
from typing import Any, ClassVar, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from monitor_service.api.errors import PROBLEM
from monitor_service.resources import Problem

MAX_HEAD_BYTES = 65_536
"""Request line and headers."""
MAX_PIPELINED = 16
"""Requests that may wait for the answer to the one before."""
LINGER_S = 5.0
"""What still comes after an answer is passed over for so long: hanging up at once could have the
answer lost in a reset."""
HANDED_OVER_BYTES = 262_144
"""A body is read by the app when it is complete, or in pieces that are larger than this."""
GATHERED_BYTES = 16_384
"""What is written beyond this is sent at once."""
STALLED_S = 30.0
SLOWEST_BYTES_PER_S = 65_536
"""A body has the time that any request has, and what it takes at this rate."""
LEAST_READ_BYTES = 65_536
"""Who reads less of a reply than this in `STALLED_S`, though there is more, is cut off."""


class Gathering:
    """A transport that sends together what is written in one turn of the loop: head and body.

    Each piece sent by itself is a call of the kernel, and wakes the peer.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self._num_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it by the end of this turn."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        self._num_bytes += len(data)
        if self._num_bytes > GATHERED_BYTES:
            # Not later: who writes on has to hear in time that the peer does not read.
            self._flush()

    def write_eof(self) -> None:
        """As the transport does."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """As the transport does: what was written is sent before."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """As the transport does: what was written is lost."""
        self._pieces, self._num_bytes = [], 0
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return self._transport.get_write_buffer_size() + self._num_bytes

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces, self._num_bytes = self._pieces, [], 0
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))


class Connection(HttpToolsProtocol):
    """uvicorn's, with limits; `with_limits` makes the class that a server uses."""

    receive_s: ClassVar[float]
    max_connections: ClassVar[int]
    by_address: ClassVar[Counter[str]]

    _is_refused = False
    _is_in_head = False
    _head_bytes = 0
    _body_due_s = 0.0
    """By the loop's clock; it moves on with every piece of the body."""
    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # noqa: D102
        super().connection_made(cast(asyncio.Transport, Gathering(transport, self.loop)))
        self._address = self.client[0] if self.client else ""
        self.by_address[self._address] += 1
        if (
            len(self.connections) > self.max_connections
            or self.by_address[self._address] > self.max_connections // 2
        ):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
            self.transport.close()
            return
        self._expire_in(self.receive_s)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self.by_address[self._address] -= 1
        if not self.by_address[self._address]:
            del self.by_address[self._address]
        self._expire_in(None)
        if self._stall:
            self._stall.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self._unset_keepalive_if_required()
        if self._is_refused or self.transport.is_closing():
            return
        was_in_head = self._is_in_head
        if self._deadline is None and self._is_idle():
            self._expire_in(self.receive_s)
        try:
            self.parser.feed_data(data)
            if was_in_head and self._is_in_head:
                # A header is told when it is whole; this is what there is of one.
                self._grow_head(len(data))
            elif self._deadline is None and self._is_in_body():
                self._expire_in(self.receive_s)
        except _TooMuch as refusal:
            self._refuse(refusal.status, str(refusal))
        except httptools.HttpParserUpgrade:
            pass  # Nothing here is spoken but HTTP/1.1: the request is answered as it is.
        except httptools.HttpParserError as error:
            cause = error.__context__
            status = cause.status if isinstance(cause, _TooMuch) else HTTPStatus.BAD_REQUEST
            self._refuse(status, str(cause if isinstance(cause, _TooMuch) else error))

    def on_message_begin(self) -> None:  # noqa: D102
        self._is_in_head, self._head_bytes = True, 0
        self._expire_in(self.receive_s)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:  # noqa: D102
        self._grow_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: D102
        self._grow_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:  # noqa: D102
        self._is_in_head = False
        self._expire_in(None)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _TooMuch(HTTPStatus.TOO_MANY_REQUESTS, "too many requests at once")
        self._body_due_s = self.loop.time() + self.receive_s
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:  # noqa: D102
        self._body_due_s += len(body) / SLOWEST_BYTES_PER_S
        cycle = self.cycle
        if cycle.response_complete:
            return
        # Handed over whole, where it is not large: waking the reader for each piece costs more.
        cycle.body += body
        if len(cycle.body) > HANDED_OVER_BYTES:
            self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:  # noqa: D102
        super().on_message_complete()
        self.cycle.more_body = False
        self._expire_in(self.receive_s if self.cycle.response_complete else None)

    def on_response_complete(self) -> None:  # noqa: D102
        super().on_response_complete()
        if self.cycle.more_body and not self._is_in_head and not self.pipeline:
            self._expire_in(LINGER_S)

    def pause_writing(self) -> None:  # noqa: D102
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:  # noqa: D102
        super().resume_writing()
        if self._stall:
            self._stall.cancel()
            self._stall = None

    def _watch_reader(self, left_bytes: int) -> None:
        self._stall = self.loop.call_later(STALLED_S, self._check_reader, left_bytes)

    def _check_reader(self, before_bytes: int) -> None:
        left_bytes = self.transport.get_write_buffer_size()
        if before_bytes - left_bytes < LEAST_READ_BYTES:
            self.transport.abort()
        else:
            self._watch_reader(left_bytes)

    def _is_idle(self) -> bool:
        return self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)

    def _is_in_body(self) -> bool:
        """Whether the rest of a body is to come that is not answered yet."""
        cycle = self.cycle
        return (
            cycle is not None
            and cycle.more_body
            and not (cycle.response_complete or self._is_in_head or self._is_refused)
        )

    def _grow_head(self, num_bytes: int) -> None:
        self._head_bytes += num_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _TooMuch(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"request line and headers: more than the {MAX_HEAD_BYTES} bytes allowed",
            )

    def _expire_in(self, duration_s: float | None) -> None:
        """Set the time by which something has to have happened; None: for no time."""
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None
        if duration_s is not None:
            self._deadline = self.loop.call_later(duration_s, self._expire)

    def _expire(self) -> None:
        if self._is_in_body() and (left_s := self._time_for_body_s()) > 0:
            self._expire_in(left_s)
        elif (self._is_in_body() or self._is_in_head) and not self._is_refused:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")
        else:
            self.transport.close()

    def _time_for_body_s(self) -> float:
        if self.flow.read_paused:  # It is ours to take what is there.
            return self.receive_s
        return self._body_due_s - self.loop.time()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer what is no request, or only half of one, and hang up.

        Where another answer is due, or under way, there is nothing to say.
        """
        if self._is_in_body() and not self.pipeline and not self.cycle.response_started:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        body = msgspec.json.encode(
            Problem(type="about:blank", title=status.phrase, status=status, detail=detail)
        )
        head = (
            f"HTTP/1.1 {int(status)} {status.phrase}\r\ncontent-type: {PROBLEM}\r\n"
            f"content-length: {len(body)}\r\nx-content-type-options: nosniff\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self._is_refused = True
        self.transport.write_eof()
        self._expire_in(LINGER_S)


class _TooMuch(Exception):
    """More than a limit allows, with the status that says so."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        self.status = status
        super().__init__(detail)


def with_limits(*, receive_s: float, max_connections: int) -> type[asyncio.Protocol]:
    """The protocol of a server, whose connections are counted together.

    Args:
        receive_s: longest time for a head to arrive.
        max_connections: of all peers; half of them of one address.
    """
    limits: dict[str, Any] = {"receive_s": receive_s, "max_connections": max_connections}
    return type("Connection", (Connection,), {**limits, "by_address": Counter()})
