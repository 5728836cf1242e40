"""The floor of any HTTP service in Python: read the whole request, answer the same bytes always.

    python -m benchmarks.ingest.sink

uvloop and httptools, as under uvicorn, and nothing else.
"""

import asyncio
from typing import cast

import httptools
import uvloop

from benchmarks.servers import announce
from monitor_service.config import ServiceConfig
from monitor_service.server import listen

_BODY = b"{}"
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class Sink(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        # uvloop's is none by its class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        assert self._transport is not None
        self._body.clear()
        self._transport.write(_ANSWER)


async def serve() -> None:
    """Serve until the process ends."""
    listener = listen(ServiceConfig(port=0))
    server = await asyncio.get_running_loop().create_server(Sink, sock=listener)
    announce(listener)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
