"""Kill file, overrides, commands and accounts, as the loop of one trainer obeys them."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from monitor_service.engine.changes import commanded, killed, rearmed, with_changes, with_override
from monitor_service.engine.injection import Host
from monitor_service.engine.plan import Decision, Plan
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.wire import Applied, Scalars, StepReport
from trainer.link import Held, InProcessMonitor
from trainer.loop import ControlLoop

WRONG, MIXED = [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0]
ALWAYS = {"threshold": 0.0, "min_groups_per_unit": 1, "controller": "fixed"}


class Ordered(InProcessMonitor):
    """The in-process monitor, taking orders, and remembering what it was told."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        super().__init__(settings, clock)
        self.applied: list[Applied] = []

    def submit(self, report: StepReport) -> bool:
        assert report.applied is not None
        self.applied.append(report.applied)
        return super().submit(report)

    def order(self, move: Callable[[RunState], RunState]) -> None:
        self._state = move(self._state)


class Turn:
    """A loop and its monitor, one batch at a time."""

    def __init__(self, settings: Settings, **given: Any) -> None:
        self.now_s = 1000.0

        def share(held: Held | None) -> Held:
            assert held is not None
            return held

        self.monitor = Ordered(settings, lambda: self.now_s)
        self.loop = ControlLoop(
            self.monitor, share=share, host=Host(), clock=lambda: self.now_s, **given
        )
        self.loop.start(0)

    def __call__(self, *groups: list[float], **context: Any) -> Plan:
        rewards = np.array(groups)
        self.loop.begin_step()
        decided = self.loop.decide(rewards, None, **context)
        scalars = Scalars()
        self.loop.report(decided, rewards, None, components={}, scalars=scalars, optimizer_step=0)
        return decided


def paper(**changes: Any) -> Settings:
    return from_profile("paper", {**ALWAYS, **changes})


def test_a_kill_file_stops_everything_and_goes_on_doing_so_once_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ACR_KILL"
    turn = Turn(paper(temperature=1.3), kill_file=file)
    assert turn(WRONG, MIXED).is_rewritten.any()
    file.touch()
    with caplog.at_level(logging.WARNING):
        assert not turn(WRONG, MIXED).is_rewritten.any()
    assert f"step 2: {file} exists: plain GRPO" in caplog.text
    file.unlink()
    assert not turn(WRONG, MIXED).is_rewritten.any()
    modes = [(one.mode, one.killed_after_rearms) for one in turn.monitor.applied]
    assert modes == [("active", None), ("locked", 0), ("locked", 0)]
    assert turn.loop.begin_step().knobs == {}


def test_a_person_rearms_what_a_file_killed_and_the_file_kills_again(tmp_path: Path) -> None:
    file = tmp_path / "ACR_KILL"
    turn = Turn(paper(), kill_file=file)
    file.touch()
    turn(WRONG, MIXED)
    turn.monitor.order(rearmed)
    assert turn(WRONG, MIXED).mode == "locked"  # The file is still there.
    file.unlink()
    turn.monitor.order(rearmed)
    assert turn(WRONG, MIXED).mode == "active"


def test_a_kill_outlives_the_data_of_the_monitor() -> None:
    turn = Turn(paper())
    turn.monitor.order(lambda state: killed(state, actor="ana", reason="reward hacked", now_s=0))
    assert turn(WRONG, MIXED).mode == "locked"
    # A monitor without its data takes the run for a new one, of another session.
    lost = RunState(settings=replace(paper(), session="another life", through_step=1), step=1)
    turn.monitor.order(lambda _: lost)
    assert turn(WRONG, MIXED).mode == "locked"
    kill = turn.monitor._state.settings.kill
    assert kill is not None
    assert (kill.actor, kill.reason) == ("ana", "reward hacked")
    turn.monitor.order(rearmed)
    assert turn(WRONG, MIXED).mode == "active"


def test_a_kill_file_that_cannot_be_looked_for_means_no_intervention(tmp_path: Path) -> None:
    turn = Turn(paper(), kill_file=Path(tmp_path, "x" * 300))  # ENAMETOOLONG
    assert not turn(WRONG, MIXED).is_rewritten.any()
    (applied,) = turn.monitor.applied
    assert applied.mode == "off"
    assert applied.note is not None
    assert applied.note.startswith("the kill file cannot be looked for")


def test_a_kill_order_makes_the_next_step_plain_grpo() -> None:
    turn = Turn(paper())
    turn.monitor.order(lambda state: killed(state, actor="ana", reason="why", now_s=0))
    decided = turn(WRONG, MIXED)
    assert decided.mode == "locked"
    assert not decided.is_rewritten.any()
    assert decided.decisions.tolist() == [Decision.LOCKED, Decision.HAS_SIGNAL]


