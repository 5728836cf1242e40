import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from monitor_service.errors import InvalidInput
from monitor_service.wire import Applied, StepReport, pack
from tests.servers import AcrServe, acr_serve, eventually
from trainer.client import MAX_STALE_STEPS, QUEUE_REPORTS, MonitorClient, MonitorUnreachable

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
    older.close()
    assert older.stats().results == {"recorded": 1, "conflict": 1}
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
        client.submit(report(1))
        eventually(lambda: client.stats().results == {"recorded": 1}, "the first report is in")
        port = first.url.rpartition(":")[2]
    with acr_serve(folder / "b", "--port", port) as second:
        client.submit(report(2))
        eventually(lambda: client.stats().results["recorded"] == 2, "the second report is in")
        run = httpx.get(f"{second.url}/v1/runs/again").json()
        assert (run["step"], run["counters"]["missing_steps"]) == (2, 0)
        # The new monitor counts versions from 1 again; the client follows it.
        assert client.settings_for(3).settings.version == run["settings"]["version"]
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
