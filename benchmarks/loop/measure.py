"""The closed loop under load: how long new settings take, and what the service spends on it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.figures import Median, median
from benchmarks.processes import cpu_s, redis_pid
from benchmarks.trainings import Pace, Seen, started
from benchmarks.worker import Stages, Worker
from tests.servers import AcrServe


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """So many trainings at once.

    Attributes:
        trainers: of them.
        interval_s: between the steps of one, on average; 0: each as soon as it can.
        listens: whether they hear settings over Redis, too.
    """

    trainers: int
    interval_s: float
    listens: bool = True


LEVELS = (
    Level(trainers=1, interval_s=0.05),
    Level(trainers=50, interval_s=1.0),
    Level(trainers=500, interval_s=1.0),
    Level(trainers=500, interval_s=0.0, listens=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """From sending a report to its settings in the trainer's memory, milliseconds.

    Attributes:
        p50, p99: of a round; the median of the rounds.
        max: of all rounds.
    """

    p50: Median
    p99: Median
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Looped:
    """What was seen at one level.

    Attributes:
        reports: acknowledged, in all rounds.
        per_s: acknowledged per second.
        reply: the way over the answer.
        push: the way over Redis; None when nobody listened.
        pushed: settings that came that way.
        lags: steps that the settings held were behind at the start of a step -> how often.
        statuses: what became of the reports.
        failures: tries without an answer.
        service_share: of one core that the service's process used.
        redis_share: the same of its Redis.
        load_share: the same of the busiest process that simulates.
        service_us: CPU of the service's process per report, microseconds.
    """

    level: Level
    reports: int
    per_s: Median
    reply: Delay
    push: Delay | None
    pushed: int
    lags: dict[int, int]
    statuses: dict[str, int]
    failures: int
    service_share: Median
    redis_share: Median
    load_share: float
    service_us: Median

    @property
    def lag_max(self) -> int:
        """Steps."""
        return max(self.lags)

    @property
    def trainers_per_core(self) -> float:
        """That would keep one core busy at this interval, by the CPU time that these took."""
        return self.level.trainers / self.service_share.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of one level."""

    seen: Seen
    wall_s: float
    service_s: float
    redis_s: float
    load_s: float


def measure(
    server: AcrServe,
    processes: Sequence[Worker],
    *,
    levels: Sequence[Level] = LEVELS,
    rounds: int,
    duration_s: float,
    on_turn: Callable[[int, int], None] = lambda done, total: None,
) -> list[Looped]:
    """Every level in turn, `rounds` times; trainings are new ones each time."""
    found: dict[Level, list[Round]] = {level: [] for level in levels}
    for at in range(rounds):
        for done, level in enumerate(levels, at * len(levels) + 1):
            found[level].append(_round(server, processes, level, duration_s, f"{at}-{done}"))
            on_turn(done, rounds * len(levels))
    return [_looped(level, its) for level, its in found.items()]


def _round(
    server: AcrServe, processes: Sequence[Worker], level: Level, duration_s: float, name: str
) -> Round:
    pace = Pace(
        interval_s=level.interval_s,
        duration_s=duration_s,
        redis_url=server.redis_url if level.listens else None,
    )
    run_ids = [f"loop-{name}-{number}" for number in range(level.trainers)]
    used = processes[: level.trainers]
    for at, process in enumerate(used):
        process.go_on(partial(_trained, run_ids[at :: len(used)], server.url, pace))
    for process in used:
        process.reached()
    pids = (server.pid, redis_pid(server.redis_url))
    before, began = [cpu_s(pid) for pid in pids], time.perf_counter()
    for process in used:
        process.go_on()
    seen, loads = Seen(), []
    for process in used:
        theirs, load_s = process.reached()
        seen.add(theirs)
        loads.append(load_s)
    service_s, redis_s = (cpu_s(pid) - then for pid, then in zip(pids, before, strict=True))
    return Round(
        seen=seen,
        wall_s=time.perf_counter() - began,
        service_s=service_s,
        redis_s=redis_s,
        load_s=max(loads),
    )


async def _trained(run_ids: list[str], url: str, pace: Pace) -> Stages:
    """What a simulating process does: (what its trainings saw, its CPU seconds)."""
    seen = Seen()
    trainings = await started(run_ids, url, pace, seen)
    yield len(trainings)
    began = time.process_time()
    await asyncio.gather(*(training.train() for training in trainings))
    used_s = time.process_time() - began
    await asyncio.gather(*(training.stop() for training in trainings))
    yield seen, used_s


def _looped(level: Level, rounds: list[Round]) -> Looped:
    total = Seen()
    for one in rounds:
        total.add(one.seen)
    return Looped(
        level=level,
        reports=len(total.reply_s),
        per_s=median([len(one.seen.reply_s) / one.wall_s for one in rounds]),
        reply=_delay([one.seen.reply_s for one in rounds]),
        push=_delay([one.seen.push_s for one in rounds]) if level.listens else None,
        pushed=len(total.push_s),
        lags=dict(sorted(total.lags.items())),
        statuses=dict(total.statuses),
        failures=total.failures,
        service_share=median([one.service_s / one.wall_s for one in rounds]),
        redis_share=median([one.redis_s / one.wall_s for one in rounds]),
        load_share=max(one.load_s / one.wall_s for one in rounds),
        service_us=median([1e6 * one.service_s / len(one.seen.reply_s) for one in rounds]),
    )


def _delay(rounds: list[list[float]]) -> Delay:
    return Delay(
        p50=median([1e3 * float(np.percentile(one, 50)) for one in rounds]),
        p99=median([1e3 * float(np.percentile(one, 99)) for one in rounds]),
        max=1e3 * max(map(max, rounds)),
    )
