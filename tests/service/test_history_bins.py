"""A history of any length at a glance: in bins, and its newest steps."""

import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
from redis.asyncio import Redis

from monitor_service.client.api import MonitorApi
from monitor_service.errors import StoreCorrupt
from monitor_service.monitor import Monitor
from monitor_service.series import COLUMNS, ROW_BYTES
from monitor_service.store.history import HistoryStore
from monitor_service.store.keys import RunKeys
from monitor_service.wire import CreateRun
from tests.service.problems import refused
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id, recorded, report


@pytest.fixture
def path(client, run_id):
    """Steps 1 to 5, their entropy 1.0, 0.9, none, 0.7, 0.6; two of four groups are mixed."""
    path = f"/v1/runs/{run_id}/steps"
    scalars = [{"entropy": (11 - step) / 10} for step in range(1, 6)]
    scalars[2] = {}
    reports = [body(step, scalars=own) for step, own in enumerate(scalars, start=1)]
    assert client.post(path, json=reports).status_code == 200
    return path


def test_bins_hold_equal_numbers_of_steps_and_what_each_saw(client, path, run_id):
    # 5 steps in at most 3 bins: ceil(5 / 3) = 2 in each, and one is left for the last.
    assert client.get(path, params={"fields": "entropy,mixed", "bins": 3}).json() == {
        "run_id": run_id,
        "fields": ["step", "entropy", "mixed"],
        "total": 5,
        "steps_per_bin": 2,
        "steps_from": 1,
        "steps_to": 5,
        # (1.0 + 0.9) / 2, step 4 alone, step 5 alone.
        "columns": {"step": [2, 4, 5], "entropy": [0.95, 0.7, 0.6], "mixed": [2.0, 2.0, 2.0]},
        "low": {"step": [1, 3, 5], "entropy": [0.9, 0.7, 0.6], "mixed": [2, 2, 2]},
        "high": {"step": [2, 4, 5], "entropy": [1.0, 0.7, 0.6], "mixed": [2, 2, 2]},
    }


def test_with_bins_enough_each_holds_one_step(client, path):
    found = client.get(path, params={"fields": "entropy", "bins": 5, "from": 2, "to": 4}).json()
    assert (found["total"], found["steps_per_bin"]) == (3, 1)
    alike = {"step": [2, 3, 4], "entropy": [0.9, None, 0.7]}
    assert found["columns"] == found["low"] == found["high"] == alike


def test_a_run_without_steps_has_no_bins(client, run_id):
    found = client.get(f"/v1/runs/{run_id}/steps", params={"fields": "acr", "bins": 10}).json()
    assert (found["total"], found["steps_per_bin"], found["steps_from"]) == (0, 1, None)
    assert found["low"] == {"step": [], "acr": []}


def test_bins_without_fields_have_every_column(client, path):
    assert client.get(path, params={"bins": 2}).json()["fields"] == list(COLUMNS)


def test_the_newest_steps_come_as_columns(client, path, run_id):
    assert client.get(path, params={"fields": "entropy", "last": 3}).json() == {
        "run_id": run_id,
        "fields": ["step", "entropy"],
        "total": 3,
        "steps_from": 3,
        "steps_to": 5,
        "next_from": None,
        "columns": {"step": [3, 4, 5], "entropy": [None, 0.7, 0.6]},
    }
    every = client.get(path, params={"last": 10}).json()
    assert (every["fields"], every["total"]) == (list(COLUMNS), 5)


def test_the_newest_steps_come_as_a_table(client, path):
    reply = client.get(path, params={"fields": "entropy", "last": 2, "format": "csv"})
    assert reply.text == "step,entropy\r\n4,0.7\r\n5,0.6\r\n"


def test_the_newest_of_no_steps_are_none(client, run_id):
    found = client.get(f"/v1/runs/{run_id}/steps", params={"fields": "acr", "last": 5}).json()
    assert (found["total"], found["columns"]) == (0, {"step": [], "acr": []})


