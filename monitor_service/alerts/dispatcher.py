"""Alerts as a whole: which replica delivers, to which sinks, and how that goes."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

from monitor_service.alert import AlertsView, SinkView
from monitor_service.alerts import post
from monitor_service.alerts.config import AlertConfig
from monitor_service.alerts.courier import OUTCOMES, Courier, Pace
from monitor_service.alerts.lease import Lease
from monitor_service.alerts.sinks import sinks
from monitor_service.errors import AcrError, StoreUnavailable
from monitor_service.store.alerts import AlertStore, Standing
from monitor_service.store.driver import ended

END_S = 1.0
"""How long the end of the process may wait for a Redis that hangs."""

log = logging.getLogger(__name__)


class Dispatcher:
    """Tells sinks of alarms while it is entered, unless another replica does."""

    def __init__(
        self,
        store: AlertStore,
        config: AlertConfig,
        clock: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        """`clock` tells Unix time in seconds; made within an event loop."""
        self._store = store
        self._config = config
        self._clock = clock
        self._pace = pace or Pace()
        self._client = post.client()
        self.sinks = sinks(config, self._client, timeout_s=self._pace.timeout_s, clock=clock)
        self._lease = Lease(store, length_s=self._pace.lease_s, renew_s=self._pace.renew_s)
        self._is_ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Dispatcher":
        if self.sinks:
            self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task:
            self._is_ending.set()
            await asyncio.wait([self._task], timeout=END_S)
            await ended(self._task)
        await self._client.aclose()

    async def view(self) -> AlertsView:
        """The sinks, and how deliveries to them go, by whichever replica."""
        standings, outcomes = await self._store.standings(), await self._store.outcomes()
        views = []
        for sink in self.sinks:
            standing = standings.get(sink.name, Standing())
            views.append(
                SinkView(
                    name=sink.name,
                    place=sink.place,
                    delivered_at_s=standing.delivered_at_s,
                    failed_at_s=standing.failed_at_s,
                    error=standing.error,
                    pending=standing.pending,
                    outcomes={name: outcomes.get((sink.name, name), 0) for name in OUTCOMES},
                )
            )
        return AlertsView(sinks=views, is_delivering=await self._store.is_held())

    async def outcomes(self) -> dict[tuple[str, str], int]:
        """How many deliveries ended how, since the store was new: (sink, outcome) -> count.

        0 as well: an increase from nothing to 1 is none for who watches a counter.
        """
        none = {(sink.name, outcome): 0 for sink in self.sinks for outcome in OUTCOMES}
        return none | await self._store.outcomes()

    async def _run(self) -> None:
        while not self._is_ending.is_set():
            try:
                if await self._lease.acquire():
                    await self._lead()
            except AcrError as error:
                log.warning("alerts wait for the store: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.renew_s):
                    await self._is_ending.wait()

    async def _lead(self) -> None:
        """Deliver until the lease is lost, or this process ends."""
        couriers = [
            Courier(sink, self._store, self._lease, self._config, self._pace, self._clock)
            for sink in self.sinks
        ]
        work = (*(one.run() for one in couriers), self._pass_on(couriers), self._lease.hold())
        tasks = [asyncio.create_task(one) for one in (*work, self._is_ending.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(*tasks)
            for task in tasks:
                if not task.cancelled() and (mistake := task.exception()):
                    log.error("alerts were interrupted by a mistake of ours", exc_info=mistake)
            await self._lease.release()

    async def _pass_on(self, couriers: Sequence[Courier]) -> None:
        """Have couriers look at the runs whose alarms change; what is missed, a sweep finds."""
        while True:
            with suppress(StoreUnavailable):
                async for run_id in self._store.alarms():
                    for courier in couriers:
                        courier.call(run_id)
            await asyncio.sleep(self._pace.renew_s)
