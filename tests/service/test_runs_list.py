"""The list of runs: pages that join, filters, and how runs stand."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.listing import MOST, STANDINGS, Wanted, listed, reporting, standings
from monitor_service.monitor import Monitor
from monitor_service.requests import EndOfRun, Order
from monitor_service.retention import Retention
from monitor_service.store.redis import RedisStore
from monitor_service.store.roster import Entry
from monitor_service.wire import CreateRun
from tests.servers import api_server, short_folder, stock_redis
from tests.service.problems import refused
from tests.service.reports import recorded, report


@pytest.fixture(scope="module")
def own_redis_url() -> Iterator[str]:
    """A Redis with no other tests' runs."""
    with short_folder() as folder, stock_redis(folder) as url:
        yield url


@pytest.fixture(scope="module")
def alone(own_redis_url: str) -> Iterator[httpx.Client]:
    with (
        api_server(own_redis_url) as base,
        httpx.Client(base_url=base, trust_env=False) as client,
    ):
        for number in range(7):
            tags = {"team": "rl" if number % 2 else "math", "odd:name": "a:b"}
            client.post("/v1/runs", json={"id": f"run-{number}", "tags": tags})
        client.post("/v1/runs", json={"id": "Other"})
        yield client


def ids(client: httpx.Client, **query: Any) -> list[str]:
    return [run["id"] for run in client.get("/v1/runs", params=query).json()["runs"]]


def test_pages_join_newest_first_whatever_their_size(alone):
    everything = ["Other", *(f"run-{number}" for number in reversed(range(7)))]
    for limit in (1, 3, 8, 9):
        found: list[str] = []
        after = None
        sizes: list[int] = []
        while not sizes or after is not None:
            query = {"limit": limit, **({"after": after} if after else {})}
            page = alone.get("/v1/runs", params=query).json()
            assert page["total"] == 8
            found += [run["id"] for run in page["runs"]]
            sizes.append(len(page["runs"]))
            after = page["next_after"]
        assert found == everything
        assert len(sizes) == -(-8 // limit)


def test_filters_are_by_tag_state_and_part_of_the_id_and_all_of_them_count(alone):
    assert ids(alone, tag="team:rl") == ["run-5", "run-3", "run-1"]
    assert ids(alone, tag=["team:rl", "odd:name:a:b"]) == []
    assert ids(alone, q="OTH") == ["Other"]
    assert ids(alone, q="run-", tag="team:math", limit=2) == ["run-6", "run-4"]
    assert ids(alone, state="training") == []
    assert len(ids(alone, state="waiting")) == 8
    assert alone.get("/v1/runs", params={"tag": "team:rl", "limit": 1}).json()["total"] == 3


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(({"limit": limit}, "limit") for limit in ("0", "1001", "-1", "x", "")),
        *(({"state": state}, "state") for state in ("", "alive")),
        *(({"after": after}, "after") for after in ("", "x", ":run-1")),
        ({"tag": "team"}, "tag"),
    ],
)
def test_a_bad_query_is_refused_by_its_name(alone, query, field):
    assert refused(alone.get("/v1/runs", params=query), 422)["field"] == field


@pytest.fixture
async def monitor(own_redis_url: str, clock) -> AsyncIterator[Monitor]:
    store = RedisStore(own_redis_url)
    opened = Monitor(store, clock, Retention(metrics_idle_s=3600.0))
    yield opened
    opened.close()
    await store.close()


async def standing(monitor: Monitor, run_id: str) -> str:
    found = []
    for state in STANDINGS:
        page = await monitor.runs(Wanted(state=state, text=run_id))
        found += [state for run in page.runs if run.id == run_id]
    (only,) = found
    return only


