"""The stream of the list of runs: which runs move, told lightly."""

import re
import time
from typing import Any

import redis

from monitor_service.monitor import Monitor
from monitor_service.store.keys import RUNS, SETTINGS_CHANNELS, RunKeys, run_of_channel
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun, settings_channel
from tests.servers import eventually, stock_redis
from tests.service.orders import reported, run_of
from tests.service.reports import new_run_id
from tests.service.streams import Stream, streaming


def moved(stream: Stream, run_id: str) -> list[dict[str, Any]]:
    return [one for one in stream.told("moved") if one["run_id"] == run_id]


def test_the_list_of_runs_tells_of_every_run_that_moves(base_url, client):
    run_ids = [new_run_id() for _ in range(3)]
    with streaming(base_url, "/v1/stream") as stream:
        for run_id in run_ids:
            client.post("/v1/runs", json={"id": run_id})
            reported(client, run_id, 1, rewards=[[0.0] * 4] * 3 + [[0.0, 1.0, 0.0, 1.0]])
        for run_id in run_ids:
            eventually(
                lambda: [one["step"] for one in moved(stream, run_id)][-1:] == [1],  # noqa: B023
                "the step is told",
            )
            # 3 of 4 groups all wrong.
            newest = moved(stream, run_id)[-1]
            assert (newest["acr"], newest["verdict"], newest["ended"]) == (0.75, None, None)
        client.request("DELETE", f"/v1/runs/{run_ids[0]}", json={"reason": "why"})
        eventually(lambda: {"run_id": run_ids[0]} in stream.told("gone"), "it is gone")


def test_the_list_of_runs_tells_the_worst_verdict(base_url, client, run_id):
    ignored = {"settings_version": 1, "through_step": 0, "mode": "active", "threshold": 0.5}
    ignored |= {"triggered": False, "knobs": {"beta": {"status": "ignored", "reason": "no"}}}
    with streaming(base_url, "/v1/stream") as stream:
        reported(client, run_id, 1, 2, applied=ignored)
        (verdict,) = run_of(client, run_id)["verdicts"]
        found = (verdict["rule"], verdict["severity"])
        eventually(
            lambda: [(o["verdict"], o["severity"]) for o in moved(stream, run_id)][-1:] == [found],
            "the verdict is told",
        )


def test_a_run_that_moves_fast_is_told_of_twice_a_second_at_most(base_url, client, run_id):
    with streaming(base_url, "/v1/stream") as stream:
        began = time.monotonic()
        for step in range(1, 41):
            reported(client, run_id, step)
        eventually(
            lambda: [one["step"] for one in moved(stream, run_id)][-1:] == [40], "the newest step"
        )
        took_s = time.monotonic() - began
        # One at the beginning, then one each 0.5 s; and one more, of the subscription.
        assert len(moved(stream, run_id)) <= took_s / 0.5 + 2


async def test_who_may_see_some_runs_only_hears_of_those_only(monitor):
    async with monitor.live.runs(lambda run_id: run_id.endswith("-seen")) as watcher:
        name = new_run_id()
        for run_id in (name, f"{name}-seen"):
            await monitor.create(CreateRun(id=run_id))
        messages = watcher.messages()
        text = b""
        while f"{name}-seen".encode() not in text:
            text += await anext(messages)
        assert text.count(name.encode()) == text.count(f"{name}-seen".encode())
        await messages.aclose()


def test_the_channel_of_a_run_names_it():
    assert run_of_channel(settings_channel("a.b-c_d")) == "a.b-c_d"
    assert SETTINGS_CHANNELS == "acr:{*}:settings-published"


async def test_a_run_that_cannot_be_read_hides_no_other(monitor, redis_url, caplog):
    broken, name = new_run_id(), new_run_id()
    with redis.Redis.from_url(redis_url) as server:
        server.set(RunKeys(broken).run, "no hash")
        server.zadd(RUNS, {broken: 1.0})
        # The subscription has every run looked at.
        async with monitor.live.runs(lambda run_id: run_id in (broken, name)) as watcher:
            await monitor.create(CreateRun(id=name))
            messages = watcher.messages()
            text = b""
            while name.encode() not in text:
                text += await anext(messages)
            await messages.aclose()
        server.delete(RunKeys(broken).run)
        server.zrem(RUNS, broken)
    assert broken.encode() not in text
    assert broken in caplog.text


async def test_who_begins_to_watch_many_runs_is_told_of_all_of_them(folder):
    with stock_redis(folder) as url:
        store = RedisStore(url)
        monitor = Monitor(store, time.time)
        names = {f"run-{number}" for number in range(1200)}
        for name in names:
            await monitor.create(CreateRun(id=name))
        async with monitor.live.runs(lambda run_id: True) as watcher:
            told: set[str] = set()
            messages = watcher.messages()
            while told != names:
                text = (await anext(messages)).decode()
                told |= set(re.findall(r'"run_id":"([^"]+)"', text))
            await messages.aclose()
        monitor.close()
        await store.close()
