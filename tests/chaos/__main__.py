"""What becomes of reports when parts die under load: every scenario, and one table.

    python -m tests.chaos [--trainers N] [--rate HZ] [--times N] [--json FILE] [NAME ...]

Starts its own monitors and stores on this machine; `NAME` is part of a scenario's name. Columns:
reports handed in, acknowledged, of these answered as repeated, found in the history as they were
sent, lost, stored twice; most that waited in one trainer; the longest call in a training thread.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from tests.chaos.load import Figures
from tests.chaos.scenarios import SCENARIOS, Length
from tests.servers import short_folder

TABLE_WIDTH = 104
COLUMNS = (
    *("what", "sent", "acked", "again", "stored", "lost", "twice", "waited", "call", "took"),
)


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="What becomes of reports when parts die."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a scenario's name")
    parser.add_argument("--trainers", type=int, default=8, help="that report at once")
    parser.add_argument("--rate", type=float, default=25.0, metavar="HZ", help="of each trainer")
    parser.add_argument("--times", type=int, default=5, help="how often a part is killed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(argv)
    if min(options.trainers, options.times) < 1 or not 0 < options.rate <= 1000:
        parser.error("--trainers, --times: at least 1; --rate: in (0, 1000]")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Run the scenarios and print the table; ends with status 1 if a promise was broken."""
    options = parsed(argv)
    logging.getLogger("trainer").setLevel(logging.ERROR)
    length = Length(
        trainers=options.trainers,
        rate_hz=options.rate,
        each=50,
        times=options.times,
        cut_s=15.0,
    )
    chosen = {
        name: scenario
        for name, scenario in SCENARIOS.items()
        if not options.names or any(part in name for part in options.names)
    }
    console = Console(width=max(TABLE_WIDTH, Console().width))
    about = f"{length.trainers} trainers, {length.rate_hz:g} reports/s each"
    table = Table(*COLUMNS, title=about)
    found: dict[str, Figures] = {}
    bars = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*bars, console=console) as progress:
        task = progress.add_task("", total=len(chosen))
        for name, scenario in chosen.items():
            progress.update(task, description=name)
            began = time.monotonic()
            with short_folder() as folder:
                found[name] = scenario(folder, length)
            table.add_row(name, *_cells(found[name]), f"{time.monotonic() - began:.0f} s")
            progress.advance(task)
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps({name: asdict(one) for name, one in found.items()}))
    if any(one.lost_beyond_window or one.twice for one in found.values()):
        raise SystemExit(1)


def _cells(figures: Figures) -> list[str]:
    lost = f"{figures.lost}"
    if figures.lost > figures.lost_beyond_window:
        lost += f" ({figures.lost - figures.lost_beyond_window} in the window)"
    counts = (figures.sent, figures.acknowledged, figures.answered_again, figures.stored)
    return [
        *map(str, counts),
        *(
            lost,
            f"{figures.twice}",
            f"{figures.waiting}",
            f"{1000 * figures.longest_call_s:.1f} ms",
        ),
    ]


if __name__ == "__main__":
    main()
