"""Orders of people: what each changed, where it acted, and how near ones share a place."""

from typing import Any

from monitor_service.engine.events import Event
from monitor_service.report.orders import killed, places, points, rows
from monitor_service.resources import EventView, OrderView


def order(kind: str, step: int, **fields: Any) -> OrderView:
    """An order after `step`, applied at the step after the next."""
    usual: dict[str, Any] = {"old": {}, "new": {}, "applied_step": step + 2, "ignored": {}}
    return OrderView(
        id=f"{step}-0",
        at_s=60.0 * step,
        step=step,
        kind=kind,
        actor="ana",
        reason="why not",
        origin=None,
        version=step,
        **{"number": None, **usual, **fields},
    )


def test_a_row_says_who_when_why_what_and_from_which_step_on():
    change = order(
        "settings_changed",
        7,
        old={"threshold": 0.5, "mode": "active"},
        new={"threshold": 0.3, "mode": "active"},
    )
    (row,) = rows([change])
    # 60 * 7 s after the epoch; the mode was named and did not change.
    what = "settings changed\nthreshold 0.5 -> 0.3"
    assert row == (1, "1970-01-01 00:07", 7, "ana", what, "why not", "at step 9")


def test_what_nobody_applied_and_what_was_ignored_is_said():
    waiting = order("settings_changed", 7, new={"beta": None}, old={"beta": 0.1}, applied_step=None)
    ignored = order("settings_changed", 8, ignored={"beta": "no reference model"})
    assert [row[-1] for row in rows([waiting, ignored])] == [
        "no report says so",
        "at step 10\nignored: beta: no reference model",
    ]


def test_kills_overrides_and_commands_are_told_by_their_names():
    kill = {"actor": "ana", "reason": "", "step": 3, "at_s": 0.0}
    told = rows(
        [
            order("killed", 3, old={"kill": None}, new={"kill": kill}),
            order("rearmed", 4, old={"kill": kill}, new={"kill": None}),
            order("override_added", 5, number=2, old={"beta": None}, new={"beta": 0.1}),
            order("command_given", 6, old={"command": None}, new={"command": {"kind": "save"}}),
        ]
    )
    assert [row[4] for row in told] == [
        "killed",
        "rearmed",
        "override added 2\nbeta null -> 0.1",
        "command given: save",
    ]


def resumed(after_order: int, step: int) -> EventView:
    """A new attempt that continues after `step`, begun a second after that order."""
    event = Event(kind="resumed", step=step, message="", data={})
    return EventView(id="1-0", at_s=60.0 * after_order + 1, event=event)


def test_an_order_acts_from_the_first_step_made_with_it():
    waiting = order("settings_changed", 8, applied_step=None)
    assert places([order("settings_changed", 7), waiting], []) == [9, 8]


def test_an_order_acts_from_the_start_of_an_attempt_that_goes_back_behind_it():
    given = [order("killed", step) for step in (10, 40, 90)]
    # Back to 50, then, before the last order, to 30: steps 31 and later were all made with the
    # second. The first and the last were given before and after what was done over again.
    again = [resumed(41, 50), resumed(42, 30)]
    assert places(given, again) == [12, 31, 92]


def test_orders_that_are_near_each_other_share_a_place():
    # 4 % of 100 steps are 4.
    assert list(points([12, 13, 52], 100)) == [(12, "1-2"), (52, "3")]


def test_a_kill_lasts_until_the_run_is_rearmed():
    given = [order("killed", 10), order("killed", 12), order("rearmed", 20), order("killed", 30)]
    found = killed(given, [12, 14, 22, 32], 40)
    assert [(first, last) for first, last, _ in found] == [(12, 22), (32, 40)]
