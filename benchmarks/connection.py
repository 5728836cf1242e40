"""A keep-alive HTTP/1.1 connection for load: prepared requests out, whole answers in.

Little more than the socket, so that many of these in one process keep a server busy. It reads what
the servers here send: a status line, a content-length, a body.
"""

import asyncio
from typing import Self, cast

from monitor_service.wire import JSON

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


def request(path: str, body: bytes = b"", media_type: str = JSON, method: str = "POST") -> bytes:
    """A request as it goes over the wire."""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {media_type}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One request at a time; `await Connection.to(url)` opens it."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self._is_lost = False

    @classmethod
    async def to(cls, url: str) -> Self:
        """Connected to the server of an http:// URL."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        loop = asyncio.get_running_loop()
        _, opened = await loop.create_connection(cls, host, int(port))
        return opened

    async def ask(self, prepared: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to a prepared request; OSError when there is none."""
        assert self._transport is not None
        if self._is_lost:
            raise ConnectionResetError("the server has closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(prepared)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio, like the methods below."""
        # uvloop's is none by its class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand the answer over when all of it is here."""
        self._received += data
        head = self._received.find(_HEAD_END)
        if head < 0:
            return
        length = int(self._received[:head].lower().partition(_LENGTH)[2].partition(b"\r\n")[0])
        start = head + len(_HEAD_END)
        if len(self._received) < start + length:
            return
        status = int(self._received[9:12])
        body = bytes(self._received[start : start + length])
        del self._received[: start + length]
        if self._answer and not self._answer.done():
            self._answer.set_result((status, body))

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits is told."""
        self._is_lost = True
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed without an answer"))
