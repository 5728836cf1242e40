"""The closed loop: a report sent, and the settings that follow from it in the trainer's memory.

    python -m benchmarks.loop [--rounds N] [--seconds S] [--json FILE]

One `acr serve` with its embedded store, and simulated trainings in processes beside it: each
reports 16 groups of 8 completions every second or so, in msgpack over a connection of its own, and
hears the new settings twice, in the answer and published by Redis. The last level has no pauses:
what one worker process can take. Everything shares this machine, so delays are upper bounds; the
CPU time of the service's process says how many trainings a core of its own would carry.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from benchmarks.figures import machine
from benchmarks.loop.measure import Delay, Looped, measure
from benchmarks.output import progress, show, write
from benchmarks.servers import monitor
from benchmarks.worker import workers


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loop", description="Delay of the closed loop."
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each level, in turn")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round")
    parser.add_argument("--processes", type=int, default=2, help="that simulate trainings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(argv)
    if options.rounds < 2 or options.seconds <= 0 or options.processes < 1:
        parser.error("--rounds: at least 2; --seconds: above 0; --processes: at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every level and print two tables."""
    options = parsed(argv)
    about = machine("uvicorn", "uvloop", "redis", "msgspec", "numpy")
    with (
        tempfile.TemporaryDirectory(prefix="acr-bench-") as folder,
        monitor(Path(folder)) as server,
        workers(options.processes) as processes,
        progress() as bars,
    ):
        bar = bars.add_task("levels", total=None)
        found = measure(
            server,
            processes,
            rounds=options.rounds,
            duration_s=options.seconds,
            on_turn=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    show(
        about,
        f"{options.rounds} rounds of {options.seconds:g} s; p50 and p99 of a round, as median and "
        "p10-p90 of the rounds",
        delays(found),
        loads(found),
    )
    figures = {
        "machine": about,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "levels": [
            {**asdict(one), "lag_max": one.lag_max, "trainers_per_core": one.trainers_per_core}
            for one in found
        ],
    }
    write(options.json, figures)


def delays(found: Sequence[Looped]) -> Table:
    """How long the settings take, by either way."""
    heads = ("trainers", "every", "way", "p50, ms", "p99, ms", "max, ms", "steps behind")
    table = Table(*heads, box=None)
    for one in found:
        known = sum(one.lags.values())
        lags = ", ".join(f"{lag}: {times / known:.2%}" for lag, times in one.lags.items())
        table.add_row(*_level(one), "reply", *_delay(one.reply), lags)
        if one.push:
            table.add_row("", "", "Redis", *_delay(one.push))
    return table


def loads(found: Sequence[Looped]) -> Table:
    """What it takes."""
    table = Table(
        *("trainers", "every", "reports/s", "lost", "CPU us/report", "service, of a core"),
        *("Redis", "load, busiest", "trainers a core carries"),
        box=None,
    )
    for one in found:
        table.add_row(
            *_level(one),
            f"{one.per_s.value:.0f}",
            str(one.reports - one.statuses.get("recorded", 0)),
            f"{one.service_us.value:.0f}",
            *(f"{part.value:.1%}" for part in (one.service_share, one.redis_share)),
            f"{one.load_share:.1%}",
            f"{one.trainers_per_core:,.0f}" if one.level.interval_s >= 1 else "",
        )
    return table


def _level(one: Looped) -> tuple[str, str]:
    interval_s = one.level.interval_s
    return str(one.level.trainers), f"{interval_s:g} s" if interval_s else "no pause"


def _delay(found: Delay) -> tuple[str, str, str]:
    p50, p99 = (f"{one.value:.2f} ({one.p10:.2f}-{one.p90:.2f})" for one in (found.p50, found.p99))
    return p50, p99, f"{found.max:.1f}"


if __name__ == "__main__":
    main()
