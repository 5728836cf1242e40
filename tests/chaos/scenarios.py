"""Each part dies under load, or hangs, or fills up: the scenarios, one function each.

They take a folder and say what became of the reports. Waiting is for counts of reports, not for
time; only a pause or a cut has a length.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import httpx

from tests.chaos.balancer import balancer
from tests.chaos.disks import pid_of, small_disk
from tests.chaos.load import Figures, Load, under_load
from tests.servers import AcrServe, acr_serve, answers, eventually, stock_redis

ANSWER_S = 8.0
"""Within this a monitor answers whatever its store does: it waits for 5 s itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How hard it is pushed."""

    trainers: int = 4
    rate_hz: float = 40.0
    """Reports of each trainer."""
    each: int = 10
    """Reports of each trainer before, between and after what happens."""
    times: int = 1
    """How often a part is killed."""
    pause_s: float = 20.0
    """Of a Redis that hangs."""
    cut_s: float = 3.0
    """Of a network that is cut."""


Scenario = Callable[[Path, Length], Figures]


def replica_killed(folder: Path, length: Length) -> Figures:
    """kill -9 of one of two monitors on one Redis, then of the other, behind a balancer."""
    with ExitStack() as stack:
        url = stack.enter_context(stock_redis(folder / "redis"))
        replicas = [
            stack.enter_context(acr_serve(folder / name, "--redis-url", url)) for name in "ab"
        ]
        front = stack.enter_context(balancer([one.url for one in replicas]))
        load = stack.enter_context(_load(front.url, folder, length))
        for _ in range(length.times):
            for victim in replicas:
                load.go_on(length.each)
                victim.kill9()
                load.go_on(length.each)
                victim.restart()
        load.go_on(length.each)
        load.settle()
        return load.figures(replicas[1].url)


def redis_killed(folder: Path, length: Length) -> Figures:
    """kill -9 of a stock Redis with its append-only file; it is started again on that file."""
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        url = server.enter_context(stock_redis(folder / "redis"))
        monitor = stack.enter_context(acr_serve(folder / "m", "--redis-url", url))
        load = stack.enter_context(_load(monitor.url, folder, length))
        for _ in range(length.times):
            load.until_kill(length.each)
            os.kill(pid_of(url), SIGKILL)
            eventually(lambda: not answers(url), "Redis is dead")
            load.hand_in(length.each)
            server.close()
            server.enter_context(stock_redis(folder / "redis"))
        load.go_on(length.each)
        load.settle()
        return load.figures(monitor.url)


def valkey_killed(folder: Path, length: Length) -> Figures:
    """kill -9 of the embedded Valkey; the monitor starts it again on its file."""
    with acr_serve(folder / "m") as monitor, _load(monitor.url, folder, length) as load:
        for _ in range(length.times):
            load.until_kill(length.each)
            os.kill(pid_of(monitor.redis_url), SIGKILL)
            load.go_on(length.each)
        load.settle()
        return load.figures(monitor.url)


def redis_paused(folder: Path, length: Length) -> Figures:
    """Redis hangs for a while, its connections open; the monitor says so and stays alive."""
    with ExitStack() as stack:
        url = stack.enter_context(stock_redis(folder / "redis"))
        monitor = stack.enter_context(acr_serve(folder / "m", "--redis-url", url))
        load = stack.enter_context(_load(monitor.url, folder, length))
        load.go_on(length.each)
        probe = Probe(monitor)
        with _paused(pid_of(url)):
            until = time.monotonic() + length.pause_s
            assert not probe.is_taken()
            while time.monotonic() < until:
                load.hand_in(1)
                assert httpx.get(f"{monitor.url}/healthz", timeout=2).status_code == 200
        load.go_on(length.each)
        load.settle()
        return load.figures(monitor.url)


def disk_full(folder: Path, length: Length) -> Figures:
    """No room for the store's file, then room again, then kill -9 of the store."""
    with small_disk(folder) as disk, _load(disk.server.url, folder, length) as load:
        load.go_on(length.each)
        probe = Probe(disk.server)
        disk.fill()
        eventually(lambda: not probe.is_taken(), "nothing is taken")
        taken = load.acknowledged
        load.hand_in(length.each)
        assert load.acknowledged == taken, "nothing was taken in the meantime"
        disk.free()
        load.until_kill(length.each)
        disk.kill_store()
        load.go_on(length.each)
        load.settle()
        probe.check()
        return load.figures(disk.server.url)


def network_cut(folder: Path, length: Length) -> Figures:
    """Nothing gets through and nothing is closed; then half-closed; then all of it arrives late."""
    with (
        acr_serve(folder / "m") as monitor,
        balancer([monitor.url]) as front,
        _load(front.url, folder, length) as load,
    ):
        load.go_on(length.each)
        front.cut()
        until = time.monotonic() + length.cut_s
        while time.monotonic() < until:
            load.hand_in(1)
        front.half_close()
        load.hand_in(length.each)
        front.resume()
        load.go_on(length.each)
        load.settle()
        return load.figures(monitor.url)


SCENARIOS: dict[str, Scenario] = {
    "monitor killed": replica_killed,
    "Redis killed": redis_killed,
    "Valkey killed": valkey_killed,
    "Redis paused": redis_paused,
    "disk full": disk_full,
    "network cut": network_cut,
}


class Probe:
    """Creates runs, to see whether anything is taken."""

    def __init__(self, monitor: AcrServe) -> None:
        self._runs = f"{monitor.url}/v1/runs"
        self._taken: list[str] = []

    def is_taken(self) -> bool:
        """Whether the next one is; if not, it is refused as it should be."""
        name = f"probe-{len(self._taken)}"
        reply = httpx.post(self._runs, json={"id": name}, timeout=ANSWER_S)
        if reply.status_code == 201:
            self._taken.append(name)
            return True
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1"), reply.text
        return False

    def check(self) -> None:
        """All that was said to be taken is there."""
        for name in self._taken:
            assert httpx.get(f"{self._runs}/{name}").status_code == 200, name


def _load(url: str, folder: Path, length: Length) -> AbstractContextManager[Load]:
    return under_load(url, folder, trainers=length.trainers, rate_hz=length.rate_hz)


@contextmanager
def _paused(pid: int) -> Iterator[None]:
    os.kill(pid, SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, SIGCONT)
