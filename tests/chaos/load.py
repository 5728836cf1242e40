"""Trainers that report at a fixed rate whatever happens, and what became of their reports.

The client, its queue and its spool are the real ones. A report says which run and step it is of:
its rewards and a figure are made from the two, so what is stored can be told from what was sent.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np

from monitor_service.resources import Run, StepPage, StepRecord, StepResult
from monitor_service.wire import MSGPACK, Scalars, StepReport, pack
from tests.servers import eventually
from trainer.client import MonitorClient

GROUPS, COMPLETIONS = 16, 8
FSYNC_WINDOW_S = 2.0
"""A store that is killed may lose what it acknowledged since then: while an fsync is under way,
writing the file is put off for up to 2 s."""
PAGE_STEPS = 500
AUDIT_REPORTS = 100


def stamp(run: int, step: int) -> float:
    """A figure that no other report has."""
    return run + step / 2**20


def report(run: int, step: int) -> StepReport:
    """The only report of this step of this run."""
    drawn = np.random.default_rng((run, step)).integers(0, 2, (GROUPS, COMPLETIONS))
    return StepReport(
        step=step, rewards=pack(drawn.astype(float)), scalars=Scalars(loss=stamp(run, step))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What became of the reports of one scenario."""

    sent: int
    """Handed in by trainers."""
    acknowledged: int
    """Answered with `recorded`, or with `duplicate` where the first answer was lost."""
    answered_again: int
    """The latter."""
    stored: int
    """In the history, with the contents that were sent."""
    lost: int
    """Handed in, but not stored."""
    lost_beyond_window: int
    """Of them, those that were acknowledged earlier than `FSYNC_WINDOW_S` before a kill."""
    twice: int
    """Counted or listed more than once."""
    waiting: int
    """Most reports of one trainer that waited for a monitor."""
    longest_call_s: float
    """Of `submit` and `settings_for`, in the thread that trains."""


class Trainer(threading.Thread):
    """A loop that hands in a report every `1 / rate_hz` seconds until it is stopped."""

    def __init__(self, number: int, url: str, spool_dir: Path, rate_hz: float) -> None:
        super().__init__(name=f"trainer-{number}")
        self.number = number
        self.run_id = f"chaos-{number}"
        self.client = MonitorClient(url, run_id=self.run_id, spool_dir=spool_dir)
        self.sent = 0
        self.waiting = 0
        self.longest_call_s = 0.0
        self.samples: list[tuple[float, int]] = []
        self._period_s = 1 / rate_hz
        self._stopping = threading.Event()

    @property
    def acknowledged(self) -> int:
        """Reports that are off this trainer's mind."""
        results = self.client.stats().results
        return results.get("recorded", 0) + results.get("duplicate", 0)

    def run(self) -> None:
        self.client.start()
        due = time.monotonic()
        while not self._stopping.is_set():
            made = report(self.number, self.sent + 1)
            began = time.perf_counter()
            self.client.settings_for(made.step)
            assert self.client.submit(made)
            self.longest_call_s = max(self.longest_call_s, time.perf_counter() - began)
            self.sent += 1
            acknowledged = self.acknowledged
            self.waiting = max(self.waiting, self.sent - acknowledged)
            self.samples.append((time.monotonic(), acknowledged))
            due += self._period_s
            self._stopping.wait(due - time.monotonic())

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def acknowledged_at(self, moment: float, *, at_most: bool) -> int:
        """Reports acknowledged by then: by the newest sample before it, or the oldest after it."""
        before = [count for at, count in self.samples if at <= moment]
        if at_most:
            return before[-1] if before else 0
        return self.samples[len(before)][1] if len(before) < len(self.samples) else self.sent


