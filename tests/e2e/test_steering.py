"""People steer a real run: knobs, kill, commands, by the command line and over HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from transformers import TrainerCallback

from monitor_service.resources import Diagnosis, StepPage, StepRecord
from tests.e2e.runs import trainer
from tests.servers import AcrServe, acr_serve, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture
def monitor(folder: Path) -> Iterator[AcrServe]:
    with acr_serve(folder) as server:
        yield server


def acr(monitor: AcrServe, *arguments: str) -> str:
    """What the command line answers."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("acr")), *arguments],
        env={**os.environ, "ACR_MONITOR_URL": monitor.url, "USER": "ana"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def history(monitor: AcrServe, run_id: str) -> list[StepRecord]:
    reply = httpx.get(f"{monitor.url}/v1/runs/{run_id}/steps").raise_for_status()
    return msgspec.json.decode(reply.content, type=StepPage).steps


def lockstep(monitor: AcrServe, run_id: str) -> dict[str, Any]:
    return {
        "monitor_url": monitor.url,
        "monitor_redis_url": monitor.redis_url,
        "run_id": run_id,
        "settings_wait_s": 30.0,
    }


class Watcher(TrainerCallback):
    """Orders by step, and the trainer's own attributes as each step was trained with them."""

    def __init__(self, orders: dict[int, Any]) -> None:
        self.orders = orders
        self.trainer: Any = None
        self.seen: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen.append(
            {
                "temperature": self.trainer.temperature,
                "sampled at": self.trainer.generation_config.temperature,
                "epsilon_high": self.trainer.epsilon_high,
                "learning rate": self.trainer.optimizer.param_groups[0]["lr"],
            }
        )
        order = self.orders.get(state.global_step)
        if order:
            order()


def steered(folder: Path, orders: dict[int, Any], **changes: Any) -> Watcher:
    watcher = Watcher(orders)
    run = trainer(folder, lr_scheduler_type="constant", learning_rate=1e-4, **changes)
    watcher.trainer = run
    run.add_callback(watcher)
    run.train()
    return watcher


def test_knobs_set_from_the_command_line_reach_the_trainer_and_are_reported(
    monitor: AcrServe, tmp_path: Path
) -> None:
    def turn() -> None:
        text = ["temperature=1.25", "epsilon_high=0.28", "learning_rate_scale=0.5"]
        acr(monitor, "set", "knobs", *text, "--reason", "more exploration")

    def undo() -> None:
        text = ["temperature=null", "epsilon_high=null", "learning_rate_scale=null"]
        acr(monitor, "set", "knobs", *text, "--reason", "enough")

    watcher = steered(tmp_path, {4: turn, 9: undo}, max_steps=14, **lockstep(monitor, "knobs"))
    steps = history(monitor, "knobs")
    applied = [one.applied.knobs for one in steps if one.applied]
    started = next(step for step, knobs in enumerate(applied, 1) if knobs)
    ended = next(step for step, knobs in enumerate(applied, 1) if step > started and not knobs)
    # Settings are taken before a batch is generated: at the next step, or the one after it.
    assert started in (5, 6)
    assert ended in (10, 11)
    for step, (knobs, seen) in enumerate(zip(applied, watcher.seen, strict=True), 1):
        is_on = started <= step < ended
        assert {name: (knob.status, knob.value) for name, knob in knobs.items()} == (
            {
                "temperature": ("applied", 1.25),
                "epsilon_high": ("applied", 0.28),
                "learning_rate_scale": ("applied", 0.5),
            }
            if is_on
            else {}
        )
        assert seen["temperature"] == seen["sampled at"] == (1.25 if is_on else 1.0)
        assert seen["epsilon_high"] == (0.28 if is_on else 0.2)
        assert seen["learning rate"] == pytest.approx(5e-5 if is_on else 1e-4)
    temperatures = [one.scalars.temperature for one in steps]
    assert temperatures == [1.25 if started <= step < ended else 1.0 for step in range(1, 15)]


def test_a_knob_that_cannot_be_turned_is_ignored_with_its_reason(
    monitor: AcrServe, tmp_path: Path
) -> None:
    def turn() -> None:
        acr(monitor, "set", "fixed", "beta=0.02", "entropy_coef=0.01", "-r", "to see it refused")

    steered(tmp_path, {2: turn}, max_steps=6, **lockstep(monitor, "fixed"))
    newest = history(monitor, "fixed")[-1].applied
    assert newest is not None
    assert {name: knob.status for name, knob in newest.knobs.items()} == {
        "beta": "ignored",
        "entropy_coef": "ignored",
    }
    assert "reference model" in (newest.knobs["beta"].reason or "")
    reply = httpx.get(f"{monitor.url}/v1/runs/fixed/diagnosis").raise_for_status()
    found = msgspec.json.decode(reply.content, type=Diagnosis)
    assert [
        (one.name, one.requested, one.applied and one.applied.status) for one in found.knobs
    ] == [
        ("beta", 0.02, "ignored"),
        ("entropy_coef", 0.01, "ignored"),
    ]


def test_a_killed_run_is_plain_grpo_until_somebody_rearms_it_restarts_included(
    monitor: AcrServe, tmp_path: Path
) -> None:
    kill = {3: lambda: acr(monitor, "kill", "killed", "--reason", "losing it")}
    changes = {"save_strategy": "steps", "save_steps": 6, "max_steps": 6}
    steered(tmp_path, kill, **changes, **lockstep(monitor, "killed"))
    modes = [one.applied.mode for one in history(monitor, "killed") if one.applied]
    first = modes.index("locked")
    assert first in (3, 4)
    assert set(modes[first:]) == {"locked"}

    monitor.restart()
    again = {**lockstep(monitor, "killed"), "save_strategy": "no"}
    run = trainer(tmp_path, max_steps=9, **again)
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    acr(monitor, "rearm", "killed", "--reason", "looked at it")
    run = trainer(tmp_path, max_steps=9, **again)
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    records = [one for one in history(monitor, "killed") if one.step > 6]
    assert [one.attempt for one in records] == [3, 3, 3]
    assert {one.applied.mode for one in records if one.applied} == {"active"}
    events = httpx.get(f"{monitor.url}/v1/runs/killed/events").json()["events"]
    told = [one["event"]["kind"] for one in reversed(events)]
    assert [kind for kind in told if kind in ("killed", "rearmed", "resumed")] == [
        *("killed", "resumed", "rearmed", "resumed"),
    ]


def test_a_killed_run_stays_plain_after_a_resume(monitor: AcrServe, tmp_path: Path) -> None:
    kill = {2: lambda: acr(monitor, "kill", "k", "--reason", "losing it")}
    changes = {"save_strategy": "steps", "save_steps": 4, "max_steps": 4}
    steered(tmp_path, kill, **changes, **lockstep(monitor, "k"))
    run = trainer(tmp_path, max_steps=7, **lockstep(monitor, "k"))
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    records = [one for one in history(monitor, "k") if one.step > 4]
    assert [(one.attempt, one.applied and one.applied.mode) for one in records] == [
        (2, "locked"),
        (2, "locked"),
        (2, "locked"),
    ]


def test_stop_saves_a_checkpoint_first_and_is_not_inherited(
    monitor: AcrServe, tmp_path: Path
) -> None:
    stop = {3: lambda: acr(monitor, "stop", "stopped", "--reason", "seen enough")}
    watcher = steered(tmp_path, stop, max_steps=50, **lockstep(monitor, "stopped"))
    ended_at = watcher.trainer.state.global_step
    assert ended_at in (4, 5)
    checkpoint = tmp_path / f"checkpoint-{ended_at}"
    assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == ended_at
    run = httpx.get(f"{monitor.url}/v1/runs/stopped").json()
    assert run["settings"]["command"] is None
    eventually(
        lambda: httpx.get(f"{monitor.url}/v1/runs/stopped").json()["ended"] == "finished",
        "the trainer said that it ended",
    )
    again = trainer(tmp_path, max_steps=ended_at + 3, **lockstep(monitor, "stopped"))
    again.train(resume_from_checkpoint=str(checkpoint))
    assert again.state.global_step == ended_at + 3


def test_an_override_returns_by_itself(monitor: AcrServe, tmp_path: Path) -> None:
    body = {
        "settings": {"temperature": 1.5},
        "reason": "a look",
        "expires_in_steps": 3,
        "expires_in_s": 3600,
    }

    def order() -> None:
        url = f"{monitor.url}/v1/runs/o/overrides"
        httpx.post(url, json=body).raise_for_status()

    steered(tmp_path, {2: order}, max_steps=9, **lockstep(monitor, "o"))
    records = history(monitor, "o")
    hot = [one.step for one in records if one.scalars.temperature == 1.5]
    # Ordered when step 2 was recorded, or just before: it may act through step 5 (or 4).
    assert 1 <= len(hot) <= 3
    assert hot[-1] in (4, 5)
    events = httpx.get(f"{monitor.url}/v1/runs/o/events").json()["events"]
    kinds = [one["event"]["kind"] for one in reversed(events)]
    assert kinds.index("override_added") < kinds.index("override_expired")
