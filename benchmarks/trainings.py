"""Simulated trainings: what a trainer's client says and hears, without the training.

Each has a connection to the monitor, over which it reports a step in msgpack and hears the new
settings in the answer, and one to Redis, on which it hears them again. Many run in one process.
"""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from redis.asyncio import Redis

from benchmarks.connection import Connection
from benchmarks.reports import Reports, creation
from monitor_service.engine.settings import Settings
from monitor_service.resources import Ack
from monitor_service.wire import MSGPACK, decode_settings, settings_channel

ANSWER_TIMEOUT_S = 30.0
RETRY_S = 0.2
BUSY = (429, 503)
"""Statuses of a monitor that cannot take the report now."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What trainings saw; times of `time.perf_counter`, which all processes share.

    Attributes:
        sent_s: when each report was sent that was acknowledged.
        reply_s: from there until the settings of the reply were decoded.
        push_s: from sending until the settings that follow from the report came over Redis.
        lags: steps that the settings held were behind at the start of a step -> how often.
        statuses: what became of the reports, by the answers.
        failures: tries that brought no answer, or one that asks to try again.
        acknowledged: run id -> newest step acknowledged; every step before it was, too.
    """

    sent_s: list[float] = field(default_factory=list)
    reply_s: list[float] = field(default_factory=list)
    push_s: list[float] = field(default_factory=list)
    lags: Counter[int] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Seen") -> None:
        """Take in what others saw."""
        self.sent_s += other.sent_s
        self.reply_s += other.reply_s
        self.push_s += other.push_s
        self.lags += other.lags
        self.statuses += other.statuses
        self.failures += other.failures
        self.acknowledged |= other.acknowledged


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How trainings go on.

    Attributes:
        interval_s: between steps, half to one and a half times; 0: each as soon as it can.
        duration_s: no step begins later.
        redis_url: where settings are published; None: nobody listens.
    """

    interval_s: float
    duration_s: float
    redis_url: str | None


class Training:
    """One run."""

    def __init__(self, run_id: str, url: str, reports: Reports, pace: Pace, seen: Seen) -> None:
        """`seen` is added to."""
        self._run_id, self._url, self._reports, self._pace = run_id, url, reports, pace
        self._seen = seen
        self._random = random.Random(run_id)
        self._line: Connection | None = None
        self._held: Settings | None = None
        self._sent_at: dict[int, float] = {}
        self._listener: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Create the run, and listen where settings are published."""
        self._line = await Connection.to(self._url)
        status, body = await self._line.ask(creation(self._run_id))
        if status != 201:
            raise ValueError(f"run {self._run_id}: status {status}: {body[:300]!r}")
        if self._pace.redis_url:
            subscribed = asyncio.Event()
            self._listener = asyncio.create_task(self._listen(self._pace.redis_url, subscribed))
            await subscribed.wait()

    async def train(self) -> None:
        """Step after step until the time is over."""
        interval_s = self._pace.interval_s
        end_s = time.perf_counter() + self._pace.duration_s
        await asyncio.sleep(self._random.uniform(0, interval_s))
        step = 0
        while (now_s := time.perf_counter()) < end_s:
            step += 1
            if self._held:
                self._seen.lags[step - 1 - self._held.through_step] += 1
            await self._report(step)
            due_s = min(end_s, now_s + interval_s * self._random.uniform(0.5, 1.5))
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))

    async def stop(self) -> None:
        """Hang up."""
        if self._listener:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
        if self._line:
            self._line.close()

    async def _report(self, step: int) -> None:
        """Report until it is acknowledged."""
        (prepared,) = self._reports.requests(self._run_id, [step], MSGPACK, 1)
        while True:
            sent_s = self._sent_at[step] = time.perf_counter()
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    if self._line is None:
                        self._line = await Connection.to(self._url)
                    status, body = await self._line.ask(prepared)
            except OSError:  # The timeout is one, too.
                status, body = 503, b""
                if self._line:
                    self._line.close()
                self._line = None
            if status == 200:
                break
            if status not in BUSY:
                raise ValueError(f"run {self._run_id}, step {step}: {status}: {body[:300]!r}")
            self._seen.failures += 1
            await asyncio.sleep(RETRY_S)
        ack = msgspec.json.decode(body, type=Ack)
        self._take(ack.settings)
        self._seen.reply_s.append(time.perf_counter() - sent_s)
        self._seen.sent_s.append(sent_s)
        self._seen.statuses.update(result.status for result in ack.results)
        self._seen.acknowledged[self._run_id] = step

    async def _listen(self, redis_url: str, subscribed: asyncio.Event) -> None:
        async with Redis.from_url(redis_url) as client, client.pubsub() as subscription:
            await subscription.subscribe(settings_channel(self._run_id))
            async for message in subscription.listen():
                if message["type"] != "message":
                    subscribed.set()
                    continue
                settings = decode_settings(message["data"])
                self._take(settings)
                if sent_s := self._sent_at.pop(settings.through_step, None):
                    self._seen.push_s.append(time.perf_counter() - sent_s)

    def _take(self, settings: Settings) -> None:
        if self._held is None or settings.version > self._held.version:
            self._held = settings


async def started(run_ids: list[str], url: str, pace: Pace, seen: Seen) -> list[Training]:
    """Trainings of 16 groups of 8, ready to begin."""
    reports = Reports(16, 8)
    found = [Training(run_id, url, reports, pace, seen) for run_id in run_ids]
    # Not all at once: that many connections would overrun a listening socket's queue.
    for training in found:
        await training.start()
    return found
