"""CPU time that a report costs the service, against a plain service and against the floors.

    python -m benchmarks.ingest [--rounds N] [--reports N] [--sizes GxN ...] [--json FILE]

Each contender is one worker process with a Redis of its own on this machine; a further process
sends. What counts is the CPU time of the service's process, user and system; that of its Redis is
told beside it. Contenders take turns, so ratios within a round see the same machine; the second
`acr serve` shows what part of a ratio is noise. Exit status 1 when a claim does not hold.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.figures import Median, machine, median
from benchmarks.ingest.contenders import AGAIN, BATCH_REPORTS, OURS, running
from benchmarks.ingest.measure import RUNS, SIZES, Cost, measure
from benchmarks.output import progress, show, verdicts, write
from benchmarks.worker import workers

CLAIMS = {(128, 8): 5.0, (1024, 16): 15.0}
"""Size -> times that a report to `acr serve`, as the trainer's client sends it, is cheaper."""
STEP = RUNS * BATCH_REPORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a claim holds."""

    claim: str
    found: float
    """Median ratio."""
    holds: bool


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ingest", description="CPU time of a report."
    )
    parser.add_argument("--rounds", type=int, default=15, help="bursts of each contender and size")
    parser.add_argument(
        "--reports", type=int, default=2 * STEP, help=f"of a burst; a multiple of {STEP}"
    )
    parser.add_argument(
        "--sizes",
        type=_size,
        nargs="+",
        default=SIZES,
        metavar="GxN",
        help="groups x completions of each, such as 128x8",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(argv)
    if options.rounds < 2:
        parser.error("--rounds: at least 2")
    if options.reports < STEP or options.reports % STEP:
        parser.error(f"--reports: a multiple of {STEP}")
    return options


def _size(text: str) -> tuple[int, int]:
    groups, size = map(int, text.split("x"))
    return groups, size


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and verdicts; returns the exit status."""
    options = parsed(argv)
    about = machine("fastapi", "pydantic", "uvicorn", "uvloop", "redis", "msgspec", "numpy")
    with (
        tempfile.TemporaryDirectory(prefix="acr-bench-") as folder,
        running(Path(folder)) as contenders,
        workers(1) as (sender,),
        progress() as bars,
    ):
        bar = bars.add_task("bursts", total=None)
        costs = measure(
            contenders,
            sender,
            sizes=options.sizes,
            rounds=options.rounds,
            num_reports=options.reports,
            on_turn=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    found = judged(costs)
    show(
        about,
        f"{options.rounds} rounds of {options.reports} reports; medians, ratios with the 90 % "
        "interval of their median and p10-p90 of the rounds",
        table(costs),
        "noise, the second acr serve over the first: "
        + ", ".join(
            f"{size} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
            for size, one in noise(costs).items()
        ),
        f"the load process was busy for at most {_busiest(costs):.0%} of the time while it sent to "
        "a service",
        verdicts((f"{one.claim}: {one.found:.1f}", one.holds) for one in found),
    )
    figures = {
        "machine": about,
        "rounds": options.rounds,
        "reports": options.reports,
        "costs": [asdict(one) for one in costs],
        "noise": {size: asdict(one) for size, one in noise(costs).items()},
        "verdicts": [asdict(one) for one in found],
    }
    write(options.json, figures)
    return 0 if all(one.holds for one in found) else 1


def judged(costs: Sequence[Cost]) -> list[Verdict]:
    """The claims about the sizes that were measured."""
    ratios = {(one.groups, one.size): one.ratio.value for one in costs if one.name == OURS}
    return [
        Verdict(
            claim=f"{size[0]} x {size[1]}: baseline over {OURS}, at least {wanted:g}",
            found=ratios[size],
            holds=ratios[size] >= wanted,
        )
        for size, wanted in CLAIMS.items()
        if size in ratios
    ]


def noise(costs: Sequence[Cost]) -> dict[str, Median]:
    """Size -> the second `acr serve` over the first, which is the same program."""
    rounds = {
        (f"{one.groups} x {one.size}", one.name): one.rounds_us
        for one in costs
        if one.name in (OURS, AGAIN)
    }
    sizes = dict.fromkeys(size for size, _ in rounds)
    return {
        size: median(
            [
                again / ours
                for again, ours in zip(rounds[size, AGAIN], rounds[size, OURS], strict=True)
            ]
        )
        for size in sizes
    }


def _busiest(costs: Sequence[Cost]) -> float:
    return max(one.load_share for one in costs if one.redis_us)


def table(costs: Sequence[Cost]) -> Table:
    """One row for each contender and size."""
    found = Table("groups x completions", "", "CPU us/report", "Redis", "baseline/it", box=None)
    for at, one in enumerate(costs):
        is_first = at == 0 or costs[at - 1].groups != one.groups
        redis_us = f"{one.redis_us.value:.0f}" if one.redis_us else ""
        ratio = one.ratio
        found.add_row(
            f"{one.groups} x {one.size}" if is_first else "",
            one.name,
            f"{one.service_us.value:.0f}",
            redis_us,
            f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] "
            f"({ratio.p10:.2f}-{ratio.p90:.2f})",
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
