"""The monitor in process: a checkpoint keeps its state, and a resumed run goes on from there."""

import json
from typing import Any

import numpy as np
import pytest

from monitor_service.engine.orders import Kill
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.wire import Applied, StepReport, pack
from trainer.link import InProcessMonitor


def report(step: int, killed: bool = False) -> StepReport:
    rewards = np.random.default_rng(step).integers(0, 2, (20, 3)).astype(float)
    applied = Applied(
        settings_version=step,
        through_step=step - 1,
        mode="active",
        threshold=0.5,
        triggered=False,
        kill=Kill(actor="kill file", reason="was found", step=step, at_s=1.0) if killed else None,
        killed_after_rearms=0 if killed else None,
    )
    return StepReport(step=step, rewards=pack(rewards), applied=applied)


def at(link: InProcessMonitor, step: int) -> Settings:
    return link.settings_for(step, 0.0).settings


def saved(link: InProcessMonitor) -> dict[str, Any]:
    """The state as it comes out of a checkpoint's JSON."""
    found: dict[str, Any] = json.loads(json.dumps(link.state(), indent=2, sort_keys=True))
    return found


def ran(link: InProcessMonitor, steps: range) -> list[Settings]:
    found = []
    for step in steps:
        found.append(at(link, step))
        assert link.submit(report(step))
    return found


@pytest.mark.parametrize("profile", ["paper", "guarded", "observe", "grpo"])
def test_thirty_steps_straight_equal_fifteen_and_fifteen_after_a_resume(profile: str) -> None:
    settings = from_profile(profile, {})
    straight = InProcessMonitor(settings, clock=lambda: 7.0)
    straight.start(0)
    path = ran(straight, range(1, 31))

    first = InProcessMonitor(settings, clock=lambda: 7.0)
    first.start(0)
    before = ran(first, range(1, 16))
    kept = saved(first)
    ran(first, range(16, 19))  # Lost with the process.
    second = InProcessMonitor(settings, clock=lambda: 7.0)
    second.load(kept)
    second.start(15)
    after = ran(second, range(16, 31))

    assert before + after == path
    assert second.state() == straight.state()
    assert len({one.memory for one in path}) == 30


def test_the_adaptive_threshold_moved_in_the_runs_above() -> None:
    link = InProcessMonitor(Settings())
    link.start(0)
    assert len({one.threshold for one in ran(link, range(1, 31))}) > 20


def test_what_is_configured_otherwise_now_is_changed_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = InProcessMonitor(Settings())
    first.start(0)
    ran(first, range(1, 6))
    second = InProcessMonitor(Settings(alpha=0.7))
    second.load(saved(first))
    second.start(5)
    was, now = at(first, 6), at(second, 6)
    assert (now.alpha, now.threshold, now.memory) == (0.7, was.threshold, was.memory)
    assert was.threshold != 0.5
    assert caplog.messages == [
        "configured otherwise than in the checkpoint's run, and changed: alpha=0.7"
    ]


def test_another_profile_brings_all_of_its_settings_and_leaves_the_statistics() -> None:
    first = InProcessMonitor(from_profile("paper", {"alpha": 0.7}))
    first.start(0)
    ran(first, range(1, 6))
    wanted = from_profile("observe", {"alpha": 0.7})
    second = InProcessMonitor(wanted)
    second.load(saved(first))
    second.start(5)
    now = at(second, 6)
    assert (now.profile, now.mode, now.alpha) == ("observe", wanted.mode, 0.7)
    assert now.threshold == wanted.threshold
    assert now.memory == at(first, 6).memory


def test_a_kill_ends_with_the_process_since_nobody_else_could_end_it() -> None:
    first = InProcessMonitor(Settings())
    first.start(0)
    first.submit(report(1, killed=True))
    assert at(first, 2).acting_mode == "locked"
    second = InProcessMonitor(Settings())
    second.load(saved(first))
    second.start(1)
    assert at(second, 2).acting_mode == "active"


@pytest.mark.parametrize(
    "state",
    [
        {"run_id": "a", "step": 3, "spool_dir": None, "undelivered": 0},
        {"configured": {}, "run": {"settings": {"threshold": 7}}},
        {"configured": {}, "run": {"settings": {}, "step": "three"}},
    ],
)
def test_an_unreadable_state_starts_afresh_with_a_warning(
    state: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    link = InProcessMonitor(Settings(seed=4))
    link.load(state)
    link.start(3)
    assert at(link, 4) == Settings(seed=4, through_step=3)
    (told,) = caplog.messages
    assert told.startswith("the checkpoint's statistics are unreadable and start afresh: ")


def test_a_state_of_later_steps_is_not_taken_up(caplog: pytest.LogCaptureFixture) -> None:
    first = InProcessMonitor(Settings())
    first.start(0)
    ran(first, range(1, 6))
    second = InProcessMonitor(Settings())
    second.load(saved(first))
    second.start(3)
    assert at(second, 4) == Settings(through_step=3)
    assert caplog.messages == [
        "the checkpoint's statistics are of step 5 and start afresh after step 3"
    ]


def test_a_second_start_without_a_checkpoint_starts_afresh() -> None:
    link = InProcessMonitor(Settings())
    link.load({})
    for _ in range(2):
        link.start(0)
        assert at(link, 1) == Settings()
        ran(link, range(1, 4))
