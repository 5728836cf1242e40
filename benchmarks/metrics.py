"""What one scrape of `/metrics` costs, by the number of runs that report.

    python -m benchmarks.metrics [--rounds N] [--json FILE]

One monitor in this process, on an embedded store. Before each scrape every run reports a step, the
worst case; then once more with nothing new. *event loop* is the part of the CPU time that reports
wait for; the rest is spent in a thread. *longest wait*: how late a task of the event loop was that
wakes every millisecond, while the thread held the interpreter.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from rich.table import Table

from benchmarks.figures import Median, machine, median
from benchmarks.output import progress, show, write
from benchmarks.processes import cpu_s, redis_pid
from benchmarks.reports import Reports
from monitor_service.api.scrape import Scrape
from monitor_service.monitor import Monitor
from monitor_service.store.embedded import EmbeddedValkey
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun

LEVELS = (1, 50, 200, 1000)
STEPS_BEFORE = 20
"""Steps of every run before the first scrape, so that its state has grown up."""
_TICK_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """Scrapes of so many runs, milliseconds."""

    runs: int
    all_moved: bool
    cpu_ms: Median
    """Of the monitor's process, both threads."""
    loop_ms: Median
    redis_ms: Median
    wall_ms: Median
    wait_ms: Median
    num_bytes: int


async def measured(url: str, rounds: int) -> list[Scraped]:
    """Every level, on the same store; runs are added from one to the next."""
    store = RedisStore(url)
    monitor, reports, pid = Monitor(store, time.time), Reports(16, 8), redis_pid(url)
    found: list[Scraped] = []
    run_ids: list[str] = []
    step: dict[str, int] = {}
    with progress() as bars:
        bar = bars.add_task("scrapes", total=2 * rounds * len(LEVELS))
        for level in LEVELS:
            for number in range(len(run_ids), level):
                run, _ = await monitor.create(CreateRun(id=f"run-{number:04}"))
                run_ids.append(run.id)
                step[run.id] = STEPS_BEFORE
                first = [reports.of(one) for one in range(1, STEPS_BEFORE + 1)]
                await monitor.recorder.record(run.id, first)
            scrapes: dict[bool, list[tuple[float, ...]]] = {True: [], False: []}
            for _ in range(rounds):
                for run_id in run_ids:
                    step[run_id] += 1
                    await monitor.recorder.record(run_id, [reports.of(step[run_id])])
                for all_moved in (True, False):
                    scrapes[all_moved].append(await _scraped(monitor, pid))
                    bars.advance(bar)
            for all_moved, taken in scrapes.items():
                *times, sizes = zip(*taken, strict=True)
                cpu, loop, server, wall, wait = (median(one).scaled(1e3) for one in times)
                found.append(
                    Scraped(
                        runs=level,
                        all_moved=all_moved,
                        cpu_ms=cpu,
                        loop_ms=loop,
                        redis_ms=server,
                        wall_ms=wall,
                        wait_ms=wait,
                        num_bytes=int(sizes[-1]),
                    )
                )
    monitor.close()
    await store.close()
    return found


async def _scraped(monitor: Monitor, pid: int) -> tuple[float, ...]:
    """CPU, CPU of this thread, CPU of Redis, duration, longest wait, in seconds; bytes."""
    waits: list[float] = []
    ticking = asyncio.create_task(_tick(waits))
    await asyncio.sleep(0.01)
    waits.clear()
    before = time.process_time(), time.thread_time(), cpu_s(pid), time.perf_counter()
    text = await Scrape(monitor).text()
    after = time.process_time(), time.thread_time(), cpu_s(pid), time.perf_counter()
    await asyncio.sleep(2 * _TICK_S)
    ticking.cancel()
    spent = tuple(end - start for start, end in zip(before, after, strict=True))
    return *spent, max(waits), float(len(text))


async def _tick(waits: list[float]) -> None:
    while True:
        due = time.perf_counter() + _TICK_S
        await asyncio.sleep(_TICK_S)
        waits.append(time.perf_counter() - due)


def table(found: Sequence[Scraped]) -> Table:
    """A row for each level."""
    heads = ("runs", "reported since", "CPU, ms", "of it event loop", "Redis, ms", "duration, ms")
    shown = Table(*heads, "longest wait, ms", "kB", box=None)
    for one in found:
        shown.add_row(
            str(one.runs),
            "all" if one.all_moved else "none",
            f"{one.cpu_ms.value:.1f} ({one.cpu_ms.p10:.1f}-{one.cpu_ms.p90:.1f})",
            f"{one.loop_ms.value:.1f}",
            f"{one.redis_ms.value:.1f}",
            f"{one.wall_ms.value:.1f}",
            f"{one.wait_ms.value:.1f} (p90 {one.wait_ms.p90:.1f})",
            f"{one.num_bytes / 1e3:.0f}",
        )
    return shown


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every level and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.metrics", description="Cost of a scrape."
    )
    parser.add_argument("--rounds", type=int, default=20, help="scrapes of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(argv)
    if options.rounds < 2:
        parser.error("--rounds: at least 2")
    about = machine("redis", "msgspec", "uvloop")
    with (
        tempfile.TemporaryDirectory(prefix="acr-bench-") as folder,
        EmbeddedValkey(Path(folder)) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measured(server.url, options.rounds))
    show(about, f"{options.rounds} scrapes of each; median (p10-p90)", table(found))
    write(options.json, {"machine": about, "scrapes": [asdict(one) for one in found]})


if __name__ == "__main__":
    main()
