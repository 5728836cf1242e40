"""One connection to Redis that many requests share: commands go out as they come, answers in order.

redis-py takes a connection from a pool for every command and waits on it; a pipelined connection
costs a quarter of that. What is here is only what the hot path needs: send a command, await its
answer. The formats are hiredis', the address is redis-py's.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError

from monitor_service.errors import StoreUnavailable
from monitor_service.store.driver import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, as_ours, connect

MAX_WAITING = 10_000
"""Commands without an answer beyond which a new one is refused: Redis is not keeping up."""
_WATCH_S = 0.5
_INCOMPLETE = object()

Command = Sequence[bytes | str | int | float]


class Pipeline:
    """A connection that is opened when it is needed, and again when it broke."""

    def __init__(self, url: str) -> None:
        """Connects lazily; `url` is redis://, rediss:// or unix://."""
        # Never opened: it has read the address, with the options of TLS in it.
        self._place: Any = connect(url).connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._line: _Line | None = None
        self._opening: asyncio.Task[_Line] | None = None

    async def execute(self, *command: bytes | str | int | float) -> Any:
        """The answer to a command, bytes and integers as Redis sends them.

        Raises:
            StoreUnavailable: no answer; after a time-out nobody can say whether it was carried out.
            StoreCorrupt: a key holds something else than it should.
        """
        line = self._line
        if line is None or line.is_broken:
            line = await self._opened()
        return await line.send(command)

    async def close(self) -> None:
        """Let go of the connection; what waits for an answer gets none."""
        if self._opening:
            self._opening.cancel()
        if self._line:
            self._line.end("closed by us")

    async def _opened(self) -> "_Line":
        if self._opening is None or self._opening.done():
            # One attempt serves all that wait, and outlives each of them.
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> "_Line":
        place, loop = self._place, asyncio.get_running_loop()
        line = _Line()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if isinstance(place, UnixDomainSocketConnection):
                    await loop.create_unix_connection(lambda: line, place.path)
                else:
                    secure = place.ssl_context.get() if isinstance(place, SSLConnection) else None
                    await loop.create_connection(lambda: line, place.host, place.port, ssl=secure)
                if place.password:
                    who = (place.username,) if place.username else ()
                    await line.send(("AUTH", *who, place.password))
                if place.db:
                    await line.send(("SELECT", place.db))
        except (OSError, TimeoutError) as error:
            line.end("it could not be reached")
            raise StoreUnavailable(f"Redis does not answer: {error!r}") from error
        self._line = line
        return line


class Script:
    """A Lua script, sent by its digest once the server knows it."""

    def __init__(self, pipeline: Pipeline, text: str) -> None:
        self._pipeline = pipeline
        self._text = text
        self._digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, keys: Sequence[str], arguments: Command) -> Any:
        """Its answer; raises as `Pipeline.execute` does."""
        rest = (len(keys), *keys, *arguments)
        try:
            return await self._pipeline.execute("EVALSHA", self._digest, *rest)
        except StoreUnavailable as error:
            if "NOSCRIPT" not in str(error):
                raise
        return await self._pipeline.execute("EVAL", self._text, *rest)


class _Line(asyncio.Protocol):
    """The connection itself."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._outgoing: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.is_broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no class of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    async def send(self, command: Command) -> Any:
        """The answer to one command."""
        if self.is_broken or len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailable("Redis does not answer: too much waits for it")
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((self._loop.time() + ANSWER_TIMEOUT_S, answer))
        if not self._outgoing:
            # What comes within one turn of the loop goes out together.
            self._loop.call_soon(self._flush)
        self._outgoing.append(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]
        if self._watch is None:
            self._watch = self._loop.call_later(_WATCH_S, self._look)
        return await answer

    def end(self, why: str) -> None:
        """Break the connection; whoever waits hears why."""
        self.is_broken = True
        if self._transport:
            self._transport.abort()
        if self._watch:
            self._watch.cancel()
            self._watch = None
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(StoreUnavailable(f"Redis does not answer: {why}"))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (value := self._reader.gets()) is not _INCOMPLETE:
                self._settle(value)
        except hiredis.ProtocolError as error:
            self.end(f"not its protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(str(exc or "it closed the connection"))

    def _settle(self, value: Any) -> None:
        _, answer = self._waiting.popleft()
        if answer.done():  # Whoever asked is gone.
            return
        if isinstance(value, hiredis.ReplyError):
            answer.set_exception(as_ours(RedisError(str(value))))
        else:
            answer.set_result(value)

    def _flush(self) -> None:
        if not self.is_broken:
            assert self._transport is not None, "commands are sent on an open connection"
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _look(self) -> None:
        """Break a connection on which the oldest command has waited for too long."""
        self._watch = None
        if not self._waiting:
            return
        deadline, _ = self._waiting[0]
        if self._loop.time() > deadline:
            self.end(f"no answer within {ANSWER_TIMEOUT_S:g} s")
        else:
            self._watch = self._loop.call_later(_WATCH_S, self._look)
