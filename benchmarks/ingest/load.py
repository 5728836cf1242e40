"""The load: a process of its own that prepares requests, sends them when told, and checks answers.

Each run has a keep-alive connection and sends its reports one after the other, as a trainer does;
several runs send at once. What is prepared and what is checked is outside of what is timed.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

import msgspec

from benchmarks.connection import Connection
from benchmarks.reports import Reports, creation
from benchmarks.worker import Stages, Worker
from monitor_service.resources import Ack
from monitor_service.wire import MSGPACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What to send.

    Attributes:
        url: of the service.
        runs: run ids, one connection for each.
        groups, size: of every report.
        first_step: the runs are created when it is 1.
        num_steps: reported by each run.
        media_type: JSON with lists, or msgpack with packed rewards.
        per_request: reports in one request.
        is_service: False: whoever answers keeps nothing, and only the status is checked.
    """

    url: str
    runs: tuple[str, ...]
    groups: int
    size: int
    first_step: int
    num_steps: int
    media_type: str = MSGPACK
    per_request: int = 1
    is_service: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What came of it.

    Attributes:
        reports: recorded, by the answers.
        wall_s: from the first request to the last answer.
        cpu_s: of the load process meanwhile.
    """

    reports: int
    wall_s: float
    cpu_s: float


def prepare(worker: Worker, burst: Burst) -> None:
    """Returns when every request is ready to be sent."""
    worker.go_on(partial(_burst, burst))
    worker.reached()


def fire(worker: Worker) -> None:
    """Send them; returns with the last answer."""
    worker.go_on()
    worker.reached()


def outcome(worker: Worker) -> Sent:
    """Check the answers; the process fails when a report was not recorded."""
    worker.go_on()
    sent: Sent = worker.reached()
    return sent


async def _burst(burst: Burst) -> Stages:
    reports = Reports(burst.groups, burst.size)
    steps = range(burst.first_step, burst.first_step + burst.num_steps)
    lines = [await Connection.to(burst.url) for _ in burst.runs]
    if burst.is_service and burst.first_step == 1:
        for line, run_id in zip(lines, burst.runs, strict=True):
            status, body = await line.ask(creation(run_id))
            if status != 201:
                raise ValueError(f"{burst.url}, status {status}: {body[:300]!r}")
    prepared = [
        reports.requests(run_id, steps, burst.media_type, burst.per_request)
        for run_id in burst.runs
    ]
    yield "prepared"
    began, cpu_began = time.perf_counter(), time.process_time()
    answers = await asyncio.gather(*map(_sent, lines, prepared))
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    yield "sent"
    for line in lines:
        line.close()
    recorded = sum(_recorded(burst, steps, one) for one in answers)
    yield Sent(reports=recorded, wall_s=wall_s, cpu_s=cpu_s)


async def _sent(line: Connection, prepared: list[bytes]) -> list[tuple[int, bytes]]:
    return [await line.ask(one) for one in prepared]


def _recorded(burst: Burst, steps: range, answers: list[tuple[int, bytes]]) -> int:
    """Reports of one run that the answers say are recorded; ValueError unless it is all of them."""
    for status, body in answers:
        if status != 200:
            raise ValueError(f"{burst.url}, status {status}: {body[:300]!r}")
    if not burst.is_service:
        return burst.per_request * len(answers)
    acks = [msgspec.json.decode(body, type=Ack) for _, body in answers]
    results = [result for ack in acks for result in ack.results]
    if [(one.step, one.status) for one in results] != [(step, "recorded") for step in steps]:
        raise ValueError(f"not each of {steps} was recorded once: {results[:3]}...")
    if acks[-1].settings.through_step != steps[-1]:
        raise ValueError(f"settings are behind step {steps[-1]}: {acks[-1].settings}")
    return len(results)
