"""The client with a spool: what becomes of reports while the monitor, the disk or it is away."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from monitor_service.errors import InvalidInput
from monitor_service.wire import Applied, StepReport, pack
from tests.servers import AcrServe, acr_serve, eventually
from tests.trainer.test_client import NOBODY
from tests.trainer.test_spool import files, largest_file
from trainer.client import QUEUE_REPORTS, MonitorClient
from trainer.spool import MIN_SPOOL_BYTES, Spool


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcrServe]:
    with acr_serve(tmp_path_factory.mktemp("m")) as server:
        yield server


def report(step: int, num_groups: int = 2) -> StepReport:
    return StepReport(step=step, rewards=pack(np.random.default_rng(step).random((num_groups, 2))))


def left_undelivered(folder: Path, run_id: str, steps: range) -> dict[str, Any]:
    """A client that met no monitor; what a checkpoint after the last step keeps of it."""
    client = MonitorClient(NOBODY, run_id=run_id, spool_dir=folder)
    client.start(steps.start - 1)
    for step in steps:
        client.submit(report(step))
    state = client.state()
    client.close()
    return state


def run_of(monitor: AcrServe, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{monitor.url}/v1/runs/{run_id}").raise_for_status().json()
    return found


def records(monitor: AcrServe, run_id: str) -> list[tuple[int, int]]:
    reply = httpx.get(f"{monitor.url}/v1/runs/{run_id}/steps").raise_for_status()
    return [(record["step"], record["attempt"]) for record in reply.json()["steps"]]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("bound", [0, MIN_SPOOL_BYTES - 1, 2**40 + 1, 2.0**20, True, None])
def test_a_bound_out_of_range_is_refused_by_name(tmp_path: Path, bound: Any) -> None:
    with pytest.raises(InvalidInput, match=r"spool_max_bytes: .*\[1048576, 1099511627776\]"):
        MonitorClient(NOBODY, run_id="r", spool_dir=tmp_path, spool_max_bytes=bound)


def test_a_report_that_nobody_takes_is_on_disk_without_anybody_asking(tmp_path: Path) -> None:
    client = MonitorClient(NOBODY, run_id="r", spool_dir=tmp_path)
    client.start()
    for step in range(1, 2 * QUEUE_REPORTS):
        assert client.submit(report(step))
        if step % 100 == 0:
            eventually(lambda: not client._backlog.is_waiting_in_memory, "the memory is empty")
    assert len(files(tmp_path)) >= 2 * QUEUE_REPORTS // 32
    client.close()
    assert client.stats().results == {}


def test_what_one_process_could_not_deliver_the_next_one_does_first(
    monitor: AcrServe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = left_undelivered(tmp_path, "next", range(1, 41))
    assert warnings(caplog)[-1] == (
        f"40 reports were not delivered to {NOBODY}; they wait in {tmp_path}/next for the run to "
        "be resumed"
    )
    client = MonitorClient(monitor.url, run_id="next", spool_dir=tmp_path)
    client.load(json.loads(json.dumps(state)))
    client.start(40)
    # In lockstep, step 41 waits for the settings that follow from the 40 reports on disk.
    assert client.settings_for(41, 30.0).settings.through_step == 40
    for step in range(41, 51):
        client.submit(report(step))
    client.close()
    assert records(monitor, "next") == [(step, 1) for step in range(1, 51)]
    run = run_of(monitor, "next")
    assert (run["counters"]["steps"], run["counters"]["missing_steps"]) == (50, 0)
    assert client.stats().results == {"recorded": 50}
    assert not files(tmp_path)


def test_steps_that_are_trained_again_are_not_delivered_twice(
    monitor: AcrServe, tmp_path: Path
) -> None:
    first = MonitorClient(monitor.url, run_id="again", spool_dir=tmp_path)
    first.start()
    for step in range(1, 6):
        first.submit(report(step))
    first.close()
    # The monitor has 1 to 5; 6 to 15 wait on disk; the checkpoint is of step 10.
    left_undelivered(tmp_path, "again", range(6, 16))
    second = MonitorClient(monitor.url, run_id="again", spool_dir=tmp_path)
    second.start(10)
    for step in range(11, 16):
        second.submit(report(step, num_groups=3))
    second.close()
    assert records(monitor, "again") == [(step, 1 if step < 6 else 2) for step in range(1, 16)]
    assert run_of(monitor, "again")["counters"]["missing_steps"] == 0
    assert second.stats().results == {"recorded": 10}


def test_what_the_monitor_already_has_is_recorded_once_all_the_same(
    monitor: AcrServe, tmp_path: Path
) -> None:
    """A process that is killed between an answer and the deletion leaves what was delivered."""
    for times in (1, 2):
        spool = Spool(tmp_path, "had", after_step=0)
        for step in range(1, 11):
            spool.append(report(step))
        spool.close()
        client = MonitorClient(monitor.url, run_id="had", spool_dir=tmp_path)
        client.start(10)
        client.close()
        assert records(monitor, "had") == [(step, times) for step in range(1, 11)]
        assert client.stats().results == {"recorded": 10}


def test_a_monitor_that_lost_its_data_begins_at_the_oldest_report_on_disk(folder: Path) -> None:
    with acr_serve(folder / "a") as first:
        port = first.url.rpartition(":")[2]
        client = MonitorClient(first.url, run_id="lost", spool_dir=folder / "s")
        client.start()
        client.submit(report(1))
        eventually(lambda: client.stats().results == {"recorded": 1}, "the first report is in")
    for step in range(2, 9):
        client.submit(report(step))
    assert client.state()["undelivered"] == 7
    assert files(folder / "s", "lost")
    with acr_serve(folder / "b", "--port", port) as second:
        client.submit(report(9))
        client.close()
        assert records(second, "lost") == [(step, 1) for step in range(2, 10)]
        assert run_of(second, "lost")["counters"]["missing_steps"] == 0
    assert client.stats().results == {"recorded": 9}


def test_a_full_spool_drops_its_oldest_and_the_monitor_counts_the_gap(
    monitor: AcrServe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = MonitorClient(monitor.url, run_id="full", spool_dir=tmp_path)
    first.start()
    first.submit(report(1))
    first.close()
    away = MonitorClient(NOBODY, run_id="full", spool_dir=tmp_path, spool_max_bytes=MIN_SPOOL_BYTES)
    away.start(1)
    for step in range(2, 102):
        away.submit(report(step, num_groups=2000))
    assert away.state()["undelivered"] < 40
    dropped = away.stats().results["dropped"]
    away.close()
    assert [text for text in warnings(caplog) if "is full" in text] == [
        f"the spool {tmp_path}/full is full: the oldest reports are dropped and counted"
    ]
    back = MonitorClient(monitor.url, run_id="full", spool_dir=tmp_path)
    back.start(101)
    back.close()
    assert [step for step, _ in records(monitor, "full")] == [1, *range(2 + dropped, 102)]
    assert run_of(monitor, "full")["counters"]["missing_steps"] == dropped


def test_a_full_disk_leaves_reports_in_memory_with_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with acr_serve(folder / "m") as server:
        client = MonitorClient(server.url, run_id="disk", spool_dir=folder / "s")
        client.start()
        server.kill9()
        with largest_file(1000):
            for step in range(1, 11):
                assert client.submit(report(step, num_groups=1000))
            eventually(lambda: "File too large" in caplog.text, "the disk refuses")
            assert client.state()["undelivered"] == 10
        for step in range(11, 14):
            client.submit(report(step))
        client.state()
        assert not client._backlog.is_waiting_in_memory  # There was room again.
        server.restart()
        client.close()
        assert records(server, "disk") == [(step, 1) for step in range(1, 14)]
    assert [text for text in warnings(caplog) if "spool" in text] == [
        f"the spool {folder}/s/disk cannot be written ([Errno 27] File too large): reports wait in "
        "memory, at most 512, and the oldest are dropped and counted"
    ]


def test_without_a_usable_folder_the_client_goes_on_from_memory(
    monitor: AcrServe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file")
    holder = Spool(tmp_path, "held", after_step=0)
    try:
        for name, folder, reason in [
            ("none", tmp_path / "taken", "Not a directory"),
            ("held", tmp_path, "another client of this process holds it"),
        ]:
            client = MonitorClient(monitor.url, run_id=name, spool_dir=folder)
            client.start()
            client.submit(report(1))
            client.close()
            assert client.stats().results == {"recorded": 1}
            assert warnings(caplog)[-1] == (
                f"there is no spool, reports wait in memory, at most 512: {folder}/{name}: {reason}"
            )
    finally:
        holder.close()


def test_undelivered_reports_of_other_runs_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left_undelivered(tmp_path, "before", range(1, 3))
    caplog.clear()
    client = MonitorClient(NOBODY, run_id="after", spool_dir=tmp_path)
    client.start()
    client.close()
    assert warnings(caplog)[0] == (
        f"{tmp_path} holds undelivered reports of before, too; they are sent when that run goes on"
    )
    assert len(files(tmp_path, "before")) == 1


def test_one_unacceptable_report_on_disk_does_not_cost_the_others(
    monitor: AcrServe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Applied(
        settings_version=-1, through_step=0, mode="off", threshold=0.5, triggered=False
    )
    client = MonitorClient(NOBODY, run_id="bad-one", spool_dir=tmp_path)
    client.start()
    for step in range(1, 7):
        wrong = StepReport(step=step, rewards=pack(np.ones((1, 2))), applied=broken)
        no_matrix = StepReport(step=step, rewards=[[1.0], []])
        client.submit({3: wrong, 5: no_matrix}.get(step, report(step)))
    assert client.state()["undelivered"] == 5
    client.close()
    assert client.stats().results == {"rejected": 1}
    assert "the report of step 3 is given up: report: must keep to the contract" in caplog.text
    back = MonitorClient(monitor.url, run_id="bad-one", spool_dir=tmp_path)
    back.start(6)
    back.close()
    # The other one keeps to the contract's types; only the monitor sees that a group is empty.
    assert [step for step, _ in records(monitor, "bad-one")] == [1, 2, 4, 6]
    assert back.stats().results == {"recorded": 4, "rejected": 1}


def test_files_lost_while_the_client_runs_are_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with acr_serve(folder / "m") as server:
        client = MonitorClient(server.url, run_id="gone", spool_dir=folder / "s")
        client.start()
        server.kill9()
        for step in range(1, 41):
            client.submit(report(step))
        assert client.state()["undelivered"] == 40
        for file in files(folder / "s", "gone"):
            file.write_bytes(b"")
        server.restart()
        client.submit(report(41))
        client.close()
        assert records(server, "gone") == [(41, 1)]
    assert client.stats().results == {"dropped": 40, "recorded": 1}
    assert "undelivered reports are lost" in caplog.text


def test_a_run_that_nobody_named_goes_on_under_its_name(monitor: AcrServe, tmp_path: Path) -> None:
    first = MonitorClient(monitor.url, run_id="out-1a", run_id_is_made_up=True)
    first.start()
    first.submit(report(1))
    state = json.loads(json.dumps(first.state()))
    first.close()
    assert (state["run_id"], state["step"]) == ("out-1a", 1)
    second = MonitorClient(monitor.url, run_id="out-2b", run_id_is_made_up=True)
    second.load(state)
    second.start(state["step"])
    second.submit(report(2))
    second.close()
    assert records(monitor, "out-1a") == [(1, 1), (2, 2)]


def test_a_run_id_that_was_given_wins_over_the_checkpoints(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    client = MonitorClient(NOBODY, run_id="mine")
    client.load(left_undelivered(tmp_path, "theirs", range(1, 3)))
    assert client.run_id == "mine"
    assert warnings(caplog)[-2:] == [
        "the checkpoint is of run theirs; run_id=mine was given, and wins",
        f"undelivered reports of run theirs lie in {tmp_path}, which is not spool_dir (None): move "
        "them",
    ]


@pytest.mark.parametrize("state", [{"run_id": "a/b"}, {"run_id": "r", "step": "x"}, {"run": {}}])
def test_an_unreadable_checkpoint_starts_afresh_with_a_warning(
    state: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    client = MonitorClient(NOBODY, run_id="made-up", run_id_is_made_up=True)
    client.load(state)
    client.load({})
    assert client.run_id == "made-up"
    (told,) = warnings(caplog)
    assert told.startswith("the checkpoint keeps nothing of a monitor's client: ")
