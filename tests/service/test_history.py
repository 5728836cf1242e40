"""What was reported, read back: records, columns, CSV, groups."""

import csv
import io
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from monitor_service.errors import InvalidInput, StepNotKept, StoreCorrupt
from monitor_service.monitor import Monitor
from monitor_service.retention import Retention
from monitor_service.series import COLUMNS
from monitor_service.store.history import HistoryStore
from monitor_service.store.keys import RunKeys
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun
from tests.service.conftest import Clock
from tests.service.problems import refused
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id, recorded, report


def steps_of(reply: httpx.Response) -> list[float]:
    assert reply.status_code == 200, reply.text
    return reply.json()["columns"]["step"]


@pytest.fixture
def path(client: httpx.Client, run_id: str) -> str:
    """Steps 1 to 6, their entropy 1.0, 0.9, ..., 0.5; none of step 4."""
    path = f"/v1/runs/{run_id}/steps"
    scalars = [{"entropy": (11 - step) / 10} for step in range(1, 7)]
    scalars[3] = {}
    reports = [body(step, scalars=own) for step, own in enumerate(scalars, start=1)]
    assert client.post(path, json=reports).status_code == 200
    return path


def test_columns_are_named_in_order_with_null_where_a_figure_is_absent(client, path, run_id):
    found = client.get(path, params={"fields": "acr, entropy,mixed"}).json()
    assert found == {
        "run_id": run_id,
        "fields": ["step", "acr", "entropy", "mixed"],
        "total": 6,
        "steps_from": 1,
        "steps_to": 6,
        "next_from": None,
        "columns": {
            "step": [1, 2, 3, 4, 5, 6],
            "acr": [0.5] * 6,
            "entropy": [1.0, 0.9, 0.8, None, 0.6, 0.5],
            "mixed": [2] * 6,
        },
    }


def test_a_column_named_twice_is_one_column(client, path):
    assert client.get(path, params={"fields": "acr,step,acr"}).json()["fields"] == ["step", "acr"]


def test_a_range_of_columns_is_read_in_pages(client, path):
    query: dict[str, Any] = {"fields": "acr", "from": 2, "to": 5, "limit": 3}
    first = client.get(path, params=query)
    assert steps_of(first) == [2, 3, 4]
    assert (first.json()["total"], first.json()["next_from"]) == (4, 5)
    second = client.get(path, params=query | {"from": 5})
    assert steps_of(second) == [5]
    assert second.json()["next_from"] is None


def test_a_range_that_holds_no_steps_is_empty(client, path):
    found = client.get(path, params={"fields": "acr", "from": 7}).json()
    assert (found["total"], found["steps_from"], found["steps_to"]) == (0, None, None)
    assert found["columns"] == {"step": [], "acr": []}


def test_a_run_without_steps_has_empty_columns(client, run_id):
    assert steps_of(client.get(f"/v1/runs/{run_id}/steps", params={"fields": "acr"})) == []