async def test_a_run_stands_as_its_reports_and_its_people_say(monitor, clock):
    run_id = "stands"
    await monitor.create(CreateRun(id=run_id))
    assert await standing(monitor, run_id) == "waiting"
    await recorded(monitor, run_id, report(1))
    assert await standing(monitor, run_id) == "training"
    clock.now_s += 601.0
    assert await standing(monitor, run_id) == "silent"
    await monitor.tell_silence()
    assert await standing(monitor, run_id) == "silent"
    await recorded(monitor, run_id, report(2))
    assert await standing(monitor, run_id) == "training"
    await monitor.end(run_id, EndOfRun(attempt=1))
    assert await standing(monitor, run_id) == "ended"
    clock.now_s += 601.0
    assert await standing(monitor, run_id) == "ended"
    await monitor.lifecycle.delete(run_id, Order())
    assert await standing(monitor, run_id) == "deleted"
    await monitor.lifecycle.restore(run_id, Order())
    assert await standing(monitor, run_id) == "ended"


async def shown(monitor: Monitor) -> set[str]:
    runs, counts = await monitor.reporting()
    assert sum(counts.values()) == len(await monitor.roster.entries())
    return {run.id for run in runs}


async def test_idle_runs_leave_metrics_and_return_with_their_next_report(monitor, clock):
    clock.now_s = 5000.0
    for run_id in ("goes-on", "idles"):
        await monitor.create(CreateRun(id=run_id))
        await recorded(monitor, run_id, report(1))
    clock.now_s += 3000.0
    await recorded(monitor, "goes-on", report(2))
    assert {"goes-on", "idles"} <= await shown(monitor)
    clock.now_s += 601.0
    assert "goes-on" in await shown(monitor)
    assert "idles" not in await shown(monitor)
    await recorded(monitor, "idles", report(2))
    assert "idles" in await shown(monitor)


async def test_a_run_that_starts_again_is_shown_before_its_first_report(monitor, clock):
    clock.now_s = 50_000.0
    await monitor.create(CreateRun(id="again"))
    await recorded(monitor, "again", report(1))
    clock.now_s += 4000.0
    assert "again" not in await shown(monitor)
    await monitor.create(CreateRun(id="again", resume_from_step=1, start_id="second"))
    assert "again" in await shown(monitor)


async def test_silence_is_told_once_by_all_replicas_together(monitor, own_redis_url, clock):
    clock.now_s = 100_000.0
    store = RedisStore(own_redis_url)
    replicas = [monitor, Monitor(store, clock)]
    for number in range(3):
        await monitor.create(CreateRun(id=f"quiet-{number}"))
        await recorded(monitor, f"quiet-{number}", report(1))
    clock.now_s += 601.0
    for _ in range(3):
        for replica in replicas:
            await replica.tell_silence()
    for number in range(3):
        kinds = [one.event.kind for one in (await monitor.events(f"quiet-{number}", 10)).events]
        assert kinds.count("alarm_raised") == 1
    replicas[1].close()
    await store.close()


def entry(number: int, **changes: Any) -> Entry:
    known: dict[str, Any] = {
        "started_at_s": 0.0,
        "last_report_at_s": None,
        "step": 0,
        "step_s": None,
    }
    known |= {"ended": None, "is_silent": False, "is_deleted": False, "tags": {}}
    return Entry(**{"run_id": f"run-{number}", "created_at_s": float(number), **known, **changes})


def test_metrics_show_no_more_than_the_newest_thousand():
    entries = [entry(number, last_report_at_s=5000.0 - number) for number in range(MOST + 5)]
    found = reporting(entries, idle_s=1e9, now_s=5000.0)
    assert found == [f"run-{number}" for number in range(MOST)]
    assert sum(standings(entries, 5000.0).values()) == MOST + 5


@given(
    created=st.lists(st.integers(0, 5), max_size=12),
    limit=st.integers(1, 5),
    gone=st.integers(0, 11),
)
def test_pages_lose_and_repeat_nothing_even_when_a_run_goes_in_between(created, limit, gone):
    # Several are created at the same time.
    entries = [entry(number, created_at_s=float(at)) for number, at in enumerate(created)]
    found: list[str] = []
    after = None
    while True:
        page = listed(entries, Wanted(limit=limit, after=after), 0.0)
        found += page.run_ids
        after = page.next_after
        if after is None:
            break
        entries = [one for one in entries if one.run_id != f"run-{gone}"]
    assert len(found) == len(set(found))
    assert {one.run_id for one in entries} <= set(found)
