"""One round of one peer, in a process that has nothing else to do.

    python -m benchmarks.peers.logged --peer NAME --steps N --folder DIR --out FILE

Prints nothing of its own: peers do. A few steps open the connections; then some at the pace of a
quick training, which tell what the training thread waits; then many as fast as they go, and the
flush, which tell what the peer sustains.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.peers.peer import PEERS, Logger
from benchmarks.peers.step import Step, steps

WARM_UP_STEPS = 5
PACED_STEPS = 200
PAUSE_S = 0.02


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one round took.

    Attributes:
        blocking_us: of each paced step: wall time in the call.
        cpu_us: of this process per paced step, all its threads; other processes are not in it.
        per_s: steps kept per second, flush included, as fast as they go.
        flush_s: of that, from the last call until everything was kept.
    """

    blocking_us: list[float]
    cpu_us: float
    per_s: float
    flush_s: float


def logged(logger: Logger, num_steps: int, num_paced: int = PACED_STEPS) -> Round:
    """Log `num_paced` steps with pauses and `num_steps` without, then finish."""
    every = steps(WARM_UP_STEPS + num_paced + num_steps)
    first, paced = every[:WARM_UP_STEPS], every[WARM_UP_STEPS:][:num_paced]
    for step in first:
        logger.log(step)
    used_s = time.process_time()
    blocking_us = [_paced_us(logger, step) for step in paced]
    used_s = time.process_time() - used_s
    began = time.perf_counter()
    for step in every[-num_steps:]:
        logger.log(step)
    called = time.perf_counter()
    logger.finish()
    ended = time.perf_counter()
    return Round(
        blocking_us=blocking_us,
        cpu_us=1e6 * used_s / num_paced,
        per_s=num_steps / (ended - began),
        flush_s=ended - called,
    )


def _paced_us(logger: Logger, step: Step) -> float:
    began = time.perf_counter()
    logger.log(step)
    took_s = time.perf_counter() - began
    time.sleep(PAUSE_S)
    return 1e6 * took_s


def main(argv: Sequence[str] | None = None) -> None:
    """Log a round and write what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", choices=[peer.name for peer in PEERS], required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--paced", type=int, default=PACED_STEPS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    (peer,) = (one for one in PEERS if one.name == options.peer)
    with peer.opened(options.folder) as logger:
        found = logged(logger, options.steps, options.paced)
    options.out.write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
