"""From a run's events to the sinks: once, in order, whatever a sink does."""

import functools
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from monitor_service.alerts.courier import Pace
from monitor_service.store.alerts import AlertStore
from monitor_service.store.driver import connect
from monitor_service.store.keys import RUNS, RunKeys, alerts_told
from tests.servers import short_folder, stock_redis
from tests.service.receiver import (
    QUICK,
    Exchange,
    Receiver,
    Request,
    Runs,
    dispatching,
    hang,
    receiving,
    reply,
    until,
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A Redis of its own: on a shared one, others would deliver."""
    with short_folder() as path, stock_redis(path) as url:
        yield url


@pytest.fixture
def redis_url(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, empty."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with redis.Redis.from_url(server) as client:
        client.flushall()
    return server


@pytest.fixture
def runs(redis_url: str) -> Iterator[Runs]:
    runs = Runs(redis_url)
    yield runs
    runs.redis.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def other() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def statuses(receiver: Receiver) -> list[str]:
    return [alert.status for alert in receiver.alerts]


def ids(receiver: Receiver) -> list[str]:
    return [alert.id for alert in receiver.alerts]


async def test_every_sink_is_told_of_an_alarm_and_of_its_end(
    redis_url, runs, receiver, other, caplog
):
    caplog.set_level("INFO")
    urls = {"webhook_urls": (receiver.url,), "slack_urls": (other.url,)}
    config: dict[str, Any] = urls | {"log": True}
    async with dispatching(redis_url, **config):
        first, second = runs.raised("a"), runs.resolved("a")
        await until(lambda: len(other.received) == len(receiver.received) == 2, "all told")
        await until(lambda: "resolved: alarm_resolved of a" in caplog.text, "logged")
    assert ids(receiver) == [f"a:{first}", f"a:{second}"]
    assert statuses(receiver) == ["raised", "resolved"]
    assert b"*kl_explosion* resolved" in other.received[1].body
    told = [(one.levelname, one.message) for one in caplog.records if "run a" in one.message]
    assert told == [
        ("WARNING", "run a, step 7: critical kl_explosion raised: alarm_raised of a"),
        ("INFO", "run a, step 7: critical kl_explosion resolved: alarm_resolved of a"),
    ]
    assert "T0Secret" not in caplog.text


async def test_an_alarm_is_told_as_soon_as_it_is_published(redis_url, runs, receiver):
    rare = Pace(sweep_s=3600)
    async with dispatching(redis_url, pace=rare, webhook_urls=(receiver.url,)):
        await until(lambda: runs.redis.pubsub_numsub("acr:alarms")[0][1], "it listens")
        runs.raised("a")
        await until(lambda: receiver.received, "told")


async def test_what_was_not_published_is_found_by_looking_at_all_runs(redis_url, runs, receiver):
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        runs.happens("a", "settings_changed")
        runs.happens("b", "killed", old={"kill": None})
        await until(lambda: receiver.received, "told")
    assert statuses(receiver) == ["killed"]


async def test_a_new_sink_hears_what_happens_from_now_on(redis_url, runs, receiver, other):
    runs.raised("a")
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        runs.raised("b")
        await until(runs.delivered, "told")
    both = (receiver.url, other.url)
    async with dispatching(redis_url, webhook_urls=both):
        runs.resolved("a")
        runs.resolved("b")
        last = runs.raised("c")
        await until(lambda: ids(other) == [f"c:{last}"], "the new one is told")
        await until(lambda: len(receiver.received) == 3, "the old one is told")
    # Nobody was told of a, so its end is no news; the new sink was not told of b.
    assert [alert.run_id for alert in receiver.alerts] == ["b", "b", "c"]


async def test_a_restart_neither_repeats_nor_forgets(redis_url, runs, receiver):
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        first = runs.raised("a")
        await until(runs.delivered, "told")
    second, third = runs.resolved("a"), runs.raised("b")
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        await until(lambda: len(receiver.received) == 3, "the rest is told")
    assert ids(receiver) == [f"a:{first}", f"a:{second}", f"b:{third}"]


async def test_a_failing_sink_is_tried_until_it_takes_the_alert(redis_url, runs, receiver, caplog):
    receiver.script = [reply(500), reply(404), reply(503)]
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        first, second = runs.raised("a"), runs.raised("a", rule="kl_drift")
        await until(lambda: runs.delivered() == 2, "told at last")
    assert ids(receiver) == [f"a:{first}"] * 4 + [f"a:{second}"]
    assert runs.outcomes() == {"delivered": 2, "failed": 3}
    # Logged once, not at every try.
    assert caplog.text.count("alert sink webhook fails: status 500") == 1


async def test_a_busy_sink_is_left_alone_for_as_long_as_it_says(redis_url, runs, receiver):
    receiver.script = [reply(429, retry_after="1")]
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        runs.raised("a")
        await until(lambda: len(receiver.received) == 2, "told")
    first, second = receiver.received
    # Without the header it would have been 0.02 s.
    assert second.at_s - first.at_s >= 1.0


async def test_a_sink_that_hangs_holds_up_no_other(redis_url, runs, receiver, other):
    receiver.usual = hang
    pace = Pace(sweep_s=0.05)
    urls = (receiver.url, other.url)
    async with dispatching(redis_url, pace=pace, webhook_urls=urls):
        runs.raised("a")
        await until(lambda: receiver.received, "it hangs")
        for _ in range(20):
            runs.resolved("a")
            runs.raised("a")
        await until(lambda: runs.delivered("webhook-2") == 41, "the other is told of everything")
        assert len(receiver.received) == 1
        began = time.monotonic()
    # It was to be given 10 s.
    assert time.monotonic() - began < 1
    assert runs.outcomes("webhook-2") == {"delivered": 41}


async def test_what_was_under_way_at_the_end_is_told_after_it(redis_url, runs, receiver):
    receiver.script = [hang]
    async with dispatching(redis_url, pace=Pace(sweep_s=0.05), webhook_urls=(receiver.url,)):
        first = runs.raised("a")
        await until(lambda: receiver.received, "it hangs")
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        await until(lambda: len(receiver.received) == 2, "told")
    assert ids(receiver) == [f"a:{first}"] * 2


async def test_an_alert_that_is_never_taken_holds_up_no_other_run(redis_url, runs, receiver):
    def picky(exchange: Exchange, request: Request) -> None:
        reply(500 if request.alert.run_id == "a" else 200)(exchange, request)

    receiver.usual = picky
    async with dispatching(redis_url, webhook_urls=(receiver.url,)) as dispatcher:
        runs.raised("a")
        runs.raised("b")
        runs.resolved("b")
        await until(lambda: ids_of(receiver, "b") == ["raised", "resolved"], "b is told")
        await until(lambda: len(ids_of(receiver, "a")) > 3, "a is tried on")
        (sink,) = (await dispatcher.view()).sinks
    assert (sink.pending, sink.error) == (1, "status 500")


def ids_of(receiver: Receiver, run_id: str) -> list[str]:
    return [alert.status for alert in receiver.alerts if alert.run_id == run_id]


async def test_an_alert_that_is_refused_is_given_up_and_so_is_its_end(
    redis_url, runs, receiver, caplog
):
    receiver.script = [reply(400)]
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        first = runs.raised("a")
        runs.resolved("a")
        third = runs.raised("a", rule="kl_drift")
        await until(runs.delivered, "told")
    assert ids(receiver) == [f"a:{first}", f"a:{third}"]
    assert runs.outcomes() == {"delivered": 1, "refused": 1}
    assert caplog.text.count(f"gave up on a:{first}: status 400") == 1


async def test_after_a_day_an_alert_is_given_up(redis_url, runs, receiver, caplog):
    past_s = 0.0
    receiver.usual = reply(500)

    def clock() -> float:
        return time.time() + past_s

    async with dispatching(redis_url, clock=clock, webhook_urls=(receiver.url,)):
        first = runs.raised("a")
        await until(lambda: receiver.received, "tried")
        past_s = 86_401.0
        await until(lambda: f"gave up on a:{first}" in caplog.text, "given up")
        receiver.usual = reply(200)
        second = runs.happens(
            "a", "alarm_raised", at_s=clock(), rule="kl_drift", severity="warning"
        )
        await until(lambda: f"a:{second}" in ids(receiver), "the next is told")
    assert runs.outcomes()["expired"] == 1


async def test_more_than_a_page_of_events_is_told_in_order(redis_url, runs, receiver):
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        expected = []
        for _ in range(30):
            expected += [runs.raised("a"), runs.resolved("a")]
            runs.happens("a", "settings_changed")
        await until(lambda: len(receiver.received) == 60, "all told")
    assert ids(receiver) == [f"a:{one}" for one in expected]


async def test_of_several_replicas_one_delivers(redis_url, runs, receiver):
    config: dict[str, Any] = {"webhook_urls": (receiver.url,)}
    async with dispatching(redis_url, **config), dispatching(redis_url, **config):
        for number in range(20):
            runs.raised(f"run-{number}")
        await until(lambda: len(receiver.received) == 20, "all told")
        last = runs.raised("last")
        await until(lambda: f"last:{last}" in ids(receiver), "the last is told")
    assert len(ids(receiver)) == len(set(ids(receiver))) == 21


async def test_when_the_one_that_delivers_ends_another_goes_on(redis_url, runs, receiver):
    config: dict[str, Any] = {"webhook_urls": (receiver.url,)}
    first = dispatching(redis_url, **config)
    await first.__aenter__()
    async with dispatching(redis_url, **config):
        await first.__aexit__(None, None, None)
        runs.raised("a")
        await until(runs.delivered, "told")
    assert len(receiver.received) == 1


async def test_a_lease_that_is_lost_is_taken_again(redis_url, runs, receiver):
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        runs.redis.delete("{acr:alerts}:lease")
        one = runs.raised("a")
        await until(lambda: receiver.received, "told")
        await until(lambda: runs.redis.exists("{acr:alerts}:lease"), "held again")
    # Perhaps twice: what was delivered without the lease could not be kept.
    assert set(ids(receiver)) == {f"a:{one}"}


async def test_redis_may_be_away_for_a_while(folder, runs, receiver, monkeypatch):
    with stock_redis(folder) as url:
        dispatch = dispatching(url, webhook_urls=(receiver.url,))
        await dispatch.__aenter__()
        mine = Runs(url)
        mine.raised("a")
        await until(lambda: receiver.received, "told")
        mine.redis.close()
    with stock_redis(folder) as url:
        mine = Runs(url)
        mine.resolved("a")
        await until(lambda: len(receiver.received) == 2, "told")
        mine.redis.close()
        await dispatch.__aexit__(None, None, None)
    assert statuses(receiver) == ["raised", "resolved"]


async def test_what_a_sink_was_told_of_a_deleted_run_is_forgotten(redis_url, runs, receiver):
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        runs.raised("a")
        await until(lambda: runs.redis.hexists(alerts_told("webhook"), "a"), "kept")
        # Off the list, as while it may still be restored: nothing is forgotten.
        runs.redis.zrem(RUNS, "a")
        runs.raised("b")
        await until(lambda: len(receiver.received) == 2, "looked at all runs")
        assert runs.redis.hexists(alerts_told("webhook"), "a")
        runs.redis.delete(RunKeys("a").events)
        await until(lambda: not runs.redis.hexists(alerts_told("webhook"), "a"), "forgotten")


async def test_a_sink_that_nobody_delivers_to_is_forgotten_after_a_week(redis_url, runs, receiver):
    async with dispatching(redis_url, webhook_urls=(receiver.url,)):
        runs.raised("a")
        await until(lambda: receiver.received, "told")
    assert 6 * 86_400 < runs.redis.ttl(alerts_told("webhook")) <= 7 * 86_400


async def test_the_view_shows_where_a_sink_is_and_no_more(redis_url, runs, receiver):
    receiver.script = [reply(500)]
    config: dict[str, Any] = {"webhook_urls": (receiver.url,), "slack_urls": (receiver.url,) * 2}
    began = time.time()
    async with dispatching(redis_url, log=True, **config) as dispatcher:
        runs.raised("a")
        for name in ("log", "webhook", "slack", "slack-2"):
            await until(functools.partial(runs.delivered, name), "told")
        view = await dispatcher.view()
    assert view.is_delivering
    assert [(sink.name, sink.place) for sink in view.sinks] == [
        ("log", "the monitor's log"),
        ("webhook", receiver.place),
        ("slack", receiver.place),
        ("slack-2", receiver.place),
    ]
    assert sum(sink.outcomes["failed"] for sink in view.sinks) == 1
    for sink in view.sinks:
        assert sink.outcomes["delivered"] == 1
        assert sink.delivered_at_s is not None
        assert began <= sink.delivered_at_s <= time.time()
        assert (sink.error == "status 500") == (sink.failed_at_s is not None)
    assert not runs.redis.exists("{acr:alerts}:lease")


async def test_without_sinks_nothing_is_done(redis_url, runs):
    async with dispatching(redis_url) as dispatcher:
        assert (await dispatcher.view()).sinks == []
    assert not runs.redis.exists("{acr:alerts}:lease")


async def test_who_lost_the_lease_can_write_nothing(redis_url, runs):
    client = connect(redis_url)
    store = AlertStore(client)
    assert await store.acquire("one", 30)
    assert not await store.acquire("two", 30)
    assert not await store.renew("two", 30)
    assert await store.renew("one", 30)
    await store.renew("two", 0)
    assert await store.is_held()
    await store.renew("one", 0)
    assert not await store.is_held()
    await client.aclose()


def test_a_delivery_ends_before_another_replica_may_take_over():
    for pace in (Pace(), QUICK):
        assert pace.timeout_s + pace.renew_s < pace.lease_s
    with pytest.raises(AssertionError):
        Pace(lease_s=10)
