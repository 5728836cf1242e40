"""What logging a step costs the training thread, with us and with others.

    python -m benchmarks.peers [--steps N] [--rounds N] [--json FILE]

Everybody logs the same step, 16 groups of 8 rewards and twelve figures, the way their
documentation shows, with a server on this machine where they have one. Each round is a process of
its own. Peers that are not installed are skipped and named: `pip install -e '.[bench]'`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.table import Table

from benchmarks.figures import Median, machine, median
from benchmarks.output import progress, show, write
from benchmarks.peers.logged import PACED_STEPS, Round
from benchmarks.peers.peer import PEERS, Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a peer costs, over all rounds.

    Attributes:
        blocking_p50_us, blocking_p99_us: wall time of a call at a quick training's pace.
        cpu_us: of the training's process per step at that pace, all threads.
        per_s: steps per second as fast as they go, flush included.
        flush_s: of that, after the last call.
    """

    name: str
    version: str
    keeps: str
    lacks: str
    blocking_p50_us: Median
    blocking_p99_us: Median
    cpu_us: Median
    per_s: Median
    flush_s: Median


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Cost of logging a step."
    )
    parser.add_argument("--steps", type=int, default=500, help="of a round, as fast as they go")
    parser.add_argument("--paced", type=int, default=PACED_STEPS, help="of a round, with pauses")
    parser.add_argument("--rounds", type=int, default=3, help="of each peer, in turn")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="peers whose names begin so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(argv)
    if min(options.steps, options.paced) < 1 or options.rounds < 2:
        parser.error("--steps, --paced: at least 1; --rounds: at least 2")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every peer that is installed, and print a table."""
    options = parsed(argv)
    about = machine("numpy")
    wanted = [one for one in PEERS if one.name.startswith(tuple(options.only or [""]))]
    present = [one for one in wanted if not one.missing]
    absent = [one for one in wanted if one.missing]
    with progress() as bars:
        bar = bars.add_task("rounds", total=options.rounds * len(present))
        found = measure(
            present,
            rounds=options.rounds,
            num_steps=options.steps,
            num_paced=options.paced,
            on_round=lambda: bars.advance(bar),
        )
    show(
        about,
        f"{options.rounds} rounds of {options.paced} steps at 50 a second, then {options.steps} as "
        "fast as they go; medians, p10-p90 of the rounds",
        table(found),
        words(found),
        *(f"skipped: {one.name}, not installed ({one.missing})" for one in absent),
    )
    figures = {
        "machine": about,
        "rounds": options.rounds,
        "steps": options.steps,
        "peers": [asdict(one) for one in found],
        "skipped": [one.name for one in absent],
    }
    write(options.json, figures)


def measure(
    peers: Sequence[Peer],
    *,
    rounds: int,
    num_steps: int,
    num_paced: int,
    on_round: Callable[[], object],
) -> list[Cost]:
    """Every peer in turn, `rounds` times."""
    found: defaultdict[str, list[Round]] = defaultdict(list)
    for at in range(rounds):
        for offset in range(len(peers)):
            peer = peers[(at + offset) % len(peers)]
            found[peer.name].append(_round(peer, num_steps, num_paced))
            on_round()
    return [_cost(peer, found[peer.name]) for peer in peers]


def _round(peer: Peer, num_steps: int, num_paced: int) -> Round:
    with tempfile.TemporaryDirectory(prefix="acr-bench-") as folder:
        out, log = Path(folder) / "round.json", Path(folder) / "log"
        command = [
            *(sys.executable, "-m", "benchmarks.peers.logged", "--peer", peer.name),
            *("--steps", str(num_steps), "--paced", str(num_paced)),
            *("--folder", folder, "--out", str(out)),
        ]
        # Trackio asks for its folder when it is imported.
        environ = {**os.environ, "TRACKIO_DIR": folder}
        with log.open("wb") as file:
            ended = subprocess.run(
                command,
                check=False,
                env=environ,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
            )
        if ended.returncode:
            raise RuntimeError(
                f"{peer.name}: status {ended.returncode}:\n{log.read_text()[-3000:]}"
            )
        return msgspec.json.decode(out.read_bytes(), type=Round)


def _cost(peer: Peer, rounds: Sequence[Round]) -> Cost:
    def blocking(percentile: float) -> Median:
        return median([float(np.percentile(one.blocking_us, percentile)) for one in rounds])

    return Cost(
        name=peer.name,
        version=peer.version,
        keeps=peer.keeps,
        lacks=peer.lacks,
        blocking_p50_us=blocking(50),
        blocking_p99_us=blocking(99),
        cpu_us=median([one.cpu_us for one in rounds]),
        per_s=median([one.per_s for one in rounds]),
        flush_s=median([one.flush_s for one in rounds]),
    )


def table(found: Sequence[Cost]) -> Table:
    """What it costs."""
    heads = ("in the call, us", "p99", "CPU us/step", "steps/s", "flush, s")
    rows = Table("", *heads, box=None)
    for one in found:
        rows.add_row(
            f"{one.name} {one.version}".strip(),
            *(
                f"{part.value:,.0f} ({part.p10:,.0f}-{part.p90:,.0f})"
                for part in (one.blocking_p50_us, one.blocking_p99_us, one.cpu_us, one.per_s)
            ),
            f"{one.flush_s.value:.2f}",
        )
    return rows


def words(found: Sequence[Cost]) -> Table:
    """What one gets for it."""
    rows = Table("", "keeps", "lacks", box=None)
    for one in found:
        rows.add_row(one.name, one.keeps, one.lacks)
    return rows


if __name__ == "__main__":
    main()
