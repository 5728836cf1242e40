"""One client that watches: what waits for it, and when it is over."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Iterable

from monitor_service.store.news import Place

DEFAULT_MAX_STREAMS = 1000
"""Clients that may watch at once."""
HEARTBEAT_S = 15.0
MAX_WAITING_BYTES = 4_194_304
"""What waits for a slow client at most; with more it is cut, and comes back by its id. All the runs
there may be, told at once to who begins to watch their list, are less than half of it."""
RETRY_MS = (1000, 3000)
"""When a client comes back: not all that one replica loses in the same moment."""

_HEARTBEAT = b":\n\n"


def greeting() -> bytes:
    """The first line of a stream: when to come back once it has ended."""
    return b"retry: %d\n\n" % random.randint(*RETRY_MS)


def message(kind: str, data: bytes, place: Place | None = None) -> bytes:
    """A server-sent event; `data` is JSON of one line."""
    named = f"event: {kind}\n" if place is None else f"event: {kind}\nid: {place}\n"
    return b"%sdata: %s\n\n" % (named.encode(), data)


class Watcher:
    """Messages on their way to one client."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._num_bytes = 0
        self._stirred = asyncio.Event()
        self.is_over = False
        """Whether nothing comes any more, beyond what waits."""

    def offer(self, messages: Iterable[bytes]) -> None:
        """Hand over messages; when too many wait, all are dropped and it is over."""
        if self.is_over:
            return
        for one in messages:
            self._waiting.append(one)
            self._num_bytes += len(one)
        if self._num_bytes > MAX_WAITING_BYTES:
            self._waiting.clear()
            self.is_over = True
        self._stirred.set()

    def end(self) -> None:
        """It is over once what waits is delivered."""
        self.is_over = True
        self._stirred.set()

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """What the client is to get, as it comes, with a sign of life in between."""
        while True:
            if self._waiting:
                waiting = b"".join(self._waiting)
                self._waiting.clear()
                self._num_bytes = 0
                yield waiting
            elif self.is_over:
                return
            else:
                self._stirred.clear()
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._stirred.wait()
                except TimeoutError:
                    yield _HEARTBEAT
