"""Which replica delivers: the one that holds a lease in Redis.

Redis lets the lease go when it was not renewed in time, and refuses writes of who lost it. On this
side it counts as lost from the moment it may be: `remaining_s` is counted from before the request
that renewed it.
"""

import asyncio
import logging
import time
from contextlib import suppress
from uuid import uuid4

from monitor_service.errors import StoreUnavailable
from monitor_service.store.alerts import AlertStore

log = logging.getLogger(__name__)


class Lease:
    """This replica's claim; for one event loop."""

    def __init__(self, store: AlertStore, *, length_s: float, renew_s: float) -> None:
        """Not held at first."""
        self.holder = uuid4().hex
        self.length_s = length_s
        self._store = store
        self._renew_s = renew_s
        self._until = 0.0
        self._lost = asyncio.Event()

    @property
    def remaining_s(self) -> float:
        """Seconds for which nobody else can hold it; 0 when it is not held."""
        return max(0.0, self._until - time.monotonic())

    async def acquire(self) -> bool:
        """Take it if nobody has it; raises StoreUnavailable."""
        asked = time.monotonic()
        if not await self._store.acquire(self.holder, self.length_s):
            return False
        self._until = asked + self.length_s
        self._lost.clear()
        return True

    async def hold(self) -> None:
        """Renew it; returns when it is lost."""
        while self.remaining_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._renew_s, self.remaining_s)):
                    await self._lost.wait()
            if self._lost.is_set():
                return None
            asked = time.monotonic()
            try:
                if not await self._store.renew(self.holder, self.length_s):
                    return self.lose()
            except StoreUnavailable as error:
                log.warning("the lease on alerts could not be renewed: %s", error)
            else:
                self._until = asked + self.length_s
        return self.lose()

    def lose(self) -> None:
        """It is somebody else's."""
        self._until = 0.0
        self._lost.set()

    async def release(self) -> None:
        """Let others have it at once, if it is still held."""
        if self.remaining_s > 0:
            self.lose()
            await self._store.renew(self.holder, 0)
