"""A run out as a file and in again: the same run, or nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
import redis

from monitor_service.archive import IMPORTED
from monitor_service.errors import (
    InputTooLarge,
    InvalidInput,
    RunNotFound,
    StoreUnavailable,
    TooManyRuns,
)
from monitor_service.monitor import Monitor
from monitor_service.requests import EndOfRun, Order
from monitor_service.store.drafts import DRAFT_S, Draft
from monitor_service.store.keys import RunKeys
from monitor_service.store.redis import RedisStore
from monitor_service.transfer import LINES_AT_ONCE
from monitor_service.wire import CreateRun
from tests.servers import api_server, eventually
from tests.service.problems import refused
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id, recorded, report

LINES = "application/x-ndjson"
STEPS = 2 * LINES_AT_ONCE + 5

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def run_id(client: httpx.Client) -> str:
    """A run with all there can be: a resume, orders, alarms, a result; still going on.

    The tests share it, and leave it alone.
    """
    name = new_run_id()
    path = f"/v1/runs/{name}"
    client.post("/v1/runs", json={"id": name, "tags": {"team": "a"}, "config": {"lr": 1e-6}})
    reports = [body(step, scalars={"entropy": 1 / step}) for step in range(1, STEPS + 1)]
    client.post(f"{path}/steps", json=reports)
    client.patch(f"{path}/settings", json={"alpha": 0.4, "reason": "why", "actor": "ana"})
    client.post("/v1/runs", json={"id": name, "resume_from_step": STEPS - 2})
    stuck = {"rewards": [WRONG] * 64, "primary": [CORRECT] * 64, "attempt": 2}
    client.post(f"{path}/steps", json=body(STEPS - 1, **stuck))
    client.post(f"{path}/kill", json={"reason": "enough", "actor": "bob"})
    client.post(f"{path}/result", json={"accuracy": 0.5, "benchmark": "gsm8k"})
    assert client.get(path).json()["step"] == STEPS - 1
    return name


def exported(client: httpx.Client, run_id: str) -> Lines:
    reply = client.get(f"/v1/runs/{run_id}/export")
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == LINES
    assert reply.headers["content-disposition"] == f'attachment; filename="{run_id}.jsonl"'
    return [msgspec.json.decode(line) for line in reply.content.splitlines()]


def imported(client: httpx.Client, run_id: str, lines: Lines) -> httpx.Response:
    content = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    return client.post(
        f"/v1/runs/{run_id}/import", content=content, headers={"content-type": LINES}
    )


def keys_of(redis_url: str, run_id: str) -> list[bytes]:
    with redis.Redis.from_url(redis_url) as store:
        return sorted(store.scan_iter(f"acr:{{{run_id}}}*"))


@pytest.fixture
def lines(client: httpx.Client, run_id: str) -> Lines:
    return exported(client, run_id)


@pytest.fixture
def other(client: httpx.Client, redis_url: str) -> Iterator[str]:
    """An id nobody has; in the end checked to belong to nobody, with nothing left in the store."""
    name = new_run_id()
    yield name
    refused(client.get(f"/v1/runs/{name}"), 404)
    assert keys_of(redis_url, name) == []


def test_a_file_holds_every_step_that_counts_and_says_when_it_is_whole(lines, run_id):
    first, *middle, last = lines
    assert (first["kind"], first["id"], first["attempts"]) == ("run", run_id, [[1, 0], [2, 203]])
    steps = [line for line in middle if line["kind"] == "step"]
    assert [step["figures"]["step"] for step in steps] == list(range(1, STEPS))
    assert [step["figures"]["attempt"] for step in steps] == [1] * (STEPS - 2) + [2]
    assert steps[-1]["record"]["collapse"]["num_groups"] == 64
    kinds = {line["event"]["kind"] for line in middle if line["kind"] == "change"}
    assert {"settings_changed", "killed"} <= kinds
    counts = {kind: sum(line["kind"] == kind for line in middle) for kind in ("event", "change")}
    assert (last["kind"], last["steps"]) == ("end", STEPS - 1)
    assert (last["events"], last["changes"]) == (counts["event"], counts["change"])


def test_what_was_imported_is_exported_the_same_but_for_its_id_and_that_it_has_ended(client, lines):
    name = new_run_id()
    reply = imported(client, name, lines)
    assert reply.status_code == 201, reply.text
    assert (reply.json()["id"], reply.json()["ended"]) == (name, IMPORTED)
    again = exported(client, name)
    lines[0]["id"] = lines[-1]["result"]["run_id"] = name
    lines[-1]["state"]["ended"] = IMPORTED
    assert again == lines


def test_every_view_of_it_shows_what_the_run_shows(client, run_id, lines):
    name = new_run_id()
    imported(client, name, lines)
    for what in (
        *("/steps", "/steps?fields=acr,entropy&points=50", f"/steps/{STEPS - 1}/groups"),
        *("/steps?fields=acr,kl&bins=50", "/steps?fields=acr,kl&last=50"),
        *("/events?limit=1000", "/settings", "/settings/history", "/forecast"),
    ):
        own, copy = (client.get(f"/v1/runs/{one}{what}") for one in (run_id, name))
        assert copy.status_code == 200, copy.text
        assert copy.text.replace(name, run_id) == own.text
    own, copy = (client.get(f"/v1/runs/{one}/diagnosis").json() for one in (run_id, name))
    assert copy.pop("headline").startswith("Ended (imported), ")
    del own["headline"]
    assert copy == own | {"run_id": name}


def test_an_imported_run_goes_on_where_it_stood_or_from_an_earlier_step(client, run_id, lines):
    name = new_run_id()
    imported(client, name, lines)
    path = f"/v1/runs/{name}"
    back = client.post("/v1/runs", json={"id": name, "resume_from_step": 100}).json()
    assert (back["step"], back["attempt"], back["ended"]) == (100, 3, None)
    assert client.post(f"{path}/steps", json=body(101, attempt=3)).status_code == 200
    found = client.get(f"{path}/steps", params={"fields": "attempt", "from": 100}).json()
    assert found["columns"] == {"step": [100, 101], "attempt": [1, 3]}
    assert client.get(f"/v1/runs/{run_id}").json()["step"] == STEPS - 1


def test_reports_from_before_are_known_as_repeated(client):
    name, copy = new_run_id(), new_run_id()
    client.post("/v1/runs", json={"id": name})
    client.post(f"/v1/runs/{name}/steps", json=[body(1), body(2)])
    imported(client, copy, exported(client, name))
    reply = client.post(f"/v1/runs/{copy}/steps", json=[body(1), body(2), body(3)])
    statuses = [result["status"] for result in reply.json()["results"]]
    assert statuses == ["duplicate", "duplicate", "recorded"]


def test_the_same_file_twice_is_one_run(client, lines):
    name = new_run_id()
    assert imported(client, name, lines).status_code == 201
    again = imported(client, name, lines)
    assert (again.status_code, again.json()["id"]) == (200, name)


def test_a_file_of_a_run_that_is_here_and_unchanged_is_no_conflict(client, run_id, lines):
    before = client.get(f"/v1/runs/{run_id}").json()
    assert imported(client, run_id, lines).status_code == 200
    assert client.get(f"/v1/runs/{run_id}").json() == before


def test_an_id_that_has_another_run_is_a_conflict(client, lines):
    taken = new_run_id()
    before = client.post("/v1/runs", json={"id": taken}).json()
    found = refused(imported(client, taken, lines), 409)
    assert found["type"] == "urn:acr:error:run-conflict"
    assert client.get(f"/v1/runs/{taken}").json() == before


def test_a_run_that_has_moved_on_since_its_export_is_a_conflict(client):
    name = new_run_id()
    client.post("/v1/runs", json={"id": name})
    lines = exported(client, name)
    client.post(f"/v1/runs/{name}/steps", json=body(1))
    assert "has moved on" in refused(imported(client, name, lines), 409)["detail"]
    assert client.get(f"/v1/runs/{name}").json()["step"] == 1


def test_nothing_of_the_way_it_came_stays_in_the_store(client, redis_url, lines):
    name = new_run_id()
    imported(client, name, lines)
    keys = RunKeys(name)
    assert keys_of(redis_url, name) == sorted(key.encode() for key in keys.all)
    with redis.Redis.from_url(redis_url) as store:
        assert {store.ttl(key) for key in keys.all} == {-1}


def changed(**fields: Any) -> Callable[[Lines], None]:
    """Puts these into the second line, that of step 1; `a__b` is field b of a."""

    def change(lines: Lines) -> None:
        for path, value in fields.items():
            *parents, name = path.split("__")
            place = lines[1]
            for parent in parents:
                place = place[parent]
            place[name] = value

    return change


def moved(lines: Lines) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def with_event_id(text: str) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        [line for line in lines if line["kind"] == "event"][1]["id"] = text

    return change


def with_order(data: dict[str, Any]) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        next(line for line in lines if line["kind"] == "change")["event"]["data"] = data

    return change


EVENTS_FROM = STEPS + 1


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (lambda lines: lines[0].update(format=2), "line 1, format", "must be 1"),
        (lambda lines: lines[0].pop("format"), "line 1, format", "must be 1"),
        (lambda lines: lines[0].pop("about"), "line 1, about", "is required"),
        (lambda lines: lines[0].update(attempts=[[2, 0]]), "line 1, attempts", "1, 2, ..."),
        (lambda lines: lines[0].update(attempts=[]), "line 1, attempts", "length >= 1"),
        (lambda lines: lines[0]["about"].update(tags={"a\nb": ""}), "line 1, tags", "of one line"),
        (lambda lines: lines.pop(0), "line 1, format", "must be 1"),
        (lambda lines: lines.insert(2, lines[0]), "line 3, kind", "in the first line"),
        (lambda lines: lines.append(lines[1]), None, "may follow"),
        (lambda lines: lines[3].update(kind="stp"), "line 4, kind", "stp"),
        (moved, "line 3, figures.step", "must be above 2"),
        (changed(more=1), "line 2, more", "not a field"),
        (changed(figures__step=1.5), "line 2, figures.step", "a whole number"),
        (changed(figures__mixed=-1), "line 2, figures.mixed", "a whole number"),
        (changed(figures__acrr=1), "line 2, figures", "must be of step"),
        (changed(figures={"step": 1, "attempt": 1}), "line 2, figures.at_s", "is required"),
        (changed(figures__attempt=2), "line 2, figures.attempt", "must be 1"),
        (changed(record__step=2), "line 2, record", "attempt 1, step 1"),
        (changed(record__collapse__acr="x"), "line 2, record.collapse.acr", "float"),
        (changed(state__attempt=2), "line 2, state", "attempt 1, step 1"),
        (changed(state__settings__alpha=7), "line 2, state.settings", "alpha"),
        (changed(digest=""), "line 2, digest", "length >= 1"),
        (lambda lines: lines[-20].update(rewards="AAAA"), None, "3 bytes are no rewards"),
        (with_event_id("x"), f"line {EVENTS_FROM + 1}, id", "the id of an event"),
        (with_event_id("0-1"), f"line {EVENTS_FROM + 1}, id", "above those before it"),
        (with_event_id(f"{2**63}-0"), f"line {EVENTS_FROM + 1}, id", "the id of an event"),
        (with_order({"actor": "ana"}), None, "missing required field `reason`"),
        (lambda lines: lines[-1].update(steps=1), None, f"must be {STEPS - 1}, the lines there"),
        (lambda lines: lines[-1]["state"].update(attempts=[[1, 0]]), None, "of the first line"),
        (lambda lines: lines[-1]["state"].update(step=3), None, f"at least {STEPS - 1}"),
        (lambda lines: lines.pop(), None, "breaks off before its line of kind end"),
        (lambda lines: lines.clear(), "line 1", "breaks off before its line of kind end"),
    ],
)
def test_a_line_that_no_export_writes_is_named_and_nothing_is_written(
    client, lines, other, change, field, words
):
    change(lines)
    found = refused(imported(client, other, lines), 422)
    if field is not None:
        assert found["field"] == field
    assert words in found["detail"]
    assert found["detail"].startswith("line ")


def test_a_file_of_another_version_says_which_one_wrote_it(client, lines, other):
    lines[0] |= {"format": 2, "acr": "9.9.9", "novelty": True}
    detail = refused(imported(client, other, lines), 422)["detail"]
    assert "the file is of acr 9.9.9; got 2" in detail


@pytest.mark.parametrize("content", [b"{", b"\n", b"[1]\n", b"\xff\n", b"null\n", b"[" * 5000])
def test_what_is_no_file_of_ours_is_refused(client, other, content):
    headers = {"content-type": LINES}
    reply = client.post(f"/v1/runs/{other}/import", content=content, headers=headers)
    assert reply.status_code in (400, 422), reply.text
    assert "line 1" in refused(reply, reply.status_code)["detail"]


def test_the_body_has_to_say_that_it_is_lines(client, other):
    reply = client.post(f"/v1/runs/{other}/import", json={})
    assert refused(reply, 415)["allowed"] == LINES


def test_an_id_that_is_none_is_refused(client):
    headers = {"content-type": LINES}
    reply = client.post("/v1/runs/-x/import", content=b"", headers=headers)
    assert refused(reply, 422)["field"] == "id"


def test_a_run_nobody_created_has_no_export(client):
    found = refused(client.get(f"/v1/runs/{new_run_id()}/export"), 404)
    assert found["type"] == "urn:acr:error:run-not-found"


def test_a_line_that_is_longer_than_a_body_may_be_is_refused(redis_url, lines, other):
    longest = max(len(msgspec.json.encode(line)) for line in lines)
    with (
        api_server(redis_url, max_body_bytes=longest) as url,
        httpx.Client(base_url=url, trust_env=False) as small,
    ):
        found = refused(imported(small, other, [*lines[:3], {"a": "x" * longest}]), 413)
    assert found["detail"] == f"line 4: more than the {longest} bytes allowed"


def test_a_sender_who_goes_away_leaves_nothing(client, redis_url, lines, other):
    def half() -> Iterator[bytes]:
        yield b"".join(msgspec.json.encode(line) + b"\n" for line in lines[:150])
        eventually(lambda: keys_of(redis_url, other) != [], "the first lines are in a draft")
        raise ConnectionError

    headers = {"content-type": LINES}
    with pytest.raises(ConnectionError):
        client.post(f"/v1/runs/{other}/import", content=half(), headers=headers)
    eventually(lambda: keys_of(redis_url, other) == [], "the draft is gone")


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


LIMITS = {"max_line_bytes": 2**20, "max_bytes": 2**24}


@pytest.fixture
async def small(monitor: Monitor) -> str:
    """A run of two steps."""
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    for step in (1, 2):
        await recorded(monitor, run.id, report(step))
    return run.id


async def whole(monitor: Monitor, run_id: str) -> bytes:
    return b"".join([piece async for piece in await monitor.transfer.exported(run_id)])


async def test_a_file_may_come_in_pieces_of_any_size_and_without_its_last_line_feed(monitor, small):
    content = (await whole(monitor, small)).removesuffix(b"\n")
    single = [content[at : at + 1] for at in range(len(content))]
    run, is_new = await monitor.transfer.imported(new_run_id(), pieces(*single), **LIMITS)
    assert (run.step, is_new) == (2, True)


async def test_a_file_may_have_so_many_bytes_and_none_more(monitor, small):
    content, name = await whole(monitor, small), new_run_id()
    limits = {"max_line_bytes": len(content), "max_bytes": len(content)}
    more = {**limits, "max_bytes": len(content) - 1}
    with pytest.raises(InputTooLarge, match=f"more than the {len(content) - 1} bytes"):
        await monitor.transfer.imported(name, pieces(content), **more)
    run, is_new = await monitor.transfer.imported(name, pieces(content), **limits)
    assert (run.id, is_new) == (name, True)


async def test_there_may_be_no_room_for_one_more_run(monitor, small, redis_url, clock):
    content = await whole(monitor, small)
    store = RedisStore(redis_url)
    full = Monitor(store, clock, max_runs=1)
    with pytest.raises(TooManyRuns):
        await full.transfer.imported(new_run_id(), pieces(content), **LIMITS)
    await store.close()


async def test_an_export_shows_the_run_of_when_it_began(monitor, small):
    export = await monitor.transfer.exported(small)
    content = await anext(export)
    await recorded(monitor, small, report(3))
    await monitor.control.kill(small, Order(reason="meanwhile", actor="ana"))
    content += b"".join([piece async for piece in export])
    run, _ = await monitor.transfer.imported(new_run_id(), pieces(content), **LIMITS)
    assert (run.step, run.settings.kill) == (2, None)
    assert b"meanwhile" not in content


async def test_an_export_of_a_run_that_is_purged_meanwhile_breaks_off(monitor, small, redis_url):
    export = await monitor.transfer.exported(small)
    await anext(export)
    store = RedisStore(redis_url)
    await store.redis.delete(*RunKeys(small).all)
    await store.close()
    with pytest.raises(RunNotFound):
        await anext(export)


async def test_of_two_imports_of_one_id_at_once_one_is_new(monitor, small):
    content, name = await whole(monitor, small), new_run_id()
    found = await asyncio.gather(
        *(monitor.transfer.imported(name, pieces(content), **LIMITS) for _ in range(3))
    )
    assert sorted(is_new for _, is_new in found) == [False, False, True]


async def test_how_a_run_ended_stays(monitor, small):
    await monitor.end(small, EndOfRun(attempt=1, how="out of memory"))
    content = await whole(monitor, small)
    run, _ = await monitor.transfer.imported(new_run_id(), pieces(content), **LIMITS)
    assert run.ended == "out of memory"


async def test_a_draft_that_is_lost_becomes_no_run(monitor, small, redis_url):
    store = RedisStore(redis_url)
    stored, name = await store.load(small), new_run_id()
    assert stored is not None
    draft = Draft(store.redis, name)
    await draft.begin(stored.state)
    # Of a run without steps only this is there.
    (key,) = [key async for key in store.redis.scan_iter(f"acr:{{{name}}}*")]
    # It removes itself when its writer dies.
    assert 0 < await store.redis.ttl(key) <= DRAFT_S
    await store.redis.delete(key)
    with pytest.raises(StoreUnavailable, match="try it again"):
        await draft.adopt(stored)
    assert await store.load(name) is None
    await store.close()


async def test_a_reader_is_told_the_number_of_the_line(monitor, small):
    content = (await whole(monitor, small)).replace(b'"mixed":2', b'"mixed":-2')
    with pytest.raises(InvalidInput, match=r"^line 2, figures.mixed: must be a whole number"):
        await monitor.transfer.imported(new_run_id(), pieces(content), **LIMITS)


def test_groups_come_along_as_they_were_reported(client, lines):
    name = new_run_id()
    imported(client, name, lines)
    groups = client.get(f"/v1/runs/{name}/steps/10/groups").json()["groups"]
    assert [group["rewards"] for group in groups] == [MIXED, MIXED, WRONG, CORRECT]
