"""From which step an order acts: told once, at the first report that knows of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.advance import advance
from monitor_service.engine.changes import (
    MAX_UNAPPLIED,
    commanded,
    killed,
    rearmed,
    resumed,
    with_changes,
    with_override,
    without_override,
)
from monitor_service.engine.collapse import matrix
from monitor_service.engine.events import AUDITED, KINDS, Event
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import Observation, RunState

FRESH = RunState(settings=Settings())
REWARDS = matrix([[1.0, 0.0], [0.0, 0.0]])


def reported(
    state: RunState, applied_version: int | None, **fields: Any
) -> tuple[RunState, list[Event]]:
    """The state after one more step, and what it tells of orders."""
    seen = Observation(
        step=state.step + 1, rewards=REWARDS, applied_version=applied_version, **fields
    )
    moved, _, events = advance(state, seen, now_s=1000.0)
    return moved, [event for event in events if event.kind == "change_applied"]


def changed(state: RunState, times: int = 1) -> RunState:
    for _ in range(times):
        state = with_changes(state, {"alpha": 0.3})
    return state


def overridden(state: RunState) -> RunState:
    return with_override(
        state,
        {"seed": 1},
        actor="ana",
        reason="why",
        expires_in_steps=9,
        expires_in_s=60,
        now_s=1000.0,
    )


def test_an_order_waits_until_a_report_was_made_with_it():
    # Version 1 is the fresh one, 2 the order's, 3 the step's before anybody heard of it.
    state = changed(FRESH)
    assert state.unapplied == (2,)
    state, told = reported(state, 1)
    assert (state.unapplied, told) == ((2,), [])
    state, (event,) = reported(state, 3)
    assert state.unapplied == ()
    assert (event.step, event.data) == (2, {"version": 2, "settings_version": 3, "ignored": {}})
    assert reported(state, 4)[1] == []


def test_a_report_without_settings_leaves_orders_waiting():
    state, told = reported(changed(FRESH), None)
    assert (state.unapplied, told) == ((2,), [])


def test_each_of_several_orders_is_told_and_what_the_trainer_ignores_with_it():
    state = commanded(changed(FRESH), "save", actor="ana", reason="why")
    _, told = reported(state, 3, not_applied={"beta": "no reference model"})
    assert [event.data["version"] for event in told] == [2, 3]
    assert [event.data["ignored"] for event in told] == [{"beta": "no reference model"}] * 2


@pytest.mark.parametrize(
    "order",
    [
        changed,
        overridden,
        lambda state: without_override(overridden(state), 1),
        lambda state: killed(state, actor="ana", reason="why", now_s=0.0),
        rearmed,
        lambda state: commanded(state, "stop", actor="ana", reason="why"),
    ],
)
def test_every_kind_of_order_is_waited_for(order):
    state = order(FRESH)
    assert state.unapplied[-1] == state.settings.version


def test_a_kill_of_a_killed_run_changes_nothing_to_wait_for():
    once = killed(FRESH, actor="ana", reason="why", now_s=0.0)
    assert killed(once, actor="bob", reason="again", now_s=1.0).unapplied == once.unapplied


def test_without_a_trainer_that_listens_only_the_newest_orders_are_waited_for():
    state = changed(FRESH, times=MAX_UNAPPLIED + 3)
    # The first order is version 2; three are given up: 2, 3 and 4.
    assert state.unapplied == tuple(range(5, 5 + MAX_UNAPPLIED))


def test_a_resume_goes_on_waiting_for_what_was_ordered_since():
    state = changed(reported(FRESH, 1)[0])
    again = resumed(state, FRESH)
    assert again.unapplied == state.unapplied == (3,)
    # The order had its effect before the run went back: that is not told twice.
    assert resumed(reported(state, 3)[0], state).unapplied == ()


@given(st.lists(st.sampled_from(["order", "hear", "report"]), max_size=40))
def test_whatever_the_order_of_things_each_order_is_told_once_when_it_acts(moves):
    state, held, ordered, told = FRESH, FRESH.settings.version, [], []
    for move in moves:
        if move == "order":
            state = changed(state)
            ordered.append(state.settings.version)
        elif move == "hear":
            held = state.settings.version
        else:
            state, events = reported(state, held)
            told += [event.data["version"] for event in events]
            assert told == [version for version in ordered if version <= held]
    assert (*told, *state.unapplied) == tuple(ordered)


def test_the_audit_trail_holds_kinds_that_exist():
    assert set(KINDS) > AUDITED
