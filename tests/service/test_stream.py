"""Streams: everything once, whoever is asked, whatever dies; and nobody watches at others' cost."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import redis

from monitor_service.live import watcher as live_watcher
from monitor_service.live.watcher import MAX_WAITING_BYTES, Watcher
from monitor_service.store.keys import RunKeys
from monitor_service.wire import settings_channel
from tests.servers import acr_serve, api_server, eventually, stock_redis
from tests.service.orders import ordered, patched, reported, run_of, settings_after
from tests.service.problems import refused
from tests.service.reports import new_run_id
from tests.service.streams import Stream, streaming


def path_of(run_id: str) -> str:
    return f"/v1/runs/{run_id}/stream"


def steps_of(client: httpx.Client, run_id: str) -> list[dict[str, Any]]:
    return client.get(f"/v1/runs/{run_id}/steps").json()["steps"]


def eventful(client: httpx.Client, run_id: str) -> None:
    """Steps, gaps, orders, a batch of reports and two further attempts."""
    reported(client, run_id, 1, 2)
    reported(client, run_id, 6)
    settings_after(patched(client, run_id, alpha=0.4))
    reported(client, run_id, 7, 9, 10)
    client.post("/v1/runs", json={"id": run_id, "resume_from_step": 6})
    settings_after(ordered(client, run_id, "kill"))
    reported(client, run_id, 7, 8, attempt=2)
    client.post("/v1/runs", json={"id": run_id, "resume_from_step": 7})
    reported(client, run_id, 8, 15_000, attempt=3)
    settings_after(ordered(client, run_id, "rearm", reason="why"))


EVENTFUL_STEPS = [(1, 1), (1, 2), (1, 6), (1, 7), (1, 9), (1, 10), (2, 7), (2, 8), (3, 8)]
EVENTFUL_STEPS += [(3, 15_000)]


def names_of(steps: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(record["attempt"], record["step"]) for record in steps]


def is_up_to_date(stream: Stream, client: httpx.Client, run_id: str) -> bool:
    version = run_of(client, run_id)["settings"]["version"]
    return any(one["version"] == version for one in stream.told("settings"))


def test_who_comes_is_shown_the_run_and_then_whatever_happens(base_url, client, run_id):
    reported(client, run_id, 1)
    with streaming(base_url, path_of(run_id)) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"
        eventually(lambda: "run" in stream.names(), "the run is shown")
        (run,) = stream.told("run")
        assert run == run_of(client, run_id)
        reported(client, run_id, 2)
        settings = settings_after(patched(client, run_id, alpha=0.4))
        eventually(lambda: settings in stream.told("settings"), "the change is told")
        assert stream.told("step") == steps_of(client, run_id)[1:]
        (event,) = stream.told("event")
        assert event == client.get(f"/v1/runs/{run_id}/events").json()["events"][0]
        assert event["event"]["kind"] == "settings_changed"
        assert stream.frames[0].retry_s is not None
        assert 1 <= stream.frames[0].retry_s <= 3


def test_everything_is_told_once_and_in_order_through_gaps_and_restarts(base_url, client, run_id):
    with streaming(base_url, path_of(run_id)) as stream:
        eventful(client, run_id)
        eventually(lambda: is_up_to_date(stream, client, run_id), "all is told")
        assert names_of(stream.told("step")) == EVENTFUL_STEPS
        events = client.get(f"/v1/runs/{run_id}/events", params={"limit": 1000}).json()["events"]
        # The first one, of the creation, was before.
        assert stream.told("event") == events[-2::-1]
        versions = [one["version"] for one in stream.told("settings")]
        assert versions == sorted(set(versions))


def test_from_every_message_on_the_rest_is_told_and_nothing_else(base_url, client, run_id):
    with streaming(base_url, path_of(run_id)) as stream:
        eventful(client, run_id)
        eventually(lambda: is_up_to_date(stream, client, run_id), "all is told")
        whole = list(stream.frames)
    newest = run_of(client, run_id)["settings"]
    for place, seen in enumerate(whole):
        rest = [one for one in whole[place + 1 :] if one.name in ("step", "event")]
        with streaming(base_url, path_of(run_id), last_id=seen.id) as again:
            if place + 1 < len(whole):
                eventually(lambda: newest in again.told("settings"), "the rest is told")
            else:
                reported(client, run_id, 15_001, attempt=3)
                again.waits_for_step(15_001)
                rest = [one for one in again.frames if one.name == "step"]
                assert names_of(again.told("step")) == [(3, 15_001)]
            got = [one for one in again.frames if one.name in ("step", "event")]
            assert [(one.name, one.data) for one in got] == [(one.name, one.data) for one in rest]
            assert not {"run", "reset"} & set(again.names())


def test_a_stream_goes_on_at_another_replica_where_the_first_was_killed(folder, redis_url):
    run_id = new_run_id()
    with ExitStack() as stack:
        first = stack.enter_context(acr_serve(folder / "a", "--redis-url", redis_url))
        second = stack.enter_context(acr_serve(folder / "b", "--redis-url", redis_url))
        client = stack.enter_context(httpx.Client(base_url=second.url, trust_env=False))
        client.post("/v1/runs", json={"id": run_id})
        with streaming(first.url, path_of(run_id)) as stream:
            reported(client, run_id, 1, 2)
            stream.waits_for_step(2)
            first.kill9()
            eventually(lambda: stream.is_over, "the stream breaks")
        reported(client, run_id, 3)
        settings_after(patched(client, run_id, alpha=0.4))
        with streaming(second.url, path_of(run_id), last_id=stream.last_id) as again:
            reported(client, run_id, 4)
            again.waits_for_step(4)
        told = [*stream.told("step"), *again.told("step")]
        assert names_of(told) == [(1, 1), (1, 2), (1, 3), (1, 4)]
        (change,) = [*stream.told("event"), *again.told("event")][-1:]
        assert change["event"]["kind"] == "settings_changed"
        assert "run" not in again.names()


def test_a_run_is_read_once_for_all_who_watch_it_over_one_subscription(folder):
    def calls(server: redis.Redis) -> int:
        return server.info("commandstats")["cmdstat_exec"]["calls"]

    with (
        stock_redis(folder) as redis_url,
        api_server(redis_url) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
        redis.Redis.from_url(redis_url) as server,
        ExitStack() as stack,
    ):
        client.post("/v1/runs", json={"id": "run"})
        watching = [stack.enter_context(streaming(url, path_of("run"))) for _ in range(20)]
        reported(client, "run", 1)
        for stream in watching:
            stream.waits_for_step(1)
        before = calls(server)
        for step in range(2, 12):
            reported(client, "run", step)
            for stream in watching:
                stream.waits_for_step(step)
        assert calls(server) - before == 10
        assert server.pubsub_numsub(settings_channel("run")) == [
            (settings_channel("run").encode(), 1)
        ]
        # What nobody watches any more is not heard of any more.
        stack.close()
        eventually(lambda: server.pubsub_channels() == [], "nothing is subscribed to")


def test_an_outage_of_redis_is_caught_up_with_on_the_same_connection(folder):
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        redis_url = server.enter_context(stock_redis(folder))
        urls = [stack.enter_context(api_server(redis_url)) for _ in range(2)]
        client = stack.enter_context(httpx.Client(base_url=urls[0], trust_env=False))
        client.post("/v1/runs", json={"id": "run"})
        watching = [stack.enter_context(streaming(url, path_of("run"))) for url in urls]
        reported(client, "run", 1)
        for stream in watching:
            stream.waits_for_step(1)
        server.close()
        server.enter_context(stock_redis(folder))
        reported(client, "run", 2, 3)
        for stream in watching:
            stream.waits_for_step(3)
            assert names_of(stream.told("step")) == [(1, 1), (1, 2), (1, 3)]
            assert "reset" not in stream.names()


def test_a_subscription_that_is_cut_is_made_again(base_url, client, run_id, redis_url):
    with streaming(base_url, path_of(run_id)) as stream, redis.Redis.from_url(redis_url) as server:
        reported(client, run_id, 1)
        stream.waits_for_step(1)
        server.client_kill_filter(_type="pubsub")
        reported(client, run_id, 2)
        stream.waits_for_step(2)
        assert names_of(stream.told("step")) == [(1, 1), (1, 2)]


def test_who_has_missed_more_than_is_kept_begins_anew(base_url, client, run_id, redis_url):
    with streaming(base_url, path_of(run_id)) as stream:
        reported(client, run_id, 1, 3)
        stream.waits_for_step(3)
        ids = [frame.id for frame in stream.frames]
    reported(client, run_id, 4)
    with redis.Redis.from_url(redis_url) as server:
        # What the retention drops, and what the limit on events does.
        server.hdel(RunKeys(run_id).steps, "1:3")
    with streaming(base_url, path_of(run_id), last_id=ids[0]) as again:
        eventually(lambda: "run" in again.names(), "it begins anew")
        assert again.names()[:2] == ["reset", "run"]
        assert again.told("run")[0]["step"] == 4
        reported(client, run_id, 5)
        again.waits_for_step(5)
        assert names_of(again.told("step")) == [(1, 5)]
    with redis.Redis.from_url(redis_url) as server:
        server.xtrim(RunKeys(run_id).events, maxlen=1, approximate=False)
    with streaming(base_url, path_of(run_id), last_id=ids[0]) as again:
        eventually(lambda: "run" in again.names(), "it begins anew")
        assert again.names()[:2] == ["reset", "run"]


def test_who_watches_while_the_store_loses_its_newest_steps_begins_anew(folder):
    with ExitStack() as stack:
        redis_url = stack.enter_context(stock_redis(folder))
        url = stack.enter_context(api_server(redis_url))
        client = stack.enter_context(httpx.Client(base_url=url, trust_env=False))
        client.post("/v1/runs", json={"id": "run"})
        reported(client, "run", 1, 2)
        with redis.Redis.from_url(redis_url) as server:
            kept = {key: server.dump(key) for key in server.scan_iter()}
        with streaming(url, path_of("run")) as stream:
            reported(client, "run", 3, 4)
            stream.waits_for_step(4)
            with redis.Redis.from_url(redis_url) as server:
                for key, value in kept.items():
                    server.restore(key, 0, value, replace=True)
                server.publish(settings_channel("run"), b"")
            eventually(lambda: stream.is_over, "the stream ends")
        with streaming(url, path_of("run"), last_id=stream.last_id) as again:
            eventually(lambda: "run" in again.names(), "it begins anew")
            assert again.names()[:2] == ["reset", "run"]
            assert again.told("run")[0]["step"] == 2


def test_a_run_of_the_same_name_is_another_run(base_url, client, redis_url):
    run_id = new_run_id()
    client.post("/v1/runs", json={"id": run_id})
    with streaming(base_url, path_of(run_id)) as stream:
        reported(client, run_id, 1)
        stream.waits_for_step(1)
    with redis.Redis.from_url(redis_url) as server:
        server.delete(*RunKeys(run_id).all)
    client.post("/v1/runs", json={"id": run_id})
    reported(client, run_id, 1, 2)
    with streaming(base_url, path_of(run_id), last_id=stream.last_id) as again:
        eventually(lambda: "run" in again.names(), "it begins anew")
        assert again.names()[:2] == ["reset", "run"]


def test_a_stream_says_that_its_run_is_gone_and_ends(base_url, client, run_id):
    with streaming(base_url, path_of(run_id)) as stream:
        reported(client, run_id, 1)
        stream.waits_for_step(1)
        assert client.request("DELETE", f"/v1/runs/{run_id}", json={"reason": "why"}).is_success
        eventually(lambda: stream.is_over, "the stream ends")
        assert stream.names()[-1] == "gone"
        assert stream.told("gone") == [{"run_id": run_id}]
    for last_id in (None, stream.last_id):
        with streaming(base_url, path_of(run_id), last_id=last_id) as again:
            assert again.status == 409


def test_a_stream_of_no_run_is_not_found(base_url):
    with streaming(base_url, path_of(new_run_id())) as stream:
        assert stream.status == 404


def test_many_who_ask_for_no_run_at_once_are_all_told_so(base_url):
    """Each takes up the one subscription, and lets go of it, while others do."""

    def asked(_: int) -> int:
        return httpx.get(base_url + path_of(new_run_id()), trust_env=False).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(asked, range(160))) == {404}


@pytest.mark.parametrize(
    "last_id", ["x", "1.2.3", "1.2.3-4", "1.1.1-1.-1", "1.1.1-1.1 ", "\u0661.1.1-1.1", "9" * 400]
)
def test_an_id_that_no_message_has_is_refused(client, run_id, last_id):
    reply = client.get(path_of(run_id), params={"last_event_id": last_id})
    assert refused(reply, 422)["field"] == "last_event_id"


def test_an_id_from_nowhere_begins_anew(base_url, run_id):
    for last_id in ("1.1.1-1.1", "9.9.999999999999999999-9.9", "0.0.0-0.9999"):
        path = f"{path_of(run_id)}?last_event_id={last_id}"
        with streaming(base_url, path) as stream:
            eventually(lambda: "run" in stream.names(), "it begins anew")
            assert stream.names()[:2] == ["reset", "run"]


def test_past_the_limit_a_watcher_is_refused_politely_until_one_leaves(redis_url):
    run_id = new_run_id()
    with (
        api_server(redis_url, max_streams=2) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        client.post("/v1/runs", json={"id": run_id})
        with streaming(url, path_of(run_id)) as stream:
            with streaming(url, "/v1/stream"):
                for path in (path_of(run_id), "/v1/stream"):
                    reply = client.get(path)
                    assert refused(reply, 503)["type"] == "urn:acr:error:too-many-streams"
                    assert int(reply.headers["retry-after"]) >= 1
            # Nothing is reported meanwhile: that one has left is noticed all the same.
            eventually(lambda: _opens(url, run_id), "there is room again")
            reported(client, run_id, 1)
            stream.waits_for_step(1)


def _opens(url: str, run_id: str) -> bool:
    with streaming(url, path_of(run_id)) as stream:
        return stream.status == 200


def test_a_watcher_that_was_refused_takes_no_room(redis_url):
    with (
        api_server(redis_url, max_streams=1) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        for _ in range(3):
            refused(client.get(path_of(new_run_id())), 404)


async def test_a_client_too_slow_for_what_happens_is_cut_and_keeps_no_memory():
    watcher = Watcher()
    watcher.offer([b"x" * MAX_WAITING_BYTES])
    assert not watcher.is_over
    watcher.offer([b"x"])
    assert [some async for some in watcher.messages()] == []
    # What comes later is not for it.
    watcher.offer([b"y"])
    assert [some async for some in watcher.messages()] == []


def test_in_quiet_times_there_is_a_sign_of_life(monkeypatch, redis_url):
    monkeypatch.setattr(live_watcher, "HEARTBEAT_S", 0.05)
    run_id = new_run_id()
    with api_server(redis_url) as url, httpx.Client(base_url=url, trust_env=False) as client:
        client.post("/v1/runs", json={"id": run_id})
        with client.stream("GET", path_of(run_id)) as reply:
            text = b""
            for piece in reply.iter_raw():
                text += piece
                if text.count(b"\n:\n\n") >= 3:
                    break


def test_the_end_of_the_server_does_not_wait_for_those_who_watch(folder, redis_url):
    run_id = new_run_id()
    with acr_serve(folder, "--redis-url", redis_url) as server:
        httpx.post(f"{server.url}/v1/runs", json={"id": run_id}, trust_env=False)
        with (
            streaming(server.url, path_of(run_id)) as stream,
            streaming(server.url, "/v1/stream") as of_list,
        ):
            eventually(lambda: "run" in stream.names(), "the run is shown")
            began = time.monotonic()
            server.terminate()
            # uvicorn looks every 0.1 s; a reply that does not end would be waited for for 10 s.
            assert time.monotonic() - began < 5
            eventually(lambda: stream.is_over and of_list.is_over, "the streams end")


def test_curl_can_watch(base_url, client, run_id):
    process = subprocess.Popen(
        ["curl", "-sN", base_url + path_of(run_id)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout:
        lines = iter(process.stdout.readline, "")
        assert any(line == "event: run\n" for line in lines)
        reported(client, run_id, 1)
        assert any(line == "event: step\n" for line in lines)
        assert next(lines).startswith("id: 1.1.")
        assert '"step":1' in next(lines)
        process.kill()
