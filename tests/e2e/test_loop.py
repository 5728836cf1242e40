"""The loop over HTTP and Redis, with a real monitor process and real training."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import torch
from msgspec.structs import replace
from transformers import TrainerCallback

from monitor_service.resources import StepPage, StepRecord
from tests.e2e.runs import OUTCOMES, client, trainer
from tests.servers import AcrServe, acr_serve, eventually
from tests.trainer.toys import arguments, config
from trainer import GRPOTrainer
from trainer.link import InProcessMonitor

pytestmark = pytest.mark.e2e


@pytest.fixture
def monitor(folder: Path) -> Iterator[AcrServe]:
    with acr_serve(folder) as server:
        yield server


def history(monitor: AcrServe, run_id: str) -> list[StepRecord]:
    reply = httpx.get(f"{monitor.url}/v1/runs/{run_id}/steps").raise_for_status()
    return msgspec.json.decode(reply.content, type=StepPage).steps


def lockstep(monitor: AcrServe, run_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "monitor_url": monitor.url,
        "monitor_redis_url": monitor.redis_url,
        "run_id": run_id,
        "settings_wait_s": 30.0,
        **changes,
    }


class At(TrainerCallback):
    """Does something once, between two steps."""

    def __init__(self, step: int, act: Any) -> None:
        self._step, self._act = step, act

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            self._act()


def test_in_lockstep_the_remote_loop_equals_the_one_in_process(
    monitor: AcrServe, tmp_path: Path
) -> None:
    far = trainer(tmp_path, max_steps=12, **lockstep(monitor, "far"))
    far.train()
    args = config(tmp_path, use_avspo=True, acr_threshold_init=0.4, max_steps=12)
    near_link = InProcessMonitor(replace(args.initial_settings(), min_groups_per_unit=1))
    near = GRPOTrainer(**arguments(args, OUTCOMES), monitor=near_link)
    near.train()

    keys = ("acr", "acr_effective", "acr_threshold", "loss", "grad_norm", "entropy")
    assert [[log.get(key) for key in keys] for log in far.state.log_history[:-1]] == [
        [log.get(key) for key in keys] for log in near.state.log_history[:-1]
    ]
    for mine, other in zip(far.model.parameters(), near.model.parameters(), strict=True):
        assert torch.equal(mine, other)
    # The memory is the same too: what the monitor stored is what the engine held in process.
    reply = httpx.get(f"{monitor.url}/v1/runs/far/settings").json()["settings"]
    mine = json.loads(msgspec.json.encode(near_link.settings_for(13, 0).settings))
    # The end of the training was one more publication; in process nobody is told.
    assert reply == {**mine, "session": reply["session"], "version": mine["version"] + 1}


def test_every_report_names_the_settings_it_applied_and_they_came_through_redis(
    monitor: AcrServe, tmp_path: Path
) -> None:
    args = config(
        tmp_path, use_avspo=True, acr_threshold_init=0.4, max_steps=8, **lockstep(monitor, "r")
    )
    link = client(args)
    GRPOTrainer(**arguments(args, OUTCOMES), monitor=link).train()
    steps = history(monitor, "r")
    # Version 1 is the run's creation; the answer to step n is version n + 1, applied at n + 1.
    assert [one.applied.settings_version for one in steps if one.applied] == list(range(1, 9))
    assert [one.settings_version for one in steps] == list(range(2, 10))
    assert [one.applied.through_step for one in steps if one.applied] == list(range(8))
    stats = link.stats()
    assert stats.results == {"recorded": 8}
    assert len(stats.lags_s) == 8
    assert stats.settings_from["redis"] >= 1


def test_a_change_reaches_an_idle_trainer_through_redis_alone(
    monitor: AcrServe, tmp_path: Path
) -> None:
    """No report is under way, so no HTTP reply exists that could have carried the change."""
    args = config(tmp_path, use_avspo=True, **lockstep(monitor, "idle"))
    link = client(args)
    link.start()
    try:
        before = link.stats().settings_from
        httpx.patch(
            f"{monitor.url}/v1/runs/idle/settings",
            json={"threshold": 0.3, "reason": "to see it arrive"},
        ).raise_for_status()
        eventually(lambda: link.settings_for(1).settings.threshold == 0.3, "the change arrives")
        after = link.stats().settings_from
        assert after["redis"] == before.get("redis", 0) + 1
        assert after.get("http", 0) == before.get("http", 0)
    finally:
        link.close()


def test_without_redis_the_replies_close_the_loop(monitor: AcrServe, tmp_path: Path) -> None:
    changes = lockstep(monitor, "http", monitor_redis_url=None)
    run = trainer(tmp_path, max_steps=5, **changes)
    run.train()
    applied = [one.applied.through_step for one in history(monitor, "http") if one.applied]
    assert applied == list(range(5))


def test_a_persons_change_is_applied_at_the_next_step_and_the_report_says_so(
    monitor: AcrServe, tmp_path: Path
) -> None:
    run = trainer(tmp_path, max_steps=8, **lockstep(monitor, "live"))
    versions: list[int] = []

    def change() -> None:
        # After optimizer step 4 the report of step 4 is out; wait for its settings first.
        link = run.loop._link
        assert link is not None
        link.settings_for(5, 30.0)
        reply = httpx.patch(
            f"{monitor.url}/v1/runs/live/settings",
            json={"threshold": 0.3, "controller": "fixed", "reason": "live", "actor": "ana"},
        ).raise_for_status()
        versions.append(reply.json()["settings"]["version"])
        eventually(
            lambda: link.settings_for(5, 0).settings.version >= versions[0], "the change arrives"
        )

    run.add_callback(At(4, change))
    run.train()
    steps = history(monitor, "live")
    assert [one.applied.threshold for one in steps[4:] if one.applied] == [0.3] * 4
    assert all(one.applied and one.applied.threshold != 0.3 for one in steps[:4])
    fifth = steps[4].applied
    assert fifth is not None
    assert fifth.settings_version == versions[0]
    events = httpx.get(f"{monitor.url}/v1/runs/live/events").json()["events"]
    (change_told,) = [one["event"] for one in events if one["event"]["kind"] == "settings_changed"]
    assert change_told["data"]["new"]["threshold"] == 0.3


def test_training_goes_on_while_the_monitor_is_killed_and_nothing_is_lost(
    monitor: AcrServe, tmp_path: Path
) -> None:
    run = trainer(tmp_path, max_steps=12, **lockstep(monitor, "outage", settings_wait_s=0.0))
    link = run.loop._link
    assert link is not None
    before: list[dict[str, Any]] = []

    def kill() -> None:
        link.settings_for(5, 30.0)
        before.append(httpx.get(f"{monitor.url}/v1/runs/outage").json())
        monitor.kill9()

    def restart() -> None:
        monitor.restart()

    run.add_callback(At(4, kill))
    run.add_callback(At(9, restart))
    run.train()
    eventually(lambda: len(history(monitor, "outage")) == 12, "all reports arrive")
    after = httpx.get(f"{monitor.url}/v1/runs/outage").json()
    assert before[0]["step"] == 4
    assert after["attempt"] == 1
    assert after["counters"]["missing_steps"] == 0
    assert after["counters"]["steps"] == 12
    # Between the two the settings stayed those through step 4, and every report says so.
    held = [one.applied.through_step for one in history(monitor, "outage") if one.applied]
    assert held[4:9] == [4] * 5


def test_training_starts_as_plain_grpo_with_one_warning_when_nothing_listens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trainer(tmp_path, max_steps=3, monitor_url="http://127.0.0.1:9", run_id="alone")
    done = threading.Event()
    run.add_callback(At(3, done.set))
    run.train()
    assert done.is_set()
    start, end = [one.getMessage() for one in caplog.records if one.name == "trainer.client"]
    assert start.startswith("no monitor at http://127.0.0.1:9")
    assert "plain GRPO" in start
    assert end == "3 reports were not delivered to http://127.0.0.1:9"
    assert all(log["acr_effective"] == log["acr"] for log in run.state.log_history[:3])
