"""Alerts of `acr serve`: from a trainer's report to a webhook; what people ask and try."""

import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest
import redis

from monitor_service.alert import AlertsView
from monitor_service.store.keys import alerts_told
from tests.servers import AcrServe, acr_serve, eventually
from tests.service.receiver import Receiver, endless, hang, receiving, reply
from tests.service.reports import body


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as running:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("ACR_ALERT_WEBHOOK_URL", running.url)
        monkeypatch.setenv("ACR_ALERT_WEBHOOK_SECRET", "T0Secret of enough characters")
        monkeypatch.setenv("ACR_PUBLIC_URL", "https://acr.example")
        yield running


@pytest.fixture
def monitor(folder, receiver) -> Iterator[httpx.Client]:
    """A monitor, and a way to ask it; waits until it would tell."""
    with (
        acr_serve(folder / "data") as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        eventually(lambda: listens(server), "it listens")
        yield client
        assert "T0Secret" not in server.log_path.read_text()


def listens(server: AcrServe) -> bool:
    """Whether the webhook would be told of what happens from now on."""
    with redis.Redis.from_url(server.redis_url) as store:
        return bool(store.hexists(alerts_told("webhook"), ""))


def view(client: httpx.Client) -> AlertsView:
    return msgspec.json.decode(client.get("/v1/alerts").content, type=AlertsView)


def alarmed(client: httpx.Client, run_id: str) -> None:
    """Two steps with a figure that is not a number: an alarm, and a critical one."""
    client.post("/v1/runs", json={"id": run_id}).raise_for_status()
    for step in (1, 2):
        report = body(step, scalars={"non_finite": ["loss"]})
        reply = client.post(f"/v1/runs/{run_id}/steps", json=report)
        assert reply.status_code == 200, reply.text


def test_an_alarm_that_a_report_raises_is_told(monitor, receiver):
    alarmed(monitor, "r")
    eventually(lambda: bool(receiver.received), "told")
    (alert,) = receiver.alerts
    assert (alert.status, alert.run_id, alert.rule) == ("raised", "r", "not_finite")
    assert (alert.severity, alert.step) == ("critical", 2)
    # What is behind the # is the page's own business; the rest is the monitor's address.
    assert alert.url == "https://acr.example/#/runs/r"
    assert monitor.get("/").headers["content-type"].startswith("text/html")
    eventually(lambda: view(monitor).sinks[1].outcomes["delivered"] == 1, "known")
    assert view(monitor).is_delivering
    log, webhook = view(monitor).sinks
    assert (log.name, webhook.name, webhook.place) == ("log", "webhook", receiver.place)
    assert (
        'acr_alert_deliveries_total{sink="webhook",outcome="delivered"} 1'
        in monitor.get("/metrics").text
    )


def test_with_a_sink_that_hangs_reports_are_taken_and_the_end_is_prompt(folder, receiver):
    receiver.usual = hang
    with (
        acr_serve(folder / "data") as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        eventually(lambda: listens(server), "it listens")
        alarmed(client, "r")
        eventually(lambda: bool(receiver.received), "it hangs")
        for step in range(3, 50):
            assert client.post("/v1/runs/r/steps", json=body(step)).status_code == 200
        assert len(receiver.received) == 1
        began = time.monotonic()
        assert server.terminate() == 0
        # A delivery has 10 s, a shutdown of uvicorn too.
        assert time.monotonic() - began < 5


def test_every_sink_is_tried_and_says_what_it_answered(acr, receiver, monkeypatch):
    monkeypatch.setenv("ACR_ALERT_SLACK_URL", f"{receiver.url},{receiver.url}")
    ended = acr("alerts", "test")
    assert ended.status == 0
    assert ended.out.splitlines() == [
        "log delivered: the monitor's log, written",
        f"webhook delivered: {receiver.place}, status 200",
        f"slack delivered: {receiver.place}, status 200",
        f"slack-2 delivered: {receiver.place}, status 200",
    ]
    assert sum(b"ana tries whether alerts arrive" in one.body for one in receiver.received) == 3
    assert "T0Secret" not in ended.out + ended.err


def test_a_sink_that_does_not_take_it_is_an_error(acr, receiver, monkeypatch):
    monkeypatch.setenv("ACR_ALERT_LOG", "0")
    receiver.usual = reply(404, "no_service")
    ended = acr("alerts", "test", "--json")
    assert ended.status == 1
    assert msgspec.json.decode(ended.out) == [
        {
            "sink": "webhook",
            "place": receiver.place,
            "outcome": "failed",
            "answer": "status 404: no_service",
        }
    ]


def test_an_answer_that_never_ends_is_not_waited_for(acr, receiver):
    receiver.usual = endless(200)
    assert acr("alerts", "test").status == 0


def test_without_a_sink_there_is_nothing_to_try(acr, monkeypatch):
    monkeypatch.setenv("ACR_ALERT_LOG", "0")
    ended = acr("alerts", "test")
    assert ended.status == 1
    assert "no sink" in ended.err


def test_an_application_that_tells_nobody_says_so(client):
    found = msgspec.json.decode(client.get("/v1/alerts").content, type=AlertsView)
    assert found == AlertsView(sinks=[], is_delivering=False)
