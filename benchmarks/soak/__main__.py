"""Many trainings for many minutes: is anything lost, and does anything grow?

    python -m benchmarks.soak [--trainers N] [--minutes T] [--json FILE] [--plot FILE]

One `acr serve` with its embedded store; simulated trainings report 16 groups of 8 completions each
and hear the settings both ways, and `/metrics` is scraped every 15 s. In the end every step that
was acknowledged is looked for in the run's counter and in its history. Memory is flat when the
service's process grows along its trend by at most 5 % after a warm-up of a quarter of the time;
the store is apart, since it keeps what was reported. Latency is flat when its median in the last
third after the warm-up is at most 1.5 times that in the first. Exit status 1 when a step is lost or
stored twice.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.figures import machine
from benchmarks.output import progress, show, verdicts, write
from benchmarks.servers import monitor
from benchmarks.soak.flatness import MOST_GROWTH, MOST_SLOWER, Flatness, flatness, windows
from benchmarks.soak.measure import Watched, soak
from benchmarks.soak.verify import Kept, verify
from benchmarks.trainings import Seen
from benchmarks.worker import workers


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description="A long load: nothing lost, nothing grows."
    )
    parser.add_argument("--trainers", type=int, default=200, help="runs that report")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between a run's steps")
    parser.add_argument("--sample", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--processes", type=int, default=1, help="that simulate trainings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them here, as SVG")
    options = parser.parse_args(argv)
    if min(options.trainers, options.processes) < 1 or options.interval < 0 or options.sample <= 0:
        parser.error("--trainers, --processes: at least 1; --sample: above 0")
    if options.minutes * 60 < 8 * options.sample:
        parser.error("--minutes: at least 8 samples")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Load, verify, judge; returns the exit status."""
    options = parsed(argv)
    about = machine("uvicorn", "uvloop", "redis", "msgspec")
    duration_s = 60 * options.minutes
    with (
        tempfile.TemporaryDirectory(prefix="acr-bench-") as folder,
        monitor(Path(folder)) as server,
        workers(options.processes) as processes,
        progress() as bars,
    ):
        bar = bars.add_task("seconds", total=round(duration_s))
        began_s = time.perf_counter()
        seen, watched = soak(
            server,
            processes,
            trainers=options.trainers,
            interval_s=options.interval,
            duration_s=duration_s,
            sample_every_s=options.sample,
            on_sample=lambda done_s, total_s: bars.update(bar, completed=round(done_s)),
        )
        wall_s = time.perf_counter() - began_s
        kept = verify(server.url, seen.acknowledged)
    judged = flatness(seen, watched)
    by_time = windows(seen, watched.at_s[0], duration_s, options.sample)
    show(
        about,
        f"{options.trainers} trainings for {options.minutes:g} minutes, a step every "
        f"{options.interval:g} s, on one worker process",
        table(seen, watched, kept, judged),
        verdicts(claims(kept, judged)),
    )
    figures: dict[str, Any] = {
        "machine": about,
        "trainers": options.trainers,
        "interval_s": options.interval,
        "wall_s": wall_s,
        "kept": asdict(kept),
        "statuses": dict(seen.statuses),
        "failures": seen.failures,
        "latency_ms": {f"p{q:g}": value for q, value in _latency(seen).items()},
        "flatness": asdict(judged),
        "watched": asdict(watched),
        "windows": {name: values.tolist() for name, values in asdict(by_time).items()},
    }
    write(options.json, figures)
    if options.plot:
        # matplotlib is wanted for plots only.
        from benchmarks.soak.plot import draw

        draw(watched, by_time, options.plot)
    return 0 if kept.is_right else 1


def claims(kept: Kept, judged: Flatness) -> list[tuple[str, bool]]:
    """What is said of the result, and whether it holds."""
    return [
        (f"nothing is lost ({kept.lost}), nothing is stored twice ({kept.twice})", kept.is_right),
        (
            f"memory is flat: {judged.service_growth:+.1%} along the trend, at most "
            f"{MOST_GROWTH:.0%}",
            judged.memory_is_flat,
        ),
        (
            f"latency is flat: {judged.slower:.2f} times, at most {MOST_SLOWER:g}",
            judged.latency_is_flat,
        ),
    ]


def _latency(seen: Seen) -> dict[float, float]:
    """Percentile -> milliseconds, over everything."""
    return {q: 1e3 * float(np.percentile(seen.reply_s, q)) for q in (50, 99, 99.9, 100)}


def table(seen: Seen, watched: Watched, kept: Kept, judged: Flatness) -> Table:
    """What was seen."""
    found = Table("", "", box=None, show_header=False)
    lasted_s = watched.at_s[-1] - watched.at_s[0]
    latency = ", ".join(f"p{q:g} {value:.1f}" for q, value in _latency(seen).items())
    busy = (watched.cpu_s[-1] - watched.cpu_s[0]) / lasted_s
    slowest = f"{1e3 * max(watched.scrape_s):.0f}" if watched.scrape_s else "-"
    found.add_row("reports acknowledged", f"{kept.acknowledged:,}")
    found.add_row("in the runs' counters, in their histories", f"{kept.counted:,}, {kept.listed:,}")
    found.add_row("lost, twice", f"{kept.lost}, {kept.twice}")
    found.add_row("tries repeated", str(seen.failures))
    found.add_row("report to settings, ms", latency)
    found.add_row("scrapes of /metrics, slowest in ms", f"{len(watched.scrape_s)}, {slowest}")
    found.add_row("service, of a core", f"{busy:.1%}")
    found.add_row("service's memory after the warm-up, MB", f"{judged.service_mb:.1f}")
    found.add_row("its growth, bytes per report", f"{judged.service_bytes_per_report:.1f}")
    found.add_row("the store's, bytes per report", f"{judged.store_bytes_per_report:,.0f}")
    return found


if __name__ == "__main__":
    sys.exit(main())
