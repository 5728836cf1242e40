"""`/metrics`, rendered once for all who ask at about the same time."""

import asyncio

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from monitor_service.alerts.dispatcher import Dispatcher
from monitor_service.exposition import deliveries, render
from monitor_service.monitor import Monitor

FRESH_S = 1.0
"""Age up to which a text is given again: nobody scrapes more often, but several may."""


class Scrape:
    """The text, and who waits for it."""

    def __init__(self, monitor: Monitor, dispatcher: Dispatcher | None = None) -> None:
        self._monitor = monitor
        self._dispatcher = dispatcher
        self._begun_s = 0.0
        self._text: asyncio.Task[bytes] | None = None
        self._process = CollectorRegistry()
        # The one thing here that is of this process: another replica has figures of its own.
        ProcessCollector(registry=self._process)

    async def text(self) -> bytes:
        """Every run that reports, as it stood at most a second ago; raises StoreUnavailable."""
        if self._text is None or not self._is_fresh(self._text):
            self._begun_s = asyncio.get_running_loop().time()
            self._text = asyncio.create_task(self._rendered())
        return await asyncio.shield(self._text)

    def _is_fresh(self, text: asyncio.Task[bytes]) -> bool:
        if not text.done():
            return True
        age_s = asyncio.get_running_loop().time() - self._begun_s
        return age_s < FRESH_S and text.exception() is None

    async def _rendered(self) -> bytes:
        runs, standings = await self._monitor.reporting()
        told = deliveries(await self._dispatcher.outcomes()) if self._dispatcher else b""
        return await asyncio.to_thread(
            lambda: render(runs, standings) + told + generate_latest(self._process)
        )
