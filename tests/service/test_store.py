"""One store, two servers: the same tests against the embedded Valkey and a stock Redis."""

from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import redis
from msgspec.structs import replace
from redis.crc import key_slot

from monitor_service.engine.advance import advance
from monitor_service.engine.events import Event
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import StoreCorrupt, StoreUnavailable
from monitor_service.resources import Change, Result, StepRecord
from monitor_service.retention import Leaving
from monitor_service.series import ROW_BYTES, row
from monitor_service.store.events import EventLog
from monitor_service.store.keys import ALARMS, EVENTS_KEPT, RUNS, RunKeys
from monitor_service.store.redis import About, Recorded, RedisStore, StoredRun
from monitor_service.wire import Scalars, decode_settings, observation
from tests.servers import STORES, everything, short_folder
from tests.service.reports import report

RUN = "llama-7b.math_2"
KEYS = RunKeys(RUN)


@pytest.fixture(scope="module", params=STORES)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with short_folder() as folder, STORES[request.param](folder) as found:
        yield found


@pytest.fixture
def server(url: str) -> Iterator[redis.Redis]:
    """The server itself, empty: what a look from outside finds in it."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def store(url: str, server: redis.Redis) -> AsyncIterator[RedisStore]:
    opened = RedisStore(url)
    yield opened
    await opened.close()


def run_started_after(step: int = 0) -> StoredRun:
    settings = Settings(through_step=step)
    return StoredRun(
        run_id=RUN,
        state=RunState(settings=settings, step=step, attempts=((1, step),)),
        about=About(created_at_s=100.0, config={"lr": 1e-6}, tags={"team": "math"}),
    )


def one_step_on(run: StoredRun, step: int) -> tuple[StoredRun, Recorded]:
    moved, figures, _ = advance(run.state, observation(report(step)), now_s=100.0)
    record = StepRecord(
        step=step,
        attempt=run.state.attempt,
        optimizer_step=None,
        at_s=100.0 + step,
        settings_version=moved.settings.version,
        collapse=figures,
        components={},
        scalars=Scalars(entropy=0.5),
        applied=None,
    )
    recorded = Recorded(
        record=record, state=moved, digest=b"digest %d" % step, row=row(record), rewards=b"raw"
    )
    return replace(run, state=moved, last=record), recorded


async def written(store: RedisStore, run: StoredRun, step: int) -> StoredRun:
    after, recorded = one_step_on(run, step)
    found = await store.commit(run, after, at_s=1.0, recorded=[recorded])
    assert found is not None
    return found


async def created(store: RedisStore, *, after_step: int = 0) -> StoredRun:
    run = run_started_after(after_step)
    await store.announce(RUN, run.about.created_at_s)
    found = await store.commit(None, run, at_s=1.0)
    assert found is not None
    return found


async def test_an_unknown_run_is_none(store):
    assert await store.load(RUN) is None


async def test_a_run_is_read_as_it_was_written(store):
    run = await written(store, await created(store), 1)
    change = Change(at_s=2.0, actor="ana", reason="why", changes={"alpha": 0.4}, version=3)
    settings = replace(run.state.settings, version=3, revision=2, alpha=0.4)
    after = replace(run, changed=change, state=replace(run.state, settings=settings))
    found = await store.commit(run, after, at_s=2.0)
    assert found is not None
    assert found == replace(after, tag=found.tag)
    assert await store.load(RUN) == found


async def test_a_step_is_written_with_everything_that_belongs_to_it(store, server):
    run = await created(store)
    after, recorded = one_step_on(run, 1)
    told = Event(kind="gap", step=1, message="one", data={"missing": 1})
    assert await store.commit(run, after, at_s=7.0, recorded=[recorded], events=[told]) is not None
    assert await store.digest(RUN, 1, 1) == b"digest 1"
    assert await store.steps(RUN, [(1, 1)]) == [recorded.record]
    assert await store.state_at(after, 1) == after.state
    (event,) = (await EventLog(store.redis).page(RUN, 10)).events
    assert (event.event, event.at_s) == (told, 7.0)
    assert decode_settings(server.get(KEYS.settings)) == after.state.settings


async def test_steps_are_read_in_the_order_asked_and_missing_ones_left_out(store):
    run = await written(store, await written(store, await created(store), 1), 3)
    found = await store.steps(RUN, [(1, 3), (1, 2), (2, 1), (1, 1)])
    assert [record.step for record in found] == [3, 1]
    assert await store.steps(RUN, []) == []
    assert await store.digest(RUN, run.state.attempt, 2) is None


async def test_a_commit_from_an_outdated_run_is_refused_and_nothing_is_written(store, url):
    run = await created(store)
    await written(store, run, 1)
    before = everything(url)
    after, recorded = one_step_on(run, 2)
    told = Event(kind="gap", step=2, message="", data={})
    assert await store.commit(run, after, at_s=9.0, recorded=[recorded], events=[told]) is None
    assert await store.commit(run, after, at_s=9.0) is None
    assert everything(url) == before


async def test_a_run_is_created_once_and_the_second_writes_nothing(store, url):
    await created(store)
    before = everything(url)
    other = replace(run_started_after(5), about=About(created_at_s=1.0, config={}, tags={}))
    assert await store.commit(None, other, at_s=9.0) is None
    assert everything(url) == before


async def test_every_written_version_of_the_settings_is_published_and_no_other(store, server):
    with server.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(KEYS.settings_channel)
        run = await created(store)
        after = await written(store, run, 1)
        await store.commit(run, after, at_s=9.0)  # refused: from an outdated run
        await written(store, after, 2)
        listener.get_message(timeout=5)  # the subscription itself
        heard = [decode_settings(listener.get_message(timeout=5)["data"]) for _ in range(3)]
        assert [settings.version for settings in heard] == [1, 2, 3]
        assert heard[1] == after.state.settings
        assert listener.get_message(timeout=0.05) is None


async def test_the_state_at_a_step_is_that_after_the_newest_recorded_one_before(store):
    run = start = await created(store)
    after = {}
    for step in (1, 2, 5, 443, 700):
        run = after[step] = await written(store, run, step)
    wanted = {0: start, 1: after[1], 2: after[2], 4: after[2], 5: after[5], 442: after[5]}
    wanted |= {699: after[443], 700: after[700], 10_000: after[700]}
    assert {step: await store.state_at(run, step) for step in wanted} == {
        step: found.state for step, found in wanted.items()
    }


async def test_before_its_first_step_a_run_that_started_late_is_as_it_started(store):
    start = await created(store, after_step=10)
    run = await written(store, start, 12)
    assert await store.state_at(run, 11) == start.state
    assert await store.state_at(run, 10) == start.state
    assert await store.state_at(run, 4) == replace(start.state, step=4)


async def test_all_keys_of_a_run_share_one_cluster_slot(store, server):
    run = await written(store, await created(store), 1)
    told = Event(kind="killed", step=2, message="", data={})
    await store.commit(run, replace(run, state=run.state), at_s=1.0, events=[told])
    found = {key for key in server.scan_iter() if key != RUNS.encode()}
    assert {key.decode() for key in found} == set(KEYS.all)
    keys = {*KEYS.all, KEYS.settings_channel}
    assert {key_slot(key.encode()) for key in keys} == {key_slot(RUN.encode())}


async def test_steps_that_come_together_are_written_together_in_order(store, server):
    start = await created(store)
    recorded = []
    run = start
    for step in (1, 2, 4):
        run, one = one_step_on(run, step)
        recorded.append(one)
    found = await store.commit(start, run, at_s=1.0, recorded=recorded)
    assert await store.load(RUN) == found == store.remembered(RUN)
    assert await store.steps(RUN, [(1, 1), (1, 2), (1, 4)]) == [one.record for one in recorded]
    assert [await store.state_at(run, one.record.step) for one in recorded] == [
        one.state for one in recorded
    ]
    assert server.get(KEYS.series) == b"".join(one.row for one in recorded)
    assert server.strlen(KEYS.series) == 3 * ROW_BYTES


async def test_what_is_not_kept_any_longer_goes_in_the_same_move(store, server):
    start = await created(store)
    run = await written(store, await written(store, start, 1), 2)
    after, recorded = one_step_on(run, 3)
    leaving = Leaving(rewards=((1, 2), (1, 1)), records=((1, 1),), states=((1, 1),))
    assert await store.commit(run, after, at_s=1.0, recorded=[recorded], leaving=leaving)
    assert server.hkeys(KEYS.rewards) == [b"1:3"]
    assert set(server.hkeys(KEYS.steps)) == set(server.hkeys(KEYS.digests)) == {b"1:2", b"1:3"}
    assert set(server.hkeys(KEYS.states)) == {b"1:0", b"1:2", b"1:3"}
    # The series keeps them all.
    assert server.strlen(KEYS.series) == 3 * ROW_BYTES


async def test_only_what_is_audited_goes_to_the_changes_and_only_alarms_are_announced(
    store, server
):
    run = await created(store)
    kinds = ("gap", "killed", "alarm_raised")
    with server.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(ALARMS)
        for kind in kinds:
            told = Event(kind=kind, step=0, message=kind, data={})
            run = await store.commit(run, run, at_s=1.0, events=[told])
            assert run is not None
        listener.get_message(timeout=5)  # the subscription itself
        assert listener.get_message(timeout=5)["data"] == RUN.encode()
        assert listener.get_message(timeout=0.05) is None
    assert (server.xlen(KEYS.events), server.xlen(KEYS.changes)) == (3, 1)


async def test_a_run_made_anew_is_not_moved_from_what_is_remembered_of_the_old_one(store, server):
    old = await created(store)
    server.delete(*KEYS.all)
    new = await created(store)
    # Both stand at version 1.
    after, recorded = one_step_on(old, 1)
    assert await store.commit(old, after, at_s=3.0, recorded=[recorded]) is None
    assert await store.load(RUN) == new


async def test_a_store_that_lost_its_last_writes_is_not_moved_from_what_they_were(store, server):
    start = await created(store)
    before = {key: server.dump(key) for key in server.scan_iter()}
    lost = await written(store, start, 1)
    server.flushall()
    for key, value in before.items():
        server.restore(key, 0, value)
    other = await written(store, start, 2)
    assert lost.state.settings.version == other.state.settings.version
    after, recorded = one_step_on(lost, 3)
    assert await store.commit(lost, after, at_s=3.0, recorded=[recorded]) is None
    assert await store.load(RUN) == other


async def test_events_are_kept_up_to_a_limit_and_read_newest_first(store, server):
    run = await created(store)
    # Redis drops whole nodes of 100 entries.
    many = [Event(kind="gap", step=n, message="", data={}) for n in range(EVENTS_KEPT + 300)]
    await store.commit(run, run, at_s=1.0, events=many)
    assert EVENTS_KEPT <= server.xlen(KEYS.events) <= EVENTS_KEPT + 100
    newest = [EVENTS_KEPT + 299, EVENTS_KEPT + 298]
    found = (await EventLog(store.redis).page(RUN, 2)).events
    assert [view.event.step for view in found] == newest


@pytest.mark.parametrize(
    ("field", "junk"),
    [
        ("state", b"junk"),
        ("state", b"{}"),
        ("state", b'{"settings":{"threshold":7}}'),
        ("about", b"\xff"),
        ("last", b"[]"),
        ("changed", b"null"),
        ("result", b"7"),
    ],
)
async def test_junk_in_a_run_is_named_corrupt(store, server, field, junk):
    await created(store)
    server.hset(KEYS.run, field, junk)
    with pytest.raises(StoreCorrupt, match=RUN):
        await store.load(RUN)


async def test_junk_in_a_steps_record_and_state_is_named_corrupt(store, server):
    run = await written(store, await created(store), 1)
    server.hset(KEYS.steps, "1:1", b"junk")
    server.hset(KEYS.states, "1:1", b"junk")
    with pytest.raises(StoreCorrupt, match="StepRecord"):
        await store.steps(RUN, [(1, 1)])
    with pytest.raises(StoreCorrupt, match="RunState"):
        await store.state_at(run, 1)


async def test_a_run_without_its_description_or_start_is_named_corrupt(store, server):
    run = await created(store)
    server.delete(KEYS.states)
    with pytest.raises(StoreCorrupt, match="started"):
        await store.state_at(run, 0)
    server.hdel(KEYS.run, "about")
    with pytest.raises(StoreCorrupt, match="missing"):
        await store.load(RUN)


async def test_a_result_kept_meanwhile_is_not_written_over_by_a_step(store):
    run = await created(store)
    result = Result(run_id=RUN, accuracy=0.4, benchmark="MATH-500", acr_100=None, at_s=1.0)
    newer = await store.commit(run, replace(run, result=result), at_s=1.0)
    # A reporter that had read the run before.
    after, recorded = one_step_on(run, 1)
    assert await store.commit(run, after, at_s=2.0, recorded=[recorded]) is None
    assert await store.load(RUN) == newer


async def test_a_key_of_another_type_is_named_corrupt(store, server):
    server.set(KEYS.run, "mine")
    with pytest.raises(StoreCorrupt, match="WRONGTYPE"):
        await store.load(RUN)


@pytest.mark.parametrize("kind", STORES)
async def test_without_a_server_the_store_says_so_and_goes_on_when_it_is_back(kind, folder):
    with STORES[kind](folder) as url:
        store = RedisStore(url)
        run = await created(store)
    after, recorded = one_step_on(run, 1)
    for attempt in (
        store.ping,
        store.num_runs,
        lambda: store.load(RUN),
        lambda: store.announce(RUN, 1.0),
        lambda: store.commit(run, after, at_s=1.0, recorded=[recorded]),
        lambda: store.digest(RUN, 1, 1),
        lambda: store.state_at(run, 0),
        lambda: EventLog(store.redis).page(RUN, 1),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt()
    with STORES[kind](folder) as url:
        assert await store.load(RUN) == run
        # The script has to be loaded into the new server first.
        found = await written(store, run, 1)
        assert found == replace(after, tag=found.tag)
        await store.close()


async def test_a_server_that_has_forgotten_its_scripts_is_taught_again(store, server):
    run = await created(store)
    server.script_flush()
    after = await written(store, run, 1)
    assert msgspec.json.decode(server.hget(KEYS.run, "state"), type=RunState) == after.state
