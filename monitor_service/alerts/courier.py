"""Brings one sink up to date with all runs, one alert at a time.

A sink that fails is left alone for a while, longer each time, and then tried with the alert of
another run: one that is never taken does not stand in the way of the rest. Nothing is queued
here. What waits is read again from the run's stream when its turn comes.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from monitor_service.alert import Alert
from monitor_service.alerts.config import AlertConfig
from monitor_service.alerts.lease import Lease
from monitor_service.alerts.sink import Answer, Sink
from monitor_service.alerts.telling import heard, without
from monitor_service.errors import AcrError
from monitor_service.store.alerts import PAGE_EVENTS, AlertStore, Place, Standing

OUTCOMES = ("delivered", "failed", "refused", "expired")
"""How a delivery may end. `failed` is tried again, the others are for good."""
RUNS_A_LOOK = 50
"""Runs whose events are read at once, which bounds the memory of a look at all of them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast things happen, in seconds."""

    lease_s: float = 30.0
    """A replica that died is replaced within this and `renew_s`."""
    renew_s: float = 5.0
    sweep_s: float = 30.0
    """Between looks at all runs; those that call are looked at sooner."""
    timeout_s: float = 10.0
    """For one delivery."""
    first_retry_s: float = 1.0
    last_retry_s: float = 60.0
    max_age_s: float = 86_400.0
    """An alert that could not be delivered for this long is given up."""

    def __post_init__(self) -> None:
        # Or no delivery could be sure to end before somebody else may take over.
        assert self.timeout_s + self.renew_s < self.lease_s


class Courier:
    """One sink, served for as long as the lease is held."""

    def __init__(
        self,
        sink: Sink,
        store: AlertStore,
        lease: Lease,
        config: AlertConfig,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        """`clock` tells Unix time in seconds."""
        self._sink = sink
        self._store = store
        self._lease = lease
        self._config = config
        self._pace = pace
        self._clock = clock
        self._since = ""
        self._places: dict[str, Place] = {}
        self._standing = Standing()
        self._unsaved: set[str] = set()
        self._outcomes: Counter[str] = Counter()
        self._called: set[str] = set()
        self._is_called = asyncio.Event()
        self._waiting: dict[str, int] = {}
        """Alerts that wait, by run; the run at the front has its turn."""
        self._failures = 0
        self._next_try = self._next_sweep = 0.0

    def call(self, run_id: str) -> None:
        """Have this run looked at soon."""
        self._called.add(run_id)
        self._is_called.set()

    async def run(self) -> None:
        """Serve the sink until cancelled."""
        while True:
            try:
                if not self._since:
                    self._standing = (await self._store.standings()).get(
                        self._sink.name, self._standing
                    )
                    self._since, self._places = await self._store.begin(self._sink.name)
                await self._look()
                while self._waiting and time.monotonic() >= self._next_try:
                    await self._tell(next(iter(self._waiting)))
            except AcrError as error:
                log.warning("alert sink %s waits for the store: %s", self._sink.name, error)
                self._next_sweep = 0.0
                await asyncio.sleep(self._pace.renew_s)
            else:
                await self._rest()

    async def _look(self) -> None:
        """Find the runs that have something to tell, among those that called, or among all."""
        runs, self._called = self._called, set()
        is_sweep = time.monotonic() >= self._next_sweep
        if is_sweep:
            runs = set(await self._store.runs())
            await self._forget_deleted(runs)
        names = sorted(runs)
        for first in range(0, len(names), RUNS_A_LOOK):
            chunk = names[first : first + RUNS_A_LOOK]
            pages = await self._store.events({name: self._place(name).cursor for name in chunk})
            for name, entries in pages.items():
                alerts, after = heard(name, self._place(name), entries, self._clock(), self._config)
                if alerts:
                    self._waiting[name] = len(alerts)
                else:
                    self._waiting.pop(name, None)
                    self._move(name, after)
                    if len(entries) == PAGE_EVENTS:
                        self.call(name)
        if is_sweep or self._unsaved:
            await self._save()
        if is_sweep:
            self._next_sweep = time.monotonic() + self._pace.sweep_s

    async def _tell(self, run_id: str) -> None:
        """Deliver what a run has to tell, until something goes wrong."""
        place = self._place(run_id)
        entries = (await self._store.events({run_id: place.cursor}))[run_id]
        alerts, rest = heard(run_id, place, entries, self._clock(), self._config)
        del self._waiting[run_id]
        for count, (alert, after) in enumerate(alerts):
            if self._lease.remaining_s <= self._pace.timeout_s:
                outcome = "failed"
                self._next_try = time.monotonic() + self._pace.renew_s
            else:
                outcome = await self._deliver(alert)
                self._outcomes[outcome] += 1
            if outcome == "failed":
                self._waiting[run_id] = len(alerts) - count
            elif outcome == "delivered":
                self._move(run_id, after)
            else:
                self._move(run_id, without(after, alert.rule))
            await self._save()
            if outcome != "delivered":
                if outcome != "failed":
                    self.call(run_id)  # What follows may have hung on it.
                return
        self._move(run_id, rest)
        if len(entries) == PAGE_EVENTS:
            self.call(run_id)

    async def _deliver(self, alert: Alert) -> Literal["delivered", "failed", "refused", "expired"]:
        now_s = self._clock()
        if now_s - alert.at_s > self._pace.max_age_s:
            log.warning("alert sink %s: gave up on %s, it is too old", self._sink.name, alert.id)
            return "expired"
        answer = await self._sink.send(alert)
        if answer.outcome == "delivered":
            if self._failures:
                log.info("alert sink %s takes alerts again", self._sink.name)
            self._failures = 0
            self._standing = replace(self._standing, delivered_at_s=now_s)
            return answer.outcome
        self._standing = replace(self._standing, failed_at_s=now_s, error=answer.text)
        if answer.outcome == "refused":
            log.warning("alert sink %s: gave up on %s: %s", self._sink.name, alert.id, answer.text)
        else:
            self._put_off(answer)
        return answer.outcome

    def _put_off(self, answer: Answer) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning("alert sink %s fails: %s", self._sink.name, answer.text)
        wait_s = backoff_s(self._failures, self._pace) * random.uniform(0.5, 1.0)
        self._next_try = time.monotonic() + max(wait_s, answer.retry_after_s or 0.0)

    def _place(self, run_id: str) -> Place:
        return self._places.get(run_id) or Place(cursor=self._since)

    def _move(self, run_id: str, place: Place) -> None:
        if place != self._place(run_id):
            self._places[run_id] = place
            self._unsaved.add(run_id)

    async def _save(self) -> None:
        """Write what has changed; an end that comes meanwhile waits for it.

        Or the next one would deliver again what was just delivered.
        """
        writing = asyncio.create_task(self._write())
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            with suppress(AcrError):
                await writing
            raise

    async def _write(self) -> None:
        self._standing = replace(self._standing, pending=sum(self._waiting.values()))
        is_kept = await self._store.keep(
            self._lease.holder,
            self._lease.length_s,
            self._sink.name,
            self._standing,
            outcomes=self._outcomes,
            places={run_id: self._places[run_id] for run_id in self._unsaved},
        )
        if not is_kept:
            self._lease.lose()
        self._unsaved.clear()
        self._outcomes.clear()

    async def _forget_deleted(self, runs: set[str]) -> None:
        if missing := self._places.keys() - runs:
            for name in await self._store.forget_deleted(self._sink.name, missing):
                del self._places[name]
                self._waiting.pop(name, None)
                self._unsaved.discard(name)

    async def _rest(self) -> None:
        """Until a run calls, all runs are due for a look, or the sink is for another try."""
        until = min(self._next_sweep, self._next_try) if self._waiting else self._next_sweep
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._is_called.wait()
        self._is_called.clear()


def backoff_s(failures: int, pace: Pace) -> float:
    """How long to leave a sink alone after so many failures in a row, at most.

    >>> [backoff_s(failures, Pace()) for failures in (1, 2, 6, 7, 5000)]
    [1.0, 2.0, 32.0, 60.0, 60.0]
    """
    return min(pace.last_retry_s, pace.first_retry_s * 2.0 ** min(failures - 1, 32))