def test_behind_steps_of_a_replaced_attempt_the_newest_are_found(client, path, run_id):
    client.post("/v1/runs", json={"id": run_id, "resume_from_step": 2})
    client.post(path, json=body(3, attempt=2, rewards=[CORRECT] * 4))
    # Behind the row of attempt 2 stand those of the steps 5, 4 and 3 that it replaced.
    found = client.get(path, params={"fields": "attempt,acr", "last": 2}).json()["columns"]
    assert found == {"step": [2, 3], "attempt": [1, 2], "acr": [0.5, 1.0]}


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"bins": 0}, "bins", "[1, 2000]"),
        ({"bins": 2001}, "bins", "[1, 2000]"),
        ({"bins": "many"}, "bins", "a whole number in [1, 2000]"),
        ({"last": 0}, "last", "[1, 10000]"),
        ({"last": 10_001}, "last", "[1, 10000]"),
        ({"bins": 5, "fields": "acrr"}, "fields", "must be of step, "),
        ({"last": 5, "fields": "acrr"}, "fields", "must be of step, "),
        ({"bins": 5, "points": 100}, "points", "no points beside bins"),
        ({"bins": 5, "limit": 100}, "limit", "no limit beside bins"),
        ({"bins": 5, "last": 100}, "bins", "no bins beside last"),
        ({"last": 5, "points": 100}, "points", "no points beside last"),
        ({"last": 5, "limit": 100}, "limit", "no limit beside last"),
        ({"last": 5, "from": 2}, "last", "no last beside from"),
        ({"last": 5, "to": 2}, "last", "no last beside to"),
        ({"bins": 5, "format": "csv"}, "format", "must be json for bins"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(client, path, query, field, words):
    found = refused(client.get(path, params={"fields": "acr", **query}), 422)
    assert found["field"] == field
    assert words in found["allowed"]


def test_the_client_reads_bins_and_the_newest_steps(base_url, run_id, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    worse = report(2, rewards=[MIXED, WRONG, WRONG, WRONG])
    with MonitorApi(base_url) as monitor:
        monitor.report(run_id, [report(1), worse, report(3)])
        newest = monitor.newest(run_id, ["acr"], 2)
        found = monitor.binned(run_id, ["acr"], 2)
        one = monitor.binned(run_id, ["acr"], 2, first=2, last=2)
    assert newest.columns == {"step": [2, 3], "acr": [0.75, 0.5]}
    # Two steps, (0.5 + 0.75) / 2, and the third.
    assert found.columns == {"step": [2, 3], "acr": [0.625, 0.5]}
    assert (found.low["acr"], found.high["acr"]) == ([0.5, 0.5], [0.75, 0.5])
    assert one.columns["acr"] == [0.75]


LONG = 100_000
THIRTY = COLUMNS[3:33]
MAX_CPU_S = 0.3
MOST_BYTES_OF_NEWEST = 100_000


@pytest.fixture
async def long_run(monitor: Monitor, redis_url: str) -> AsyncIterator[str]:
    """A run of 100,000 steps whose figures are noise, with a spike of KL at step 77,778."""
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    await recorded(monitor, run.id, report(LONG))
    rows = np.random.default_rng(0).random((LONG - 1, len(COLUMNS)))
    rows[:, COLUMNS.index("step")] = range(1, LONG)
    rows[:, COLUMNS.index("attempt")] = 1
    rows[77_777, COLUMNS.index("kl")] = 50.0
    rows[5_000:20_000, COLUMNS.index("entropy")] = np.nan
    async with Redis.from_url(redis_url) as redis:
        key = RunKeys(run.id).series
        own = await HistoryStore(redis).series(run.id)
        await redis.set(key, rows.astype("<f8").tobytes() + bytes(own))
        yield run.id
        await redis.delete(*RunKeys(run.id).all)


async def test_a_long_history_is_binned_in_a_moment_and_keeps_its_spike(monitor, long_run):
    began_s = time.process_time()
    found = await monitor.history.binned(long_run, THIRTY, 1, None, 600)
    spent_s = time.process_time() - began_s
    # ceil(100,000 / 600) = 167 steps a bin, ceil(100,000 / 167) = 599 bins.
    assert (found.total, found.steps_per_bin, len(found.columns["kl"])) == (LONG, 167, 599)
    assert found.high["kl"][77_777 // 167] == 50.0
    assert found.columns["entropy"][5_000 // 167 + 1] is None
    assert spent_s < MAX_CPU_S


async def test_of_a_long_history_only_the_end_is_read(monitor, long_run, redis_url):
    async with Redis.from_url(redis_url) as redis:
        before = (await redis.info("stats"))["total_net_output_bytes"]
        found = await monitor.history.newest(long_run, THIRTY, 100)
        after = (await redis.info("stats"))["total_net_output_bytes"]
    assert found.columns["step"] == list(range(LONG - 99, LONG + 1))
    # 100 rows of 272 bytes, the run itself, and what the two questions were answered.
    assert 100 * ROW_BYTES < after - before < MOST_BYTES_OF_NEWEST


async def test_an_end_that_is_no_row_is_told(monitor, redis_url):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    for step in range(1, 6):
        await recorded(monitor, run.id, report(step))
    async with Redis.from_url(redis_url) as redis:
        assert await redis.strlen(RunKeys(run.id).series) == 5 * ROW_BYTES
        await redis.append(RunKeys(run.id).series, b"12345")
    with pytest.raises(StoreCorrupt, match="its series in Redis"):
        await monitor.history.newest(run.id, ["acr"], 2)
