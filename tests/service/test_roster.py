"""All runs at a glance, on both servers: what is seen, what is read again, and what is left out."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from msgspec.structs import replace

from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import StoreUnavailable
from monitor_service.resources import Deletion, Result
from monitor_service.store.keys import RUNS, RunKeys
from monitor_service.store.redis import About, RedisStore, StoredRun
from monitor_service.store.roster import Roster
from tests.servers import STORES, short_folder


@pytest.fixture(scope="module", params=STORES)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with short_folder() as folder, STORES[request.param](folder) as found:
        yield found


@pytest.fixture
def server(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def store(url: str, server: redis.Redis) -> AsyncIterator[RedisStore]:
    opened = RedisStore(url)
    yield opened
    await opened.close()


@pytest.fixture
async def roster(url: str) -> AsyncIterator[Roster]:
    opened = Roster(url)
    yield opened
    opened.close()


async def created(store: RedisStore, run_id: str, created_at_s: float = 100.0) -> StoredRun:
    run = StoredRun(
        run_id=run_id,
        state=RunState(settings=Settings(session=f"{created_at_s}-1")),
        about=About(created_at_s=created_at_s, config={}, tags={"team": "math"}),
    )
    await store.announce(run_id, created_at_s)
    found = await store.commit(None, run, at_s=created_at_s)
    assert found is not None
    return found


def moved(run: StoredRun, **changes) -> StoredRun:
    settings = replace(run.state.settings, version=run.state.settings.version + 1)
    return replace(run, state=replace(run.state, settings=settings), **changes)


async def names(roster: Roster) -> list[str]:
    return [entry.run_id for entry in await roster.entries()]


def commands(server: redis.Redis) -> int:
    return sum(one["calls"] for one in server.info("commandstats").values())


async def test_runs_are_listed_newest_first_and_not_before_they_exist(store, roster):
    assert await names(roster) == []
    await created(store, "older")
    await created(store, "newer", 200.0)
    await store.announce("announced-only", 300.0)
    assert await names(roster) == ["newer", "older"]


async def test_a_run_that_moved_is_seen_as_it_is_and_only_that_one_is_read_again(
    store, roster, server
):
    run = await created(store, "one")
    for number in range(9):
        await created(store, f"other-{number}")
    before = {entry.run_id: entry for entry in await roster.entries()}
    about = replace(run.about, tags={"team": "code"})
    assert await store.commit(run, moved(run, about=about), at_s=2.0) is not None
    calls = commands(server)
    after = {entry.run_id: entry for entry in await roster.entries()}
    # The list of names, ten versions, one run; and the question itself.
    assert commands(server) - calls == 1 + 10 + 1 + 1
    assert after["one"].tags == {"team": "code"}
    assert all(after[name] is before[name] for name in after if name != "one")


async def test_a_run_that_was_made_anew_is_not_taken_for_the_one_before(store, roster, server):
    await created(store, "one", 100.0)
    assert [entry.created_at_s for entry in await roster.entries()] == [100.0]
    server.unlink(*RunKeys("one").all, RUNS)
    assert await names(roster) == []
    await created(store, "one", 200.0)
    assert [entry.created_at_s for entry in await roster.entries()] == [200.0]


@pytest.mark.parametrize("field", ["state", "about", "last"])
async def test_a_run_that_cannot_be_read_is_told_once_and_hides_no_other(
    store, roster, server, caplog, field
):
    await created(store, "fine")
    await created(store, "bad")
    server.hset(RunKeys("bad").run, field, "junk")
    for _ in range(3):
        assert await names(roster) == ["fine"]
    assert caplog.text.count("'bad'") == 1


async def test_a_run_whose_key_holds_something_else_hides_no_other(store, roster, server, caplog):
    await created(store, "fine")
    await store.announce("taken", 200.0)
    server.set(RunKeys("taken").run, "mine")
    for _ in range(2):
        assert await names(roster) == ["fine"]
    assert await roster.load(["taken", "fine"], lambda run: run.run_id) == ["fine"]
    assert "WRONGTYPE" in caplog.text


async def test_runs_are_loaded_whole_in_the_order_asked_for(store, roster):
    runs = {name: await created(store, name) for name in ("a", "b", "c")}
    found = await roster.load(["c", "nobody", "a"], lambda run: run)
    assert found == [runs["c"], runs["a"]]


async def test_results_are_of_runs_that_have_one_can_be_read_and_are_not_deleted(
    store, roster, server, caplog
):
    result = Result(run_id="with", accuracy=0.4, benchmark="MATH-500", acr_100=None, at_s=1.0)
    for name in ("with", "without", "corrupt", "deleted"):
        run = await created(store, name)
        if name in ("with", "deleted"):
            assert await store.commit(run, replace(run, result=result), at_s=1.0) is not None
    server.hset(RunKeys("corrupt").run, "result", "junk")
    deletion = Deletion(at_s=2.0, actor="ana", reason="why")
    run = await store.load("deleted")
    assert run is not None
    gone = moved(run, about=replace(run.about, deleted=deletion))
    assert await store.commit(run, gone, at_s=2.0) is not None
    assert await roster.results() == [result]
    assert "corrupt" in caplog.text


async def test_those_who_ask_meanwhile_are_answered_together_and_see_what_happened_before(
    store, roster, server
):
    await created(store, "old")
    first = asyncio.create_task(roster.entries())
    await asyncio.sleep(0)  # It has begun.
    await created(store, "new", 200.0)
    calls = commands(server)
    found = await asyncio.gather(*(names(roster) for _ in range(20)))
    assert all(one == ["new", "old"] for one in found)
    # Twenty looks would ask for the names and two versions, twenty times.
    assert commands(server) - calls < 20
    await first


@pytest.mark.parametrize("kind", STORES)
async def test_without_a_server_it_says_so_and_goes_on_when_it_is_back(kind, folder):
    with STORES[kind](folder) as url:
        store, roster = RedisStore(url), Roster(url)
        await created(store, "one")
    for attempt in (roster.entries, roster.results, lambda: roster.load(["one"], str)):
        with pytest.raises(StoreUnavailable):
            await attempt()
    with STORES[kind](folder):
        assert await names(roster) == ["one"]
        await store.close()
        roster.close()
