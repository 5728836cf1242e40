"""What the door does with any bytes: reads them or refuses them, in bounded time and memory.

    python -m tests.fuzz.decoder [--inputs N] [--seed N] [--only N]

Each input goes through the decoder, the checks, the digest and the engine; what is accepted has to
survive being stored. Some go through HTTP, to a monitor of its own. An input that breaks a promise
is named by its number, and `--only` repeats it.
"""

import argparse
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from monitor_service.api.errors import PROBLEM
from monitor_service.digest import digest
from monitor_service.engine.advance import advance
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import AcrError
from monitor_service.wire import StepReport, decode, observation
from tests.fuzz.inputs import made
from tests.servers import api_server, short_folder, stock_redis

MOST_S = 1.0
"""CPU time of one input; a thousandth of it is usual."""
MOST_BYTES = 128 * 2**20
"""Growth of the process's peak by one input."""
THROUGH_HTTP = 50
"""Every so many inputs, one goes through HTTP."""
PER_RUN = 50
"""Reports to one run; then another, since a run at step 2**53 takes no more."""
NOW_S = 1_700_000_000.0


class BrokenPromiseError(Exception):
    """An input did what no input may do."""


class Door:
    """The way of a report without the network."""

    def __init__(self) -> None:
        self._state = RunState(settings=Settings())
        self.outcomes: Counter[str] = Counter()

    def take(self, body: bytes, media_type: str) -> None:
        """Raises only what is no error of the caller's."""
        try:
            found = decode(body, media_type, list[StepReport] | StepReport)  # type: ignore[arg-type]
            for report in found if isinstance(found, list) else [found]:
                self._record(report)
        except AcrError as error:
            self.outcomes[type(error).__name__] += 1
        else:
            self.outcomes["accepted"] += 1

    def _record(self, report: StepReport) -> None:
        seen = observation(report)
        digest(report, seen)
        if report.step <= self._state.step:
            self._state = RunState(settings=Settings())
        self._state, figures, events = advance(self._state, seen, now_s=NOW_S)
        for exact in (self._state, figures):
            if _stored(exact) != exact:
                raise BrokenPromiseError(f"stored and read again, it differs: {exact}")
        for one in (*events, msgspec.structs.replace(report, rewards=[], primary=None)):
            _stored(one)


def _stored(value: Any) -> Any:
    """What becomes of it in the store."""
    return msgspec.json.decode(msgspec.json.encode(value), type=type(value))


class HttpDoor:
    """The same through a monitor's socket."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._count = 0
        self.outcomes: Counter[str] = Counter()

    def take(self, body: bytes, media_type: str) -> None:
        """Raises BrokenPromiseError for an answer that no caller may get."""
        path = f"/v1/runs/fuzz-{self._count // PER_RUN}"
        if self._count % PER_RUN == 0:
            run = {"id": path.rpartition("/")[2]}
            self._http.post("/v1/runs", json=run).raise_for_status()
        self._count += 1
        headers = {"content-type": media_type}
        reply = self._http.post(f"{path}/steps", content=body, headers=headers)
        self.outcomes[f"HTTP {reply.status_code}"] += 1
        if reply.status_code >= 500:
            raise BrokenPromiseError(f"{reply.status_code}: {reply.text}")
        if reply.is_error and reply.headers["content-type"] != PROBLEM:
            raise BrokenPromiseError(f"{reply.status_code} is {reply.headers['content-type']}")


@contextmanager
def http_door() -> Iterator[HttpDoor]:
    """A monitor of our own."""
    with (
        short_folder() as folder,
        stock_redis(folder) as redis_url,
        api_server(redis_url) as url,
        httpx.Client(base_url=url, timeout=10, trust_env=False) as http,
    ):
        yield HttpDoor(http)


def peak_bytes() -> int:
    """Most memory that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def one_input(door: Door | HttpDoor, seed: int, number: int) -> float:
    """Make this input and put it through; its CPU time in seconds.

    Raises:
        BrokenPromiseError: with the number, and what it did.
    """
    body, media_type = made(Random(f"{seed}:{number}"))
    before, began = peak_bytes(), time.thread_time()
    try:
        door.take(body, media_type)
    except (Exception, RecursionError) as error:
        told = f"input {number} of seed {seed}, {media_type}: {error!r}"
        raise BrokenPromiseError(told) from error
    took_s, grew = time.thread_time() - began, peak_bytes() - before
    if took_s > MOST_S or grew > MOST_BYTES:
        told = f"input {number} of seed {seed} took {took_s:.2f} s and {grew} bytes"
        raise BrokenPromiseError(told)
    return took_s


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.decoder", description="Any bytes are read or refused."
    )
    parser.add_argument("--inputs", type=int, default=200_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of all of them")
    parser.add_argument("--only", type=int, metavar="N", help="this input, both ways")
    options = parser.parse_args(argv)
    if options.inputs < 1:
        parser.error("--inputs: at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Put them all through and say what became of them."""
    options = parsed(argv)
    numbers = range(options.inputs) if options.only is None else [options.only]
    console = Console()
    bars = (TextColumn("inputs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with http_door() as http, Progress(*bars, console=console) as progress:
        door, before = Door(), peak_bytes()
        task = progress.add_task("", total=len(numbers))
        longest_s = 0.0
        for number in numbers:
            longest_s = max(longest_s, one_input(door, options.seed, number))
            if number % THROUGH_HTTP == 0 or options.only is not None:
                one_input(http, options.seed, number)
            progress.advance(task)
    for outcome, count in [*door.outcomes.most_common(), *http.outcomes.most_common()]:
        console.print(f"{count:>9,}  {outcome}")
    grew = (peak_bytes() - before) / 2**20
    console.print(
        f"no crash; at most {1000 * longest_s:.1f} ms of CPU; {grew:.0f} MiB more at peak"
    )


if __name__ == "__main__":
    main()