def test_an_override_ends_by_step_and_by_time_without_the_monitor() -> None:
    def by(steps: int, seconds: float) -> Callable[[RunState], RunState]:
        return lambda state: with_override(
            state,
            {"mode": "off"},
            actor="ana",
            reason="why",
            expires_in_steps=steps,
            expires_in_s=seconds,
            now_s=1000.0,
        )

    turn = Turn(paper())
    turn.monitor.order(by(2, 3600))
    modes = [turn(WRONG, MIXED).mode for _ in range(3)]
    assert modes == ["off", "off", "active"]
    assert [one.overrides for one in turn.monitor.applied] == [[1], [1], []]
    turn.monitor.order(by(100, 60))
    assert turn(WRONG, MIXED).mode == "off"
    turn.now_s = 1060.0
    assert turn(WRONG, MIXED).mode == "active"


def test_shadow_decides_everything_and_applies_nothing() -> None:
    turn = Turn(paper(mode="shadow"))
    decided = turn(WRONG, WRONG, MIXED)
    assert not decided.is_rewritten.any()
    assert decided.advantages[0] < 0
    (applied,) = turn.monitor.applied
    # ACR = 2/3 and G = 4: K = ceil(4 * sqrt(2/3)) = 4, |A| = closed_form(4, 4) = .845.
    assert applied.shadow is not None
    assert (applied.shadow.injected_wrong, applied.shadow.num_virtual) == (2, 4)
    assert applied.shadow.advantage_abs_max == pytest.approx(0.845, abs=5e-3)
    assert applied.shadow.effective_acr == 0
    assert (applied.injected_wrong, applied.advantage_abs_max) == (0, 0)
    assert applied.effective_acr == pytest.approx(2 / 3)
    assert turn.monitor._state.counters.shadow_wrong == 2
    assert turn.monitor._state.counters.injected_wrong == 0


def test_a_command_is_carried_out_once_and_cleared_by_the_report() -> None:
    turn = Turn(paper())
    turn.monitor.order(lambda state: commanded(state, "save", actor="ana", reason="why"))
    turn(MIXED)
    taken = turn.loop.taken_command()
    assert taken is not None
    assert (taken.kind, taken.number) == ("save", 1)
    assert turn.loop.taken_command() is None
    assert turn.monitor._state.settings.command is None
    turn(MIXED)
    assert turn.loop.taken_command() is None
    assert [one.command for one in turn.monitor.applied] == [1, None]


def test_a_prompt_is_injected_no_more_often_than_its_budget_in_an_epoch() -> None:
    turn = Turn(paper(prompt_budget=2))
    seen = [turn(WRONG, MIXED, prompts=["p", "q"], epoch=0).decisions[0] for _ in range(3)]
    assert seen == [Decision.INJECTED, Decision.INJECTED, Decision.OVER_BUDGET]
    assert turn(WRONG, MIXED, prompts=["p", "q"], epoch=1).decisions[0] == Decision.INJECTED


def test_the_account_survives_a_checkpoint() -> None:
    turn = Turn(paper(prompt_budget=1))
    turn(WRONG, MIXED, prompts=["p", "q"])
    kept = json.loads(json.dumps(turn.loop.state()))
    again = Turn(paper(prompt_budget=1))
    again.loop.load(kept)
    decided = again(WRONG, MIXED, prompts=["p", "q"])
    assert decided.decisions[0] == Decision.OVER_BUDGET


def test_an_unreadable_account_starts_afresh_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turn = Turn(paper(prompt_budget=1))
    turn.loop.load({"ledger": {"weight": "much"}})
    assert "ledger is unreadable and starts afresh" in caplog.text
    assert turn(WRONG, MIXED, prompts=["p", "q"]).decisions[0] == Decision.INJECTED


def test_what_shadow_would_have_spent_is_not_spent() -> None:
    turn = Turn(paper(prompt_budget=1, mode="shadow"))
    first, second = (turn(WRONG, MIXED, prompts=["p", "q"]) for _ in range(2))
    assert first.decisions[0] == Decision.INJECTED
    assert second.decisions[0] == Decision.OVER_BUDGET
    turn.monitor.order(lambda state: with_changes(state, {"mode": "active"}))
    assert turn(WRONG, MIXED, prompts=["p", "q"]).decisions[0] == Decision.INJECTED


def test_a_refused_configuration_stays_plain_in_shadow_too() -> None:
    turn = Turn(paper(mode="shadow"), refusal="cannot be served")
    assert turn(WRONG).mode == "off"
    assert turn.monitor.applied[0].note == "cannot be served"


def test_overrides_that_contradict_each_other_act_as_nothing() -> None:
    settings = from_profile("guarded", {})
    turn = Turn(settings)
    # Not through the API, which refuses it: as it may be found in a store.
    state = with_override(
        turn.monitor._state,
        {"exit_threshold": 0.25},
        actor="ana",
        reason="why",
        expires_in_steps=9,
        expires_in_s=9,
        now_s=1000.0,
    )
    broken = replace(state.settings, threshold=0.22)
    turn.monitor.order(lambda _: replace(state, settings=broken))
    assert turn(WRONG).mode == "off"
