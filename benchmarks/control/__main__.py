"""What every control law does on synthetic training, by simulation with the real engine.

    python -m benchmarks.control [--runs R] [--steps T] [--workers W] [--json FILE] [--plots DIR]

Groups of 8 answers are drawn from pass rates that drift (`benchmarks.control.scenarios`), and
`advance` takes them as it would take a trainer's. The loop is open: injecting changes nothing
about later rewards, so this shows what laws decide, never what injection does to a model. The same
arguments give the same figures. Exit status 1 when a claim of docs/control.md does not hold.
"""

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.control.chance import chances
from benchmarks.control.claims import judged
from benchmarks.control.scenarios import SCENARIOS
from benchmarks.control.simulate import Task, Trial, simulate
from benchmarks.control.summary import Cell, summarised
from benchmarks.control.table import tables

GROUPS = (1, 8, 32, 128)
"""N, groups of a step."""
RUNS = 10
STEPS = 500
WORKERS = 2
TABLE_WIDTH = 240


def tasks(runs: int, steps: int, groups: Sequence[int] = GROUPS) -> list[Task]:
    """Every run to simulate, those that take longest first."""
    return [
        Task(scenario=scenario, groups=size, run=run, steps=steps)
        for size in sorted(groups, reverse=True)
        for scenario in SCENARIOS
        for run in range(runs)
    ]


def trials(wanted: Sequence[Task], workers: int) -> Iterator[Trial]:
    """The trials, in the order of their tasks; one worker works in this process."""
    if workers == 1:
        yield from map(simulate, wanted)
        return
    # Spawned, not forked: the same on every platform, and safe beside threads.
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(simulate, wanted)


def plain(cell: Cell) -> dict[str, Any]:
    """A cell as JSON takes it, without the figures of every single step."""
    paths = ("injecting", "threshold")
    found = {field.name: getattr(cell, field.name) for field in fields(cell)}
    return {
        **{name: value for name, value in found.items() if name not in paths},
        "scenario": asdict(cell.scenario),
        "laws": {law: asdict(figures) for law, figures in cell.laws.items()},
    }


def main(arguments: Iterable[str] | None = None) -> int:
    """Simulate, print tables and verdicts; returns the exit status."""
    options = _parser().parse_args(None if arguments is None else list(arguments))
    wanted = tasks(options.runs, options.steps)
    progress = track(
        trials(wanted, options.workers),
        total=len(wanted),
        description="simulating",
        console=Console(stderr=True),
    )
    cells = summarised(progress)
    odds = chances(GROUPS, options.steps)
    out = Console(width=TABLE_WIDTH)
    out.print(f"{options.runs} runs of {options.steps} steps for each scenario and N\n")
    for title, table in tables(cells, odds):
        out.print(f"[bold]{title}[/]\n", highlight=False, soft_wrap=True)
        out.print(table)
    verdicts = judged(cells, odds)
    for verdict in verdicts:
        mark = "[green]holds[/]" if verdict.holds else "[red]FAILS[/]"
        out.print(f"{mark}  {verdict.claim}: {verdict.numbers}", highlight=False, soft_wrap=True)
    if options.json:
        found = {
            "runs": options.runs,
            "steps": options.steps,
            "cells": [plain(cell) for cell in cells],
            "chances": [
                {"scenario": name, "groups": groups, "share": share}
                for (name, groups), share in odds.items()
            ],
            "verdicts": [asdict(verdict) for verdict in verdicts],
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.plots:
        # matplotlib is wanted for plots only.
        from benchmarks.control.plots import draw

        draw(cells, options.plots)
    return 0 if all(verdict.holds for verdict in verdicts) else 1


def _parser() -> argparse.ArgumentParser:
    def positive(text: str) -> int:
        if int(text) < 1:
            raise argparse.ArgumentTypeError("must be at least 1")
        return int(text)

    parser = argparse.ArgumentParser(description="What every control law does, by simulation.")
    parser.add_argument("--runs", type=positive, default=RUNS, help="for each scenario and N")
    parser.add_argument(
        "--steps", type=positive, default=STEPS, help=f"of a run; the claims are about {STEPS}"
    )
    workers = min(WORKERS, os.cpu_count() or 1)
    parser.add_argument("--workers", type=positive, default=workers, help="processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="also draw SVG files here")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
