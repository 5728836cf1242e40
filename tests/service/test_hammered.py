"""One run, hammered through three `acr serve` on one stock Redis: every move exactly once."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import httpx
import msgspec
import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from monitor_service.resources import EventPage, Run, StepRecord
from monitor_service.store.keys import RunKeys
from tests.servers import acr_serve, short_folder
from tests.service.hammered import Act, Told, assert_once, folded, hammered
from tests.service.reports import new_run_id

pytestmark = pytest.mark.integration

PROCESSES = 3
STEPS = 12
ORDERS = ("patch", "override", "command", "kill", "rearm")


@pytest.fixture(scope="module")
def replicas(redis_url: str) -> Iterator[list[str]]:
    with short_folder() as folder:
        servers = [
            acr_serve(folder / f"{number}", "--redis-url", redis_url) for number in range(PROCESSES)
        ]
        with servers[0] as a, servers[1] as b, servers[2] as c:
            yield [a.url, b.url, c.url]


def trainer(variants: list[int], *, attempt: int = 1, first: int = 1) -> list[Act]:
    """Reports in order, as a trainer makes them; another's may contradict them."""
    return [
        Act(kind="report", step=step, variant=variant, attempt=attempt)
        for step, variant in enumerate(variants, start=first)
    ]


def restarted(before: list[Act], step: int, attempt: int, variants: list[int]) -> list[Act]:
    """A trainer that starts again, after an earlier step, while others go on."""
    after = trainer(variants, attempt=attempt, first=step)
    return [*before, Act(kind="resume", step=step), *after]


steps = st.integers(1, STEPS)
variants = st.lists(st.sampled_from([0, 0, 0, 1]), min_size=STEPS, max_size=STEPS)
attempts = st.sampled_from([1, 1, 1, 2, 3])
reports = st.builds(
    Act,
    kind=st.just("report"),
    step=steps,
    count=st.integers(1, 4),
    variant=st.integers(0, 1),
    attempt=attempts,
)
orders = st.builds(Act, kind=st.sampled_from(ORDERS), step=steps)
ends = st.builds(Act, kind=st.just("end"), attempt=attempts)
anybody = st.lists(orders, min_size=6, max_size=16)
restarts = st.builds(
    restarted, st.lists(reports | orders, min_size=6), steps, st.integers(2, 3), variants
)
lanes = st.tuples(
    *(variants.map(trainer), variants.map(trainer), restarts, restarts),
    *(anybody, anybody, st.lists(reports | ends, max_size=12)),
)


@given(lanes=lanes)
@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # Another interleaving each time.
    suppress_health_check=list(HealthCheck),
)
def test_whoever_does_what_through_whichever_process_the_run_is_one_order_of_all_that_was_accepted(
    replicas: list[str], redis_url: str, lanes: tuple[list[Act], ...]
) -> None:
    run_id = new_run_id()
    path = f"{replicas[0]}/v1/runs"
    created = run_of(httpx.post(path, json={"id": run_id}))
    told = asyncio.run(hammered(replicas, run_id, lanes))
    records = records_of(redis_url, run_id)
    assert_once(told, records)
    states = folded(created, told, records)
    for one in told.settings:
        assert one == states[one.version].settings
    final = states[max(states)]
    for url in replicas:
        run = run_of(httpx.get(f"{url}/v1/runs/{run_id}"))
        assert (run.settings, run.counters) == (final.settings, final.counters)
        assert (run.step, run.attempt, run.ended) == (final.step, final.attempt, final.ended)
    assert_told_once(f"{path}/{run_id}/events?limit=1000", told)


def run_of(reply: httpx.Response) -> Run:
    return msgspec.json.decode(reply.raise_for_status().content, type=Run)


def records_of(redis_url: str, run_id: str) -> list[StepRecord]:
    """Of every attempt, replaced ones too."""
    with redis.Redis.from_url(redis_url) as client:
        found = client.hvals(RunKeys(run_id).steps)
    return [msgspec.json.decode(one, type=StepRecord) for one in found]


def assert_told_once(url: str, told: Told) -> None:
    """Every order and every start is one event."""
    reply = httpx.get(url).raise_for_status()
    events = [view.event for view in msgspec.json.decode(reply.content, type=EventPage).events]
    actors = Counter(event.data["actor"] for event in events if "actor" in event.data)
    orders = [move.who for move in told.moves if move.act.kind in ORDERS]
    assert actors == Counter([*orders, *(who for who, _ in told.noops)])
    kinds = Counter(event.kind for event in events)
    moved = Counter(move.act.kind for move in told.moves)
    assert (kinds["resumed"], kinds["ended"]) == (moved["resume"], moved["end"])
