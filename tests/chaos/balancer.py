"""A TCP proxy between trainers and monitors, with a network behind it that can fail."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536


class Balancer:
    """Connections go to the servers in turn, past those that refuse; runs in its own loop."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._targets = [urlsplit(url) for url in urls]
        self._next = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._told: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self.url = ""

    def cut(self) -> None:
        """Forward nothing any more, close nothing: what is sent waits in the buffers."""
        self._call(self._flowing.clear)

    def half_close(self) -> None:
        """Tell every client that nothing more comes; what they sent still waits to be delivered."""

        def tell() -> None:
            self._told |= self._clients
            for writer in self._clients:
                writer.write_eof()

        self._call(tell)

    def resume(self) -> None:
        """Deliver everything that waited, however late, and go on."""
        self._call(self._flowing.set)

    def _call(self, act: Callable[[], object]) -> None:
        async def acted() -> None:
            act()

        self._run(acted())

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            await self._flowing.wait()
            above, to_above = await self._reached()
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._forward(reader, to_above))
                    both.create_task(self._forward(above, writer))
            finally:
                to_above.close()
        except* (OSError, EOFError):
            pass  # One side is gone: so is the other, below.
        finally:
            self._clients.discard(writer)
            self._told.discard(writer)
            writer.close()

    async def _reached(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The next server that accepts."""
        self._next += 1
        for number in range(len(self._targets)):
            target = self._targets[(self._next + number) % len(self._targets)]
            with suppress(OSError):
                return await asyncio.open_connection(target.hostname, target.port)
        raise ConnectionRefusedError

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """One direction; ends the whole connection when a server went away."""
        while data := await source.read(CHUNK_BYTES):
            await self._flowing.wait()
            if target in self._told:
                raise EOFError
            target.write(data)
            await target.drain()
        raise EOFError


@contextmanager
def balancer(urls: Sequence[str]) -> Iterator[Balancer]:
    """One that listens on a port of this machine, in front of these servers."""
    made = Balancer(urls)
    thread = threading.Thread(target=made._loop.run_forever, name="balancer")
    thread.start()
    server = made._run(asyncio.start_server(made._connected, "127.0.0.1", 0))
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def ended() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        yield made
    finally:
        made._run(ended())
        made._loop.call_soon_threadsafe(made._loop.stop)
        thread.join(10)
        made._loop.close()
