import base64
import http.server
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
import redis

from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput
from monitor_service.wire import Applied, StepReport, pack, settings_channel, settings_key
from tests.servers import AcrServe, acr_serve, eventually, stock_redis
from trainer.client import QUEUE_REPORTS, MonitorClient
from trainer.holding import MAX_STALE_STEPS
from trainer.link import MonitorUnreachable
from trainer.listener import connection, listen

NOBODY = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcrServe]:
    with acr_serve(tmp_path_factory.mktemp("m")) as server:
        yield server


def report(step: int, reward: float = 1.0) -> StepReport:
    return StepReport(step=step, rewards=pack(np.array([[reward, reward], [0.0, 1.0]])))


def steps_of(monitor: AcrServe, run_id: str) -> list[int]:
    reply = httpx.get(f"{monitor.url}/v1/runs/{run_id}/steps").raise_for_status()
    return [record["step"] for record in reply.json()["steps"]]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"url": "localhost:8400"}, "monitor_url"),
        ({"redis_url": "localhost:6379"}, "monitor_redis_url"),
        ({"run_id": "a/b"}, "id"),
        ({"profile": "papper"}, "profile"),
        ({"settings": {"threshold": 7}}, "threshold"),
        ({"settings": {"threshhold": 0.4}}, "threshhold"),
    ],
)
def test_bad_arguments_are_refused_by_name(given: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        MonitorClient(**{"url": NOBODY, "run_id": "r", **given})  # type: ignore[arg-type]


def test_nobody_there_means_plain_grpo_and_the_reason_is_told() -> None:
    client = MonitorClient(NOBODY, run_id="r")
    client.start()
    held = client.settings_for(1)
    assert held.settings.mode == "off"
    assert held.note == "no monitor yet: plain GRPO"
    client.close()


def test_nobody_there_may_mean_the_initial_settings() -> None:
    client = MonitorClient(NOBODY, run_id="r", settings={"threshold": 0.2}, when_unreachable="hold")
    client.start()
    held = client.settings_for(1)
    assert (held.settings.mode, held.settings.threshold) == ("active", 0.2)
    client.close()


def test_nobody_there_may_mean_that_training_does_not_start() -> None:
    client = MonitorClient(NOBODY, run_id="r", when_unreachable="fail")
    with pytest.raises(MonitorUnreachable, match="no monitor at"):
        client.start()


def test_a_full_queue_drops_its_oldest_and_says_so() -> None:
    client = MonitorClient(NOBODY, run_id="r")
    client.start()
    accepted = [client.submit(report(step)) for step in range(1, QUEUE_REPORTS + 3)]
    assert accepted.count(False) == 2
    assert accepted[-2:] == [False, False]
    assert client.stats().results == {"dropped": 2}
    client.close()


def test_settings_that_grow_too_old_stop_every_intervention(monitor: AcrServe) -> None:
    client = MonitorClient(monitor.url, run_id="stale")
    client.start()
    fresh = client.settings_for(MAX_STALE_STEPS + 1)
    stale = client.settings_for(MAX_STALE_STEPS + 2)
    client.close()
    assert (fresh.settings.mode, fresh.note) == ("active", None)
    assert stale.settings.mode == "off"
    assert stale.note == "settings are 51 steps old: plain GRPO"


def test_a_backlog_arrives_in_order_and_whole(monitor: AcrServe) -> None:
    client = MonitorClient(monitor.url, run_id="backlog")
    client.start()
    for step in range(1, 101):
        client.submit(report(step))
    client.close()
    assert steps_of(monitor, "backlog") == list(range(1, 101))
    assert client.stats().results == {"recorded": 100}


def test_an_older_trainer_of_the_same_run_is_refused_and_goes_on(monitor: AcrServe) -> None:
    older = MonitorClient(monitor.url, run_id="twice")
    older.start()
    older.submit(report(1))
    eventually(lambda: older.stats().results == {"recorded": 1}, "the first report is in")
    newer = MonitorClient(monitor.url, run_id="twice")
    newer.start()
    newer.submit(report(1, reward=0.0))
    newer.close()
    older.submit(report(2))
    eventually(lambda: older.stats().results.get("conflict") == 1, "the older one is refused")
    # It must not go on intervening with settings that nobody can change any more, nor wait.
    held = older.settings_for(3, wait_s=3600.0)
    assert held.settings.mode == "off"
    assert held.note == "another start of the trainer took this run over: plain GRPO"
    assert not older.submit(report(3))
    older.close()
    assert older.stats().results == {"recorded": 1, "conflict": 2}
    assert newer.stats().results == {"recorded": 1}
    run = httpx.get(f"{monitor.url}/v1/runs/twice").json()
    assert (run["attempt"], run["step"]) == (2, 1)


def test_one_unacceptable_report_does_not_cost_the_others(monitor: AcrServe) -> None:
    client = MonitorClient(monitor.url, run_id="bad-one")
    client.start()
    broken = Applied(
        settings_version=-1, through_step=0, mode="off", threshold=0.5, triggered=False
    )
    for step in range(1, 6):
        wrong = StepReport(step=step, rewards=pack(np.ones((1, 2))), applied=broken)
        client.submit(wrong if step == 3 else report(step))
    client.close()
    assert steps_of(monitor, "bad-one") == [1, 2, 4, 5]
    assert client.stats().results == {"recorded": 4, "rejected": 1}


def test_a_monitor_that_lost_its_data_gets_the_run_again(tmp_path: Path, folder: Path) -> None:
    with acr_serve(folder / "a") as first:
        client = MonitorClient(first.url, run_id="again")
        client.start()
        for step in range(1, 6):
            client.submit(report(step))
        eventually(lambda: client.stats().results == {"recorded": 5}, "five reports are in")
        assert client.settings_for(6).settings.version == 6
        port = first.url.rpartition(":")[2]
    with acr_serve(folder / "b", "--port", port) as second:
        client.submit(report(6))
        eventually(lambda: client.stats().results.get("recorded") == 6, "the sixth report is in")
        run = httpx.get(f"{second.url}/v1/runs/again").json()
        assert (run["step"], run["counters"]["missing_steps"]) == (6, 0)
        # The new monitor counts versions from 1 again; the client follows it down.
        assert run["settings"]["version"] == 2
        eventually(
            lambda: client.settings_for(7).settings.version == 2, "the client holds the new ones"
        )
        client.close()


def test_a_waiting_step_waits_only_for_a_monitor_that_answers(monitor: AcrServe) -> None:
    connected = MonitorClient(monitor.url, run_id="wait")
    connected.start()
    connected.submit(report(1))
    assert connected.settings_for(2, wait_s=30.0).settings.through_step == 1
    connected.close()
    alone = MonitorClient(NOBODY, run_id="wait")
    alone.start()
    # A wait of an hour would fail the test by its length.
    assert alone.settings_for(2, wait_s=3600.0).settings.mode == "off"
    alone.close()


def test_closing_tries_once_more_for_a_monitor_that_has_come_back(folder: Path) -> None:
    with acr_serve(folder) as server:
        client = MonitorClient(server.url, run_id="back")
        client.start()
        server.kill9()
        client.submit(report(1))
        # The retries grow apart; wait for one that is seconds away from the next.
        eventually(lambda: client._num_failures >= 5, "the sender has failed five times")
        server.restart()
        client.submit(report(2))
        client.close()
        assert client.stats().results == {"recorded": 2}


def test_closing_does_not_wait_for_a_monitor_that_is_gone() -> None:
    client = MonitorClient(NOBODY, run_id="gone")
    client.start()
    client.submit(report(1))
    client.close()
    assert client.stats().results == {}
    assert client._num_failures >= 2


class Impostor(http.server.BaseHTTPRequestHandler):
    """Something else that listens there: answers everything with a friendly page."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>Welcome</h1>")

    def log_message(self, *args: object) -> None: ...


def test_an_answer_that_no_monitor_gives_ends_neither_training_nor_the_sender() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Impostor) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = MonitorClient(f"http://127.0.0.1:{server.server_port}", run_id="r")
        client.start()
        assert client.settings_for(1).note == "no monitor yet: plain GRPO"
        client.submit(report(1))
        eventually(lambda: client._num_failures >= 2, "the sender goes on trying")
        client.close()
        server.shutdown()
    assert client.stats().results == {}


def test_a_refused_report_is_not_waited_for(monitor: AcrServe) -> None:
    client = MonitorClient(monitor.url, run_id="refused")
    client.start()
    broken = Applied(
        settings_version=-1, through_step=0, mode="off", threshold=0.5, triggered=False
    )
    client.submit(StepReport(step=1, rewards=pack(np.ones((1, 2))), applied=broken))
    # A wait of an hour would fail the test by its length.
    assert client.settings_for(2, wait_s=3600.0).settings.through_step == 0
    client.close()


def test_settings_of_another_life_of_the_run_are_not_heeded(folder: Path) -> None:
    with acr_serve(folder / "m") as mine, stock_redis(folder / "r") as other:
        with redis.Redis.from_url(other) as foreign:
            leftover = Settings(version=10**6, through_step=10**6, session="1.000000-1")
            foreign.set(settings_key("life"), msgspec.json.encode(leftover))
            client = MonitorClient(mine.url, run_id="life", redis_url=other)
            client.start()
            client.submit(report(1))
            eventually(lambda: client.stats().results == {"recorded": 1}, "the report is in")
            foreign.publish(settings_channel("life"), msgspec.json.encode(leftover))
            client.close()
        assert client.settings_for(2).settings.version == 2
        assert client.stats().settings_from == {"http": 2}


def test_left_over_settings_do_not_stand_in_for_a_monitor(folder: Path) -> None:
    with stock_redis(folder) as url, redis.Redis.from_url(url) as leftover:
        leftover.set(settings_key("r"), msgspec.json.encode(Settings(version=9)))
        client = MonitorClient(NOBODY, run_id="r", redis_url=url)
        client.start()
        eventually(lambda: client._num_failures >= 3, "the listener had its time")
        assert client.settings_for(1).note == "no monitor yet: plain GRPO"
        client.close()


def test_a_known_run_keeps_its_settings_and_the_trainer_says_which(
    monitor: AcrServe, caplog: pytest.LogCaptureFixture
) -> None:
    first = MonitorClient(monitor.url, run_id="known", profile="grpo")
    first.start()
    first.submit(report(1))
    first.close()
    second = MonitorClient(monitor.url, run_id="known", profile="paper")
    second.start()
    second.close()
    (warning,) = (one.getMessage() for one in caplog.records if one.levelname == "WARNING")
    assert "keeps its settings: profile=grpo, mode=off" in warning


def test_undelivered_reports_are_counted_out_loud(caplog: pytest.LogCaptureFixture) -> None:
    client = MonitorClient(NOBODY, run_id="r")
    client.start()
    client.submit(report(1))
    client.submit(report(2))
    client.close()
    assert "2 reports were not delivered to http://127.0.0.1:9" in caplog.text


def test_a_password_in_the_url_is_used_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str | None] = []

    class Guarded(Impostor):
        def do_POST(self) -> None:
            seen.append(self.headers["authorization"])
            super().do_POST()

    with http.server.HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = MonitorClient(f"http://ana:secret@LOCALHOST:{server.server_port}", run_id="r")
        with caplog.at_level(logging.DEBUG):
            client.start()
            client.close()
        server.shutdown()
    assert seen[0] == "Basic " + base64.b64encode(b"ana:secret").decode()
    assert "secret" not in caplog.text
    assert "localhost" in caplog.text


@pytest.mark.parametrize("option", ["socket_timeout=abc", "foo=1"])
def test_a_bad_redis_option_is_refused_at_once(option: str) -> None:
    with pytest.raises(InvalidInput, match="monitor_redis_url"):
        MonitorClient(NOBODY, run_id="r", redis_url=f"redis://localhost/0?{option}")


def test_what_was_published_while_nobody_listened_is_found(folder: Path) -> None:
    """The monitor is reachable, its replies carry no newer settings: only the key can."""
    with acr_serve(folder) as server:
        client = MonitorClient(server.url, run_id="late", redis_url=server.redis_url)
        client.start()
        eventually(lambda: client.settings_for(1).note is None, "the run is known")
        client.close()
        with redis.Redis.from_url(server.redis_url) as store:
            newest = msgspec.json.decode(store.get(settings_key("late")), type=Settings)
        held: list[Settings] = []
        closing = threading.Event()

        def take(settings: Settings) -> None:
            held.append(settings)
            closing.set()

        unreadable: list[InvalidInput] = []
        listen(connection(server.redis_url), "late", take, unreadable.append, closing)
        assert (held, unreadable) == ([newest], [])


def test_a_monitor_that_comes_late_takes_the_run_and_the_trainer_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with acr_serve(folder / "first") as server:
        port = server.url.rpartition(":")[2]
    client = MonitorClient(f"http://127.0.0.1:{port}", run_id="late")
    client.start()
    client.submit(report(1))
    with acr_serve(folder / "second", "--port", port):
        eventually(lambda: client.stats().results == {"recorded": 1}, "the report arrives")
        client.close()
    told = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert told[0].startswith(f"no monitor at http://127.0.0.1:{port}")
    assert told[1] == f"run late, attempt 1, at http://127.0.0.1:{port}"
