"""The monitor is killed while a trainer reports, and comes back: each report arrives once.

Real training, a real monitor with its store, kill -9.
"""

import os
import threading
from pathlib import Path
from signal import SIGKILL
from typing import Any

import httpx
import msgspec
import pytest

from monitor_service.resources import EventPage, Run, StepPage, StepRecord
from monitor_service.wire import StepReport
from tests.e2e.resumable import AWAY, DEAD, SAVED, STEPS, At, died, handed_in, resumed, trainer
from tests.servers import AcrServe, acr_serve, eventually
from trainer.client import MonitorClient
from trainer.spool import left_behind

pytestmark = pytest.mark.e2e

BACK = AWAY + 20


def fetched(monitor: AcrServe, path: str, kind: Any) -> Any:
    reply = httpx.get(f"{monitor.url}/v1/runs/{path}").raise_for_status()
    return msgspec.json.decode(reply.content, type=kind)


def told(record: StepRecord | StepReport) -> tuple[Any, ...]:
    """What both a report and the monitor's record of it say."""
    return (record.optimizer_step, record.components, record.scalars, record.applied)


def assert_once_in_order(monitor: AcrServe, run_id: str, reports: dict[int, StepReport]) -> Run:
    """The history is these reports, each recorded by one transition, in the order of the steps."""
    records: list[StepRecord] = fetched(monitor, f"{run_id}/steps", StepPage).steps
    run: Run = fetched(monitor, run_id, Run)
    assert [record.step for record in records] == list(range(1, len(reports) + 1))
    assert {record.step: told(record) for record in records} == {
        step: told(report) for step, report in reports.items()
    }
    assert [record.at_s for record in records] == sorted(record.at_s for record in records)
    assert run.counters.steps == len(reports)
    assert run.counters.missing_steps == 0
    return run


def test_a_monitor_killed_for_twenty_steps_gets_every_report_once_and_in_order(
    folder: Path, tmp_path: Path
) -> None:
    with acr_serve(folder) as monitor:
        run = trainer(tmp_path, monitor_url=monitor.url, run_id="away", max_steps=BACK + 10)
        link = run.loop._link
        assert isinstance(link, MonitorClient)
        run.add_callback(At(AWAY, monitor.kill9))
        waiting: list[int] = []

        def restart() -> None:
            eventually(lambda: not link._backlog.is_waiting_in_memory, "all of it is on disk")
            waiting.append(link.state()["undelivered"])
            monitor.restart()

        run.add_callback(At(BACK, restart))
        run.train()
        reports = handed_in(tmp_path)
        assert len(reports) == BACK + 10
        ended = assert_once_in_order(monitor, "away", reports)
        kinds = [one.event.kind for one in fetched(monitor, "away/events", EventPage).events]
    # Nothing was delivered in between; the reports at the kill itself may have been either way.
    assert BACK - AWAY <= waiting[0] <= BACK - AWAY + 2
    assert (ended.attempt, ended.ended) == (1, "finished")
    assert "resumed" not in kinds
    results = dict(link.stats().results)
    assert results.pop("duplicate", 0) <= 1  # Recorded, but killed before it could say so.
    assert results["recorded"] in (BACK + 10, BACK + 9)
    assert left_behind(tmp_path / "acr_spool") == []


def test_a_trainer_killed_while_the_monitor_is_away_delivers_the_rest_once_it_is_resumed(
    folder: Path, tmp_path: Path
) -> None:
    with acr_serve(folder) as monitor:
        options: dict[str, Any] = {"monitor_url": monitor.url, "run_id": "both"}
        died(tmp_path, monitor.pid, **options)
        assert left_behind(tmp_path / "acr_spool") == ["both"]
        first = handed_in(tmp_path)
        assert max(first) == DEAD
        monitor.restart()
        before = fetched(monitor, "both", Run)
        assert AWAY - 2 <= before.step <= AWAY
        resumed(tmp_path, **options)
        run = assert_once_in_order(monitor, "both", handed_in(tmp_path))
        records = fetched(monitor, "both/steps", StepPage).steps
        (resumption,) = [
            one.event
            for one in fetched(monitor, "both/events", EventPage).events
            if one.event.kind == "resumed"
        ]
    # It went on where the monitor was: what lay on disk is of the same attempt as what followed.
    assert resumption.step == before.step
    assert [record.attempt for record in records] == [1] * before.step + [2] * (STEPS - before.step)
    assert {record.step: told(record) for record in records[:SAVED]} == {
        step: told(report) for step, report in first.items() if step <= SAVED
    }
    assert (run.step, run.ended) == (STEPS, "finished")


def test_both_away_and_the_trainer_back_first_nothing_is_lost(folder: Path, tmp_path: Path) -> None:
    with acr_serve(folder) as monitor:
        options: dict[str, Any] = {"monitor_url": monitor.url, "run_id": "later"}
        died(tmp_path, monitor.pid, **options)
        # The resumed run ends without a monitor: all that was never delivered is on disk.
        resumed(tmp_path, **options)
        monitor.restart()
        assert fetched(monitor, "later", Run).step <= AWAY
        client = MonitorClient(monitor.url, run_id="later", spool_dir=tmp_path / "acr_spool")
        client.start(STEPS)
        client.close()
        assert_once_in_order(monitor, "later", handed_in(tmp_path))


def test_handing_in_a_report_does_not_wait_for_a_disk_that_hangs(
    folder: Path, tmp_path: Path
) -> None:
    with acr_serve(folder) as monitor:
        client = MonitorClient(monitor.url, run_id="hangs", spool_dir=tmp_path)
        client.start()
        os.kill(monitor.pid, SIGKILL)
        writing, go_on = threading.Event(), threading.Event()
        spool = client._backlog._spool
        assert spool is not None
        append = spool.append

        def hanging(report: StepReport) -> list[int]:
            writing.set()
            assert go_on.wait(30)
            return append(report)

        spool.append = hanging  # type: ignore[method-assign]
        for step in range(1, 101):
            assert client.submit(StepReport(step=step, rewards=[[0.0, 1.0]]))
        assert writing.wait(30)
        for step in range(101, 201):
            assert client.submit(StepReport(step=step, rewards=[[0.0, 1.0]]))
        go_on.set()
        assert client.state()["undelivered"] == 200
        client.close()
