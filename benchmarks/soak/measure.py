"""A long load: trainings report for minutes while memory and latency are watched."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import httpx
import redis

from benchmarks.processes import cpu_s, resident_bytes
from benchmarks.trainings import Pace, Seen, started
from benchmarks.worker import Stages, Worker
from tests.servers import AcrServe

SCRAPE_EVERY_S = 15.0
"""As Prometheus does by default here: it is part of the load of a real monitor."""


@dataclass(slots=True, kw_only=True)
class Watched:
    """Samples of the service, taken every few seconds.

    Attributes:
        at_s: when, on the clock of `Seen`.
        service_bytes: of the service's process in RAM.
        store_bytes: that Redis has allocated for data and buffers.
        cpu_s: of the service's process so far.
        scrape_s: what each `GET /metrics` took.
    """

    at_s: list[float] = field(default_factory=list)
    service_bytes: list[int] = field(default_factory=list)
    store_bytes: list[int] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    scrape_s: list[float] = field(default_factory=list)


def soak(
    server: AcrServe,
    processes: Sequence[Worker],
    *,
    trainers: int,
    interval_s: float,
    duration_s: float,
    sample_every_s: float,
    on_sample: Callable[[float, float], None] = lambda done_s, total_s: None,
) -> tuple[Seen, Watched]:
    """Have `trainers` runs report for so long; every process simulates its share of them.

    Args:
        server: of the monitor.
        processes: simulate.
        trainers: runs.
        interval_s: between the steps of a run, on average.
        duration_s: of it all.
        sample_every_s: between two looks at the service.
        on_sample: told (seconds done, seconds in all).
    """
    pace = Pace(interval_s=interval_s, duration_s=duration_s, redis_url=server.redis_url)
    run_ids = [f"soak-{number}" for number in range(trainers)]
    used = processes[:trainers]
    for at, process in enumerate(used):
        process.go_on(partial(_trained, run_ids[at :: len(used)], server.url, pace))
    for process in used:
        process.reached()
    for process in used:
        process.go_on()
    watched, over = Watched(), threading.Event()
    end_s = time.perf_counter() + duration_s
    watcher = threading.Thread(target=_watch, args=(server, watched, sample_every_s, over))
    watcher.start()
    try:
        while (left_s := end_s - time.perf_counter()) > 0:
            on_sample(duration_s - left_s, duration_s)
            time.sleep(min(1.0, left_s))
        seen = Seen()
        for process in used:
            seen.add(process.reached())
    finally:
        over.set()
        watcher.join()
    on_sample(duration_s, duration_s)
    return seen, watched


async def _trained(run_ids: list[str], url: str, pace: Pace) -> Stages:
    """What a simulating process does."""
    seen = Seen()
    trainings = await started(run_ids, url, pace, seen)
    yield len(trainings)
    await asyncio.gather(*(training.train() for training in trainings))
    await asyncio.gather(*(training.stop() for training in trainings))
    yield seen


def _watch(server: AcrServe, watched: Watched, every_s: float, over: threading.Event) -> None:
    """Sample until it is over, and scrape now and then."""
    scraped_s = time.perf_counter()
    with (
        redis.Redis.from_url(server.redis_url) as store,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http,
    ):
        while not over.is_set():
            watched.at_s.append(time.perf_counter())
            watched.service_bytes.append(resident_bytes(server.pid))
            watched.store_bytes.append(int(store.info("memory")["used_memory"]))
            watched.cpu_s.append(cpu_s(server.pid))
            if time.perf_counter() - scraped_s > SCRAPE_EVERY_S:
                scraped_s = time.perf_counter()
                http.get("/metrics").raise_for_status()
                watched.scrape_s.append(time.perf_counter() - scraped_s)
            over.wait(every_s)
