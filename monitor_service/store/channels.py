"""One connection that hears publications on many channels, and outlives every outage."""

import asyncio
import logging
from collections.abc import Callable

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as ConnectionBroken
from redis.exceptions import RedisError

from monitor_service.store.driver import answer

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
QUIET_S = 5.0
"""A connection silent for this long is asked for an answer, and is broken when none comes."""

log = logging.getLogger(__name__)


class Channels:
    """Channels, and patterns of channels with a `*` in them, as they are wanted.

    `heard(name, channel)` is called after each publication, with what was wanted and the channel
    itself; and with the name twice when it begins to be heard, again after every outage: look then
    what was missed.
    """

    def __init__(self, redis: Redis, heard: Callable[[str, str], None]) -> None:
        self._redis = redis
        self._heard = heard
        self._wanted: set[str] = set()
        self._held: set[str] = set()
        """What the connection is subscribed to."""
        self._line: PubSub | None = None
        self._turn = asyncio.Lock()
        self._is_broken = False
        self._hearing: asyncio.Task[None] | None = None

    async def add(self, channel: str) -> None:
        """Begin to hear a channel; at once, or when Redis is back."""
        self._wanted.add(channel)
        if self._hearing is None or self._hearing.done():
            self._hearing = asyncio.create_task(self._hear())
        await self._settle()

    async def drop(self, channel: str) -> None:
        """Hear it no longer; with the last one the connection goes."""
        self._wanted.discard(channel)
        await self._settle()

    async def close(self) -> None:
        """Let go of everything."""
        self._wanted.clear()
        if self._hearing:
            self._hearing.cancel()
            await asyncio.wait([self._hearing])

    async def _settle(self) -> None:
        """Subscribe to what is wanted, and to nothing else."""
        async with self._turn:
            if self._line is None:
                return
            new, old = self._wanted - self._held, self._held - self._wanted
            self._held = set(self._wanted)
            try:
                await _each(new, self._line.subscribe, self._line.psubscribe)
                await _each(old, self._line.unsubscribe, self._line.punsubscribe)
            except (RedisError, OSError) as error:
                log.debug("no subscription: %s", error)
                self._is_broken = True

    async def _hear(self) -> None:
        retry_s = FIRST_RETRY_S
        while self._wanted:
            try:
                async with self._redis.pubsub() as line:
                    await line.connect()
                    self._line, self._held, self._is_broken = line, set(), False
                    try:
                        await self._settle()
                        retry_s = FIRST_RETRY_S
                        await self._take(line)
                    finally:
                        # Nobody may be at it, or begin, when it is closed.
                        async with self._turn:
                            self._line = None
            except (RedisError, OSError) as error:
                log.debug("publications are not heard: %s", error)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, LAST_RETRY_S)

    async def _take(self, line: PubSub) -> None:
        is_asked = False
        while self._wanted and not self._is_broken:
            message = await line.get_message(timeout=QUIET_S)
            if message is None:
                if is_asked:
                    raise ConnectionBroken(f"no answer within {QUIET_S:g} s")
                await line.ping()
            elif message["type"] in ("message", "pmessage", "subscribe", "psubscribe"):
                channel = message["channel"].decode()
                self._heard((message["pattern"] or message["channel"]).decode(), channel)
            is_asked = message is None


Command = Callable[[str], object]


async def _each(names: set[str], plain: Command, pattern: Command) -> None:
    for name in names:
        await answer((pattern if "*" in name else plain)(name))
