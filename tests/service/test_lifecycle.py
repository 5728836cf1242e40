"""Runs described, deleted, restored and purged, and reports that arrive in the middle of it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import redis

from monitor_service.errors import RunDeleted, RunNotDeleted, RunNotFound, TooManyRuns
from monitor_service.monitor import Monitor
from monitor_service.requests import Order, ResultRequest
from monitor_service.store.keys import RUNS, RunKeys
from monitor_service.store.purge import Purge
from monitor_service.store.redis import RedisStore
from monitor_service.wire import RUN_DELETED, CreateRun
from tests.service.problems import refused
from tests.service.reports import body, new_run_id, recorded, report

ORDER = Order(actor="ana", reason="a mistake")


@pytest.fixture
def server(redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    opened = RedisStore(redis_url)
    yield opened
    await opened.close()


def listed(client, **query: Any) -> list[str]:
    return [run["id"] for run in client.get("/v1/runs", params=query).json()["runs"]]


def events(client, run_id: str) -> list[dict[str, Any]]:
    found = client.get(f"/v1/runs/{run_id}/events").json()["events"]
    return [one["event"] for one in found]


def test_tags_are_merged_and_null_deletes_one(client, run_id):
    path = f"/v1/runs/{run_id}"
    client.patch(path, json={"tags": {"team": "rl", "gpu": "8"}})
    run = client.patch(path, json={"tags": {"gpu": None, "model": "7b"}}).json()
    assert run["tags"] == {"team": "rl", "model": "7b"}
    assert client.get(path).json() == run


def test_notes_are_replaced_left_and_deleted(client, run_id):
    path = f"/v1/runs/{run_id}"
    notes = "first line\n\tsecond, with <b>HTML</b> & Ünïcödé"
    assert client.patch(path, json={"notes": notes}).json()["notes"] == notes
    assert client.patch(path, json={"tags": {"a": "b"}}).json()["notes"] == notes
    assert client.patch(path, json={"notes": ""}).json()["notes"] == ""


def test_a_description_is_told_with_what_it_was_before_and_moves_no_setting(client, run_id):
    before = client.get(f"/v1/runs/{run_id}").json()["settings"]
    wanted = {"tags": {"team": "rl"}, "notes": "hm", "actor": "ana", "reason": "order"}
    after = client.patch(f"/v1/runs/{run_id}", json=wanted).json()["settings"]
    assert after == {**before, "version": before["version"] + 1}
    event = events(client, run_id)[0]
    assert (event["kind"], event["message"]) == ("described", "ana: order")
    assert event["data"]["old"] == {"tags": {}, "notes": ""}
    assert event["data"]["new"] == {"tags": {"team": "rl"}, "notes": "hm"}
    assert event["data"]["origin"]["address"] == "127.0.0.1"


def test_a_description_that_changes_nothing_is_no_event(client, run_id):
    client.patch(f"/v1/runs/{run_id}", json={"notes": "hm"})
    before = client.get(f"/v1/runs/{run_id}").json()
    assert client.patch(f"/v1/runs/{run_id}", json={"notes": "hm"}).json() == before
    assert len(events(client, run_id)) == 2


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"notes": "x" * 10_001}, "notes"),
        ({"notes": "bell \a"}, "notes"),
        ({"notes": "carriage\r\nreturn"}, "notes"),
        ({"notes": "next line \x85"}, "notes"),
        ({"notes": 7}, "notes"),
        ({"tags": {"a": "b\nc"}}, "tags.a"),
        ({"tags": {"a": "right\u202eto left"}}, "tags.a"),
        ({"tags": {"a": "x" * 257}}, "tags.a"),
        ({"tags": {"a\r\nb": "c"}}, "tags"),
        ({"tags": {"": "c"}}, "tags"),
        ({"tags": {f"n{number}": "x" for number in range(65)}}, "tags"),
        ({"note": "x"}, "note"),
        ({"notes": "x", "reason": "y" * 501}, "reason"),
        ({"notes": "x", "actor": ""}, "actor"),
    ],
)
def test_a_bad_description_is_refused_by_field_and_changes_nothing(
    client, untouched, wanted, field
):
    assert refused(client.patch(untouched, json=wanted), 422)["field"] == field


@pytest.mark.parametrize("tags", [{"a": "b\nc"}, {f"n{number}": "x" for number in range(65)}])
def test_a_run_is_not_created_with_such_tags_either(client, tags):
    reply = client.post("/v1/runs", json={"id": new_run_id(), "tags": tags})
    assert (reply.status_code, reply.json()["field"].partition(".")[0]) == (422, "tags")


def test_a_deleted_run_is_hidden_takes_nothing_and_comes_back_as_it_was(client, run_id):
    path = f"/v1/runs/{run_id}"
    client.post(f"{path}/steps", json=body(1))
    before = client.get(path).json()
    gone = client.delete(path, params={"actor": "ana", "reason": "a mistake"}).json()
    assert (gone["deleted"]["actor"], gone["deleted"]["reason"]) == ("ana", "a mistake")
    assert run_id not in listed(client)
    assert run_id in listed(client, state="deleted")
    for reply in (
        client.get(path),
        client.get(f"{path}/settings"),
        client.get(f"{path}/events"),
        client.get(f"{path}/steps"),
        client.post(f"{path}/steps", json=body(2)),
        client.post(f"{path}/steps", json=[body(2), body(3)]),
        client.post(f"{path}/end", json={"attempt": 1}),
        client.post(f"{path}/kill", json={}),
        client.patch(path, json={"notes": "hm"}),
        client.patch(f"{path}/settings", json={"alpha": 0.4, "reason": "why"}),
        client.post("/v1/runs", json={"id": run_id}),
        client.post("/v1/runs", json={"id": run_id, "resume_from_step": 1}),
    ):
        assert (reply.status_code, reply.json()["type"]) == (409, RUN_DELETED)
        assert "ana: a mistake" in reply.json()["detail"]
        assert "results" not in reply.json()
    assert client.get(path, params={"deleted": "true"}).json() == gone
    back = client.post(f"{path}/restore", json={"actor": "ben", "reason": "needed"}).json()
    version = before["settings"]["version"] + 2
    assert back == {**before, "settings": {**before["settings"], "version": version}}
    assert client.post(f"{path}/steps", json=body(2)).status_code == 200
    kinds = [(one["kind"], one["message"]) for one in events(client, run_id)]
    assert ("restored", "ben: needed") in kinds
    assert ("deleted", "ana: a mistake") in kinds


def test_deleting_and_restoring_twice_changes_nothing(client, run_id):
    path = f"/v1/runs/{run_id}"
    once, twice = client.delete(path), client.delete(path)
    assert once.json() == twice.json()
    once, twice = (client.post(f"{path}/restore", json={}) for _ in range(2))
    assert once.json() == twice.json()
    assert [one["kind"] for one in events(client, run_id)] == ["restored", "deleted", "created"]


def test_only_a_deleted_run_is_purged_and_then_nothing_of_it_is_left(client, run_id, server):
    path = f"/v1/runs/{run_id}"
    client.post(f"{path}/steps", json=body(1))
    client.patch(f"{path}/settings", json={"alpha": 0.4, "reason": "why"})
    client.post(f"{path}/result", json={"accuracy": 0.4, "benchmark": "one of a kind"})
    reply = client.delete(path, params={"purge": "true"})
    assert (reply.status_code, reply.json()["type"]) == (409, "urn:acr:error:run-not-deleted")
    client.delete(path)
    assert {key.decode() for key in server.scan_iter(f"acr:*{run_id}*")} == set(RunKeys(run_id).all)
    purged = client.delete(path, params={"purge": "true"})
    assert (purged.status_code, purged.content) == (204, b"")
    assert list(server.scan_iter(f"*{run_id}*")) == []
    assert server.zscore(RUNS, run_id) is None
    assert run_id not in listed(client, state="deleted")
    refused_again = client.delete(path, params={"purge": "true"})
    assert refused_again.status_code == 404
    again = client.post("/v1/runs", json={"id": run_id})
    assert (again.status_code, again.json()["step"]) == (201, 0)
    assert run_id in listed(client)


@pytest.mark.parametrize("query", ["purge=maybe", "purge=1", "actor=", f"reason={'x' * 501}"])
def test_a_bad_deletion_is_refused(client, untouched, query):
    name = query.partition("=")[0]
    assert refused(client.delete(f"{untouched}?{query}"), 422)["field"] == name


def test_nobody_deletes_a_run_that_is_not_there(client):
    path = f"/v1/runs/{new_run_id()}"
    for reply in (client.delete(path), client.post(f"{path}/restore", json={})):
        assert reply.status_code == 404


async def test_a_deleted_run_leaves_metrics_and_its_result_the_forecasts(monitor):
    run_id = new_run_id()
    await monitor.create(CreateRun(id=run_id))
    await recorded(monitor, run_id, report(1))
    await monitor.result(run_id, ResultRequest(accuracy=0.4, benchmark="MATH-500"))
    assert run_id in {run.id for run in (await monitor.reporting())[0]}
    assert run_id in {result.run_id for result in await monitor.roster.results()}
    await monitor.lifecycle.delete(run_id, ORDER)
    assert run_id not in {run.id for run in (await monitor.reporting())[0]}
    assert run_id not in {result.run_id for result in await monitor.roster.results()}


async def test_a_deleted_run_is_not_called_silent(monitor, clock):
    run_id = new_run_id()
    await monitor.create(CreateRun(id=run_id))
    await recorded(monitor, run_id, report(1))
    await monitor.lifecycle.delete(run_id, ORDER)
    clock.now_s += 9999.0
    await monitor.tell_silence()
    await monitor.lifecycle.restore(run_id, ORDER)
    assert "alarm_raised" not in {
        one.event.kind for one in (await monitor.events(run_id, 10)).events
    }


async def test_a_report_under_way_when_the_run_is_deleted_elsewhere_is_not_recorded(
    monitor, store, clock
):
    run_id = new_run_id()
    await monitor.create(CreateRun(id=run_id))
    await recorded(monitor, run_id, report(1))
    elsewhere = Monitor(store, clock)
    await elsewhere.lifecycle.delete(run_id, ORDER)
    # This one remembers the run as it was, and writes first.
    with pytest.raises(RunDeleted):
        await recorded(monitor, run_id, report(2))
    assert (await monitor.run(run_id, is_deleted=True)).step == 1
    await elsewhere.lifecycle.restore(run_id, ORDER)
    assert (await recorded(monitor, run_id, report(2)))[0]


async def test_one_that_was_deleted_here_and_restored_elsewhere_takes_reports(
    monitor, store, clock
):
    run_id = new_run_id()
    await monitor.create(CreateRun(id=run_id))
    await monitor.lifecycle.delete(run_id, ORDER)
    with pytest.raises(RunDeleted):
        await recorded(monitor, run_id, report(1))
    await Monitor(store, clock).lifecycle.restore(run_id, ORDER)
    assert (await recorded(monitor, run_id, report(1)))[0]


async def test_a_report_under_way_when_the_run_is_purged_resurrects_nothing(
    monitor, store, clock, server
):
    run_id = new_run_id()
    await monitor.create(CreateRun(id=run_id))
    await recorded(monitor, run_id, report(1))
    elsewhere = Monitor(store, clock)
    await elsewhere.lifecycle.delete(run_id, ORDER)
    await elsewhere.lifecycle.purge(run_id)
    with pytest.raises(RunNotFound):
        await recorded(monitor, run_id, report(2))
    assert list(server.scan_iter(f"*{run_id}*")) == []


async def test_a_purge_that_was_too_late_leaves_the_new_run_and_its_name(
    monitor, store, clock, server
):
    run_id = new_run_id()
    await monitor.create(CreateRun(id=run_id))
    await monitor.lifecycle.delete(run_id, ORDER)
    as_it_was = await store.load(run_id)
    assert as_it_was is not None
    await monitor.lifecycle.purge(run_id)
    clock.now_s += 1.0
    await monitor.create(CreateRun(id=run_id))
    # A second purge that had read the run before the first.
    assert not await Purge(store.redis).everything(as_it_was)
    assert (await monitor.run(run_id)).step == 0
    assert server.zscore(RUNS, run_id) is not None
    with pytest.raises(RunNotDeleted):
        await monitor.lifecycle.purge(run_id)


async def test_whatever_happens_at_once_a_run_is_whole_or_gone(redis_url, clock, server):
    """Trainers create and report while people delete, restore and purge, through two replicas."""
    stores = [RedisStore(redis_url) for _ in range(2)]
    monitors = [Monitor(store, clock) for store in stores]
    run_ids = [new_run_id() for _ in range(3)]
    chosen = random.Random(7)
    expected = (RunDeleted, RunNotFound, RunNotDeleted)

    async def train(run_id: str, monitor: Monitor) -> None:
        step = 0
        for _ in range(40):
            clock.now_s += 0.001
            with suppress(*expected):
                run, _ = await monitor.create(CreateRun(id=run_id))
                step = run.step + 1
                await monitor.recorder.record(run_id, [report(step)])
            await asyncio.sleep(0)

    async def meddle(run_id: str, monitor: Monitor) -> None:
        for _ in range(40):
            act = chosen.choice(("delete", "delete", "restore", "purge", "purge"))
            with suppress(*expected):
                if act == "purge":
                    await monitor.lifecycle.purge(run_id)
                else:
                    await getattr(monitor.lifecycle, act)(run_id, ORDER)
            await asyncio.sleep(0)

    await asyncio.gather(
        *(act(run_id, one) for act in (train, meddle) for run_id in run_ids for one in monitors)
    )
    for run_id in run_ids:
        keys = {key.decode() for key in server.scan_iter(f"acr:{{{run_id}}}:*")}
        stored = await stores[0].load(run_id)
        if stored is None:
            assert keys == set()
            continue
        assert server.zscore(RUNS, run_id) is not None
        # Every step of this life is there with all that belongs to it, and none of another.
        steps = stored.state.step
        assert server.hlen(RunKeys(run_id).steps) == steps == server.hlen(RunKeys(run_id).digests)
        assert server.hlen(RunKeys(run_id).states) == steps + 1
        assert stored.state.counters.steps == steps
    for monitor, store in zip(monitors, stores, strict=True):
        monitor.close()
        await store.close()


async def test_beyond_the_limit_no_run_is_created_and_known_ones_go_on(
    redis_url, store, clock, server
):
    first = new_run_id()
    await Monitor(store, clock).create(CreateRun(id=first))
    full = Monitor(store, clock, max_runs=server.zcard(RUNS))
    with pytest.raises(TooManyRuns, match="purge"):
        await full.create(CreateRun(id=new_run_id()))
    found, is_new = await full.create(CreateRun(id=first))
    assert (found.id, is_new) == (first, False)
    await full.lifecycle.delete(first, ORDER)
    with pytest.raises(TooManyRuns):
        await full.create(CreateRun(id=new_run_id()))
    await full.lifecycle.purge(first)
    _, is_new = await full.create(CreateRun(id=new_run_id()))
    assert is_new
