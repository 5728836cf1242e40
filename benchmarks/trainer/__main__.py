"""What our trainer costs, against plain TRL in the same run.

    python -m benchmarks.trainer [--steps N] [--rounds N] [--json FILE]

Starts a monitor of its own (`acr serve`, with its embedded store) on this machine, and measures
whole training steps on the toy, then single calls by the size of the batch. CPU times are of the
training thread; what the client's threads spend is a figure of its own, the monitor's process is
not counted.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import datasets
import torch
import transformers
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from benchmarks.figures import Median, machine
from benchmarks.trainer import calls, steps
from benchmarks.trainer.calls import Calls
from benchmarks.trainer.steps import Steps
from tests.servers import acr_serve
from trainer.client import MonitorClient

REPEATS = 10


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trainer", description="Cost of the hook and the client."
    )
    parser.add_argument("--steps", type=int, default=100, help="training steps of each trainer")
    parser.add_argument("--rounds", type=int, default=50, help="rounds of single calls")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(argv)
    if min(options.steps, options.rounds) < 2:
        parser.error("--steps, --rounds: at least 2")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Measure everything and print two tables."""
    options = parsed(argv)
    warnings.filterwarnings("ignore", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    about = machine("torch", "trl", "transformers", "numpy")
    bars = Progress(
        TextColumn("{task.description:12}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        console=Console(stderr=True),
    )
    with tempfile.TemporaryDirectory(prefix="acr-bench-") as name, bars:
        folder = Path(name)
        with acr_serve(folder / "monitor") as server:
            bar = bars.add_task("steps", total=None)
            trained = steps.measure(
                server.url,
                server.redis_url,
                folder,
                num_steps=options.steps,
                on_step=lambda done, total: bars.update(bar, completed=done, total=total),
            )
            client = MonitorClient(
                server.url,
                run_id="calls",
                redis_url=server.redis_url,
                when_unreachable="fail",
                spool_dir=folder / "spool",
            )
            bars.add_task("calls", total=None)
            with closing(client):
                client.start(0)
                called = calls.measure(client, rounds=options.rounds, repeats=REPEATS)
    figures = {
        "machine": about,
        "steps": asdict(trained),
        "calls": [asdict(one) for one in called],
        "growth": growth(called),
    }
    # What is piped into a file is not to be wrapped.
    out = Console(width=None if sys.stdout.isatty() else 110)
    out.print(", ".join(f"{name} {found}" for name, found in about.items()), soft_wrap=True)
    out.print(
        f"{trained.num_steps} steps of each, {trained.num_injected} of "
        f"{trained.num_steps * trained.num_groups} groups injected; medians, ratios with the 90 % "
        "interval of their median\n",
        soft_wrap=True,
    )
    out.print(steps_table(trained))
    out.print()
    out.print(calls_table(called))
    out.print(_growth_line(called), soft_wrap=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def growth(called: Sequence[Calls]) -> dict[str, float]:
    """The largest batch over the smallest: completions, and the cost of each call."""
    small, large = called[0], called[-1]
    names = ("trl", "hook", "listing", "submit", "settings")
    costs = {
        name: getattr(large, f"{name}_us").value / getattr(small, f"{name}_us").value
        for name in names
    }
    completions = large.groups * large.completions / (small.groups * small.completions)
    return {"groups": large.groups / small.groups, "completions": completions, **costs}


def steps_table(found: Steps) -> Table:
    """One training step."""
    table = Table("one step of the toy", "TRL", "ours", "ours / TRL", "TRL / TRL", box=None)
    table.add_row(
        "CPU of the training thread, ms",
        *(f"{part.value:.1f}" for part in (found.plain_cpu_ms, found.ours_cpu_ms)),
        *(_sure(found.cpu_ratio), _sure(found.cpu_noise)),
    )
    table.add_row(
        "wall clock, ms",
        *(f"{part.value:.1f}" for part in (found.plain_wall_ms, found.ours_wall_ms)),
        *(_sure(found.wall_ratio), _sure(found.wall_noise)),
    )
    table.add_row("in our methods, CPU ms", "", f"{found.hook_ms.value:.2f}")
    table.add_row("in the client, CPU ms", "", f"{found.client_ms.value:.2f}")
    table.add_row("both, of the step's CPU", "", f"{found.share.value:.1%}")
    table.add_row("the client's threads, CPU ms", "", f"{found.threads_ms:.2f}")
    return table


def calls_table(found: Sequence[Calls]) -> Table:
    """Single calls."""
    heads = ("TRL's advantages", "hook", "hook / TRL", "listing", "submit", "settings_for")
    table = Table("CPU us; groups x completions", *heads, box=None)
    for one in found:
        table.add_row(
            f"{one.groups} x {one.completions}",
            *(f"{part.value:.0f}" for part in (one.trl_us, one.hook_us)),
            f"{one.ratio.value:.1f} ({one.ratio.p10:.1f}-{one.ratio.p90:.1f})",
            *(f"{part.value:.0f}" for part in (one.listing_us, one.submit_us)),
            f"{one.settings_us.value:.1f}",
        )
    return table


def _growth_line(called: Sequence[Calls]) -> str:
    found = growth(called)
    return (
        f"largest over smallest: {found['completions']:.0f} times the completions, hook "
        f"{found['hook']:.1f} times the CPU, TRL {found['trl']:.1f}, listing "
        f"{found['listing']:.1f}, submit {found['submit']:.1f}"
    )


def _sure(found: Median) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    main()