def test_fewer_points_than_steps_keep_both_ends_and_the_extremes(client, path):
    # Entropy falls, so its extremes are the ends: two of the four places are enough.
    found = client.get(path, params={"fields": "entropy", "points": 4})
    assert steps_of(found) == [1, 6]
    assert (found.json()["total"], found.json()["next_from"]) == (6, None)


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"fields": "acr,acrr"}, "fields", "must be of step, attempt, at_s, acr, "),
        ({"fields": ""}, "fields", "must be of step, "),
        ({"fields": "acr,kl", "points": 5}, "points", "at least 6, so that extremes of every"),
        ({"points": 1}, "points", "[2, 10000]"),
        ({"points": 10_001}, "points", "[2, 10000]"),
        ({"points": 100, "limit": 5, "fields": "acr"}, "limit", "no limit beside points"),
        ({"fields": "acr", "limit": 10_001}, "limit", "[1, 10000]"),
        ({"limit": 1001}, "limit", "[1, 1000]"),
        ({"format": "xml"}, "format", "must be json or csv"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(client, path, query, field, words):
    found = refused(client.get(path, params=query), 422)
    assert found["field"] == field
    assert words in found["allowed"]


@pytest.mark.parametrize(
    ("query", "headers"),
    [({"format": "csv"}, {}), ({}, {"accept": "text/csv"}), ({"format": "csv", "points": 500}, {})],
)
def test_a_table_has_a_header_and_every_column(client, path, query, headers):
    reply = client.get(path, params=query, headers=headers)
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    header, *rows = csv.reader(io.StringIO(reply.text, newline=""))
    assert header == list(COLUMNS)
    assert [row[header.index("step")] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [row[header.index("entropy")] for row in rows] == ["1.0", "0.9", "0.8", "", "0.6", "0.5"]


def test_a_table_is_exactly_as_rfc_4180_writes_it(client, path):
    reply = client.get(path, params={"format": "csv", "fields": "mixed,entropy", "from": 3})
    assert reply.content == b"step,mixed,entropy\r\n3,2,0.8\r\n4,2,\r\n5,2,0.6\r\n6,2,0.5\r\n"
    assert "link" not in reply.headers


def test_a_table_that_goes_on_says_where(client, path):
    reply = client.get(path, params={"format": "csv", "fields": "acr", "limit": 4})
    further = client.get(reply.links["next"]["url"])
    assert further.text == "step,acr\r\n5,0.5\r\n6,0.5\r\n"


def test_json_is_asked_for_before_what_the_browser_accepts(client, path):
    reply = client.get(path, params={"format": "json"}, headers={"accept": "text/csv"})
    assert len(reply.json()["steps"]) == 6


def test_one_step_is_the_record_of_the_list(client, path):
    listed = client.get(path).json()["steps"]
    assert client.get(f"{path}/3").json() == listed[2]


@pytest.mark.parametrize("step", ["0", "-1", "1.5", "x", "9007199254740993", "1" * 30])
def test_what_is_no_step_is_refused(client, path, step):
    assert refused(client.get(f"{path}/{step}"), 422)["field"] == "step"
    assert refused(client.get(f"{path}/{step}/groups"), 422)["field"] == "step"


def test_a_step_that_was_not_reported_is_not_found(client, path, run_id):
    detail = "no record of step 7: kept are those of steps 1 to 6"
    assert refused(client.get(f"{path}/7"), 404)["detail"] == detail
    client.post(path, json=body(8))
    found = refused(client.get(f"{path}/7"), 404)
    assert found["detail"] == "no record of step 7: it was not reported"
    assert found["type"] == "urn:acr:error:step-not-kept"
    unknown = client.get(f"/v1/runs/{new_run_id()}/steps/1/groups")
    assert refused(unknown, 404)["type"] == "urn:acr:error:run-not-found"


def test_groups_show_what_each_completion_got_and_what_it_means(client, run_id):
    rewards = [[1, 0.5, None], [2, 2, 2], [0.7], [3, 3, 3], [0.2, 0.2]]
    primary = [[1, 0, None], [1, 1, 1], [1], [0, 0, 0], [0.4, 0.4]]
    report = {"step": 1, "rewards": rewards, "primary": primary}
    assert client.post(f"/v1/runs/{run_id}/steps", json=report).is_success
    found = client.get(f"/v1/runs/{run_id}/steps/1/groups").json()
    groups = found.pop("groups")
    about = {"run_id": run_id, "step": 1, "attempt": 1, "reward_low": 0.0, "reward_high": 1.0}
    assert found == about
    assert [group["outcome"] for group in groups] == [
        "mixed",
        "all_correct",
        "unscored",
        "all_wrong",
        "uniform_other",
    ]
    # Mean (1 + 0.5) / 2, and both rewards 0.25 from it.
    assert (groups[0]["scored"], groups[0]["mean"], groups[0]["std"]) == (2, 0.75, 0.25)
    assert groups[0]["rewards"] == [1.0, 0.5, None]
    assert groups[0]["primary"] == [1.0, 0.0, None]
    # Shorter groups are padded.
    assert groups[4]["rewards"] == [0.2, 0.2, None]


def test_without_a_primary_reward_there_is_none(client, path):
    groups = client.get(f"{path}/2/groups").json()["groups"]
    assert [group["rewards"] for group in groups] == [MIXED, MIXED, WRONG, CORRECT]
    assert [group["primary"] for group in groups] == [None] * 4


def test_a_group_nothing_was_scored_of_has_no_mean(client, run_id):
    path = f"/v1/runs/{run_id}/steps"
    client.post(path, json={"step": 1, "rewards": [[None, None]]})
    (group,) = client.get(f"{path}/1/groups").json()["groups"]
    nothing = {"outcome": "unscored", "scored": 0, "mean": None, "std": None}
    assert group == nothing | {"rewards": [None, None], "primary": None}


def test_what_an_attempt_did_over_again_counts_once(client, path, run_id):
    client.post("/v1/runs", json={"id": run_id, "resume_from_step": 3})
    client.post(path, json=body(4, attempt=2, rewards=[CORRECT] * 4))
    found = client.get(path, params={"fields": "attempt,acr"}).json()["columns"]
    assert found == {"step": [1, 2, 3, 4], "attempt": [1, 1, 1, 2], "acr": [0.5, 0.5, 0.5, 1.0]}
    assert client.get(f"{path}/4").json()["attempt"] == 2
    assert client.get(f"{path}/4/groups").json()["attempt"] == 2
    # The record of before is there for those who ask for it.
    assert client.get(f"{path}/4", params={"attempt": 1}).json()["collapse"]["acr"] == 0.5
    groups = client.get(f"{path}/4/groups", params={"attempt": 1}).json()["groups"]
    assert groups[0]["rewards"] == MIXED
    assert refused(client.get(f"{path}/6"), 404)


@pytest.mark.parametrize(
    ("far", "pages"),
    # A page spans 1000 step numbers; records are kept of the newest 20,000.
    [(15_000, [[1], [], [15_000]]), (2**50, [[], [2**50]])],
)
def test_a_gap_longer_than_many_pages_is_stepped_over(client, run_id, far, pages):
    path = f"/v1/runs/{run_id}/steps"
    client.post(path, json=[body(1), body(far)])
    found = [client.get(path).json()]
    while (at := found[-1]["next_from"]) is not None:
        found.append(client.get(path, params={"from": at}).json())
    assert [[one["step"] for one in page["steps"]] for page in found] == pages


@pytest.fixture
async def forgetful(redis_url: str, clock: Clock) -> AsyncIterator[tuple[Monitor, str]]:
    """A monitor that keeps rewards of 3 steps and records of 1000; a run with steps 1 to 1005."""
    store = RedisStore(redis_url)
    monitor = Monitor(store, clock, Retention(rewards_steps=3, records_steps=1000))
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    await monitor.recorder.record(run.id, [report(step) for step in range(1, 1006)])
    yield monitor, run.id
    await store.close()


async def test_records_that_are_dropped_are_announced_and_their_figures_stay(forgetful):
    monitor, run_id = forgetful
    page = await monitor.history.steps(run_id, 1, None, 1000)
    # 1005 - 1000 steps are gone.
    assert (page.records_from, page.steps[0].step, page.next_from) == (6, 6, 1001)
    assert len((await monitor.history.step(run_id, 6, None)).components) == 0
    with pytest.raises(StepNotKept, match="no record of step 5: kept are those of steps 6 to 1005"):
        await monitor.history.step(run_id, 5, None)
    columns = await monitor.history.columns(run_id, ["acr"], 1, None, limit=10_000)
    assert columns.columns["step"] == list(range(1, 1006))


async def test_rewards_beyond_retention_say_of_which_steps_they_are_kept(forgetful):
    monitor, run_id = forgetful
    assert len((await monitor.history.groups(run_id, 1003, None)).groups) == 4
    words = "no rewards of step 1002: kept are those of steps 1003 to 1005"
    with pytest.raises(StepNotKept, match=words):
        await monitor.history.groups(run_id, 1002, None)


async def test_where_no_rewards_are_kept_none_are_promised(redis_url, clock):
    store = RedisStore(redis_url)
    monitor = Monitor(store, clock, Retention(rewards_steps=0))
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    await recorded(monitor, run.id, report(1))
    with pytest.raises(StepNotKept, match="no rewards of step 1: none are kept"):
        await monitor.history.groups(run.id, 1, None)
    await store.close()


async def test_what_somebody_else_wrote_into_the_store_is_told(monitor, redis_url):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    await recorded(monitor, run.id, report(1))
    store = RedisStore(redis_url)
    keys = RunKeys(run.id)
    await store.redis.append(keys.series, b"12345")
    await store.redis.hset(keys.rewards, "1:1", b"nonsense")
    await store.close()
    with pytest.raises(StoreCorrupt, match="its series in Redis"):
        await monitor.history.columns(run.id, ["acr"], 1, None, limit=10)
    with pytest.raises(StoreCorrupt, match="rewards of step 1"):
        await monitor.history.groups(run.id, 1, None)


LONG = 100_000
EIGHT = ("acr", "entropy", "kl", "grad_norm", "loss", "reward_mean", "threshold", "step_s")
MAX_CPU_S = 0.2


async def test_a_long_history_is_thinned_in_a_moment_and_keeps_its_spike(monitor, redis_url):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    await recorded(monitor, run.id, report(LONG))
    rows = np.random.default_rng(0).random((LONG - 1, len(COLUMNS)))
    rows[:, COLUMNS.index("step")] = range(1, LONG)
    rows[:, COLUMNS.index("attempt")] = 1
    rows[77_777, COLUMNS.index("kl")] = 50.0
    rows[5_000:20_000, COLUMNS.index("entropy")] = math.nan
    store = RedisStore(redis_url)
    key = RunKeys(run.id).series
    own = await HistoryStore(store.redis).series(run.id)
    await store.redis.set(key, rows.astype("<f8").tobytes() + own)
    try:
        began_s = time.process_time()
        found = await monitor.history.columns(run.id, EIGHT, 1, None, limit=1, points=1000)
        spent_s = time.process_time() - began_s
    finally:
        await store.redis.delete(*RunKeys(run.id).all)
        await store.close()
    steps = found.columns["step"]
    assert (found.total, len(steps) <= 1000, steps[0], steps[-1]) == (LONG, True, 1, LONG)
    assert found.columns["kl"][steps.index(77_778)] == 50.0
    assert spent_s < MAX_CPU_S


async def test_an_unknown_column_is_refused_before_anything_is_read(monitor):
    with pytest.raises(InvalidInput, match="fields: must be of step"):
        await monitor.history.columns("no-such-run", ["nothing"], 1, None, limit=1)