@dataclass
class Load:
    """All trainers together."""

    trainers: list[Trainer]
    kills: list[float] = field(default_factory=list)
    """Monotonic times at which the store was killed."""

    @property
    def sent(self) -> int:
        """Reports handed in so far."""
        return sum(one.sent for one in self.trainers)

    @property
    def acknowledged(self) -> int:
        """Reports acknowledged so far."""
        return sum(one.acknowledged for one in self.trainers)

    def go_on(self, each: int) -> None:
        """Return once every trainer has handed in so many more, and as many were acknowledged."""
        self.hand_in(each)
        goals = [(one, one.acknowledged + each) for one in self.trainers]
        eventually(lambda: all(one.acknowledged >= goal for one, goal in goals), "answers")

    def hand_in(self, each: int) -> None:
        """Return once every trainer has handed in so many more, whoever takes them."""
        goals = [(one, one.sent + each) for one in self.trainers]
        eventually(lambda: all(one.sent >= goal for one, goal in goals), "training goes on")

    def until_kill(self, each: int) -> None:
        """Go on, for long enough that a store which keeps nothing is found out, and note the time.

        What is acknowledged just before a store is killed may be lost.
        """
        began = time.monotonic()
        while time.monotonic() < began + 1.5 * FSYNC_WINDOW_S:
            self.go_on(each)
        self.kills.append(time.monotonic())

    def settle(self) -> None:
        """Stop, and wait until everything handed in was delivered."""
        for one in self.trainers:
            one.stop()
        eventually(
            lambda: all(one.client.state()["undelivered"] == 0 for one in self.trainers),
            "everything is delivered",
        )
        for one in self.trainers:
            one.client.close()

    def figures(self, url: str) -> Figures:
        """Compare what the monitor has with what was sent; call it once all has settled."""
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
            stored = [_stored(http, one) for one in self.trainers]
        lost = [
            set(range(1, one.sent + 1)) - steps
            for one, (steps, _) in zip(self.trainers, stored, strict=True)
        ]
        return Figures(
            sent=self.sent,
            acknowledged=self.acknowledged,
            answered_again=sum(
                one.client.stats().results.get("duplicate", 0) for one in self.trainers
            ),
            stored=sum(len(steps) for steps, _ in stored),
            lost=sum(map(len, lost)),
            lost_beyond_window=sum(
                not self._is_in_window(one, step)
                for one, steps in zip(self.trainers, lost, strict=True)
                for step in steps
            ),
            twice=sum(twice for _, twice in stored),
            waiting=max(one.waiting for one in self.trainers),
            longest_call_s=max(one.longest_call_s for one in self.trainers),
        )

    def _is_in_window(self, trainer: Trainer, step: int) -> bool:
        """Whether this loss is one the store's file does not exclude."""
        return any(
            trainer.acknowledged_at(kill - FSYNC_WINDOW_S, at_most=True)
            < step
            <= trainer.acknowledged_at(kill, at_most=False)
            for kill in self.kills
        )


@contextmanager
def under_load(url: str, folder: Path, *, trainers: int, rate_hz: float) -> Iterator[Load]:
    """So many trainers, reporting to `url` until they are settled."""
    load = Load([Trainer(number, url, folder / "spool", rate_hz) for number in range(trainers)])
    for one in load.trainers:
        one.start()
    try:
        load.go_on(5)
        yield load
    finally:
        for one in load.trainers:
            one.stop()
            one.client.close()


def _stored(http: httpx.Client, trainer: Trainer) -> tuple[set[int], int]:
    """Steps whose stored contents are those that were sent, and how often one counts twice."""
    path = f"/v1/runs/{trainer.run_id}"
    run = msgspec.json.decode(http.get(path).raise_for_status().content, type=Run)
    assert run.attempt == 1, "no trainer started again"
    records = list(_records(http, path))
    steps = [record.step for record in records]
    assert steps == sorted(steps)
    assert run.counters.completions == run.counters.steps * GROUPS * COMPLETIONS
    versions = [record.settings_version for record in records]
    assert versions == sorted(set(versions)), "each step is a transition of its own"
    right = {one.step for one in records if one.scalars.loss == stamp(trainer.number, one.step)}
    sent = [report(trainer.number, step) for step in steps]
    for first in range(0, len(sent), AUDIT_REPORTS):
        # Whoever repeats a report learns whether its contents are the ones recorded.
        results = _repeated(http, path, sent[first : first + AUDIT_REPORTS])
        right -= {result.step for result in results if result.status != "duplicate"}
    return right, max(run.counters.steps, len(steps)) - len(set(steps))


def _records(http: httpx.Client, path: str) -> Iterator[StepRecord]:
    first: int | None = 1
    while first is not None:
        params: dict[str, Any] = {"from": first, "limit": PAGE_STEPS}
        reply = http.get(f"{path}/steps", params=params).raise_for_status()
        page = msgspec.json.decode(reply.content, type=StepPage)
        yield from page.steps
        first = page.next_from


def _repeated(http: httpx.Client, path: str, reports: list[StepReport]) -> list[StepResult]:
    content = msgspec.msgpack.encode(reports)
    reply = http.post(f"{path}/steps", content=content, headers={"content-type": MSGPACK})
    assert reply.status_code in (200, 409), reply.text
    return msgspec.convert(reply.json()["results"], list[StepResult])
