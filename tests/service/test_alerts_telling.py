"""What of a run's events a sink is told, and when; a flapping alarm is one alert."""

from typing import Any

import pytest

from monitor_service.alert import Alert
from monitor_service.alerts.config import AlertConfig
from monitor_service.alerts.telling import heard, without
from monitor_service.engine.events import Event
from monitor_service.store.alerts import Entry, Place
from monitor_service.store.redis import TimedEvent

START = Place(cursor="0-0")
QUIET_S = 600.0
FOREVER_S = 1e9


def at(at_s: float, kind: str, rule: str | None = "stall", **data: Any) -> Entry:
    """An event at this time; its id is made of it."""
    data = {"severity": "warning"} | data | ({"rule": rule} if rule else {})
    event = Event(kind=kind, step=int(at_s), message=f"{kind} at {at_s:g}", data=data)
    return Entry(f"{at_s:g}-0", TimedEvent(at_s=at_s, event=event))


def told(
    *entries: Entry, now_s: float = FOREVER_S, place: Place = START, **config: Any
) -> list[Alert]:
    """What a sink is told by `now_s`."""
    settings = AlertConfig(**{"quiet_s": QUIET_S} | config)
    return [alert for alert, _ in heard("run", place, entries, now_s, settings)[0]]


def in_short(alerts: list[Alert]) -> list[tuple[str, str]]:
    return [(alert.status, alert.message) for alert in alerts]


def test_an_alarm_is_told_when_it_is_raised_when_it_got_worse_and_when_it_is_over():
    found = told(
        at(1, "alarm_raised", since_step=1, advice="do", evidence={"x": 1.5}),
        at(2, "alarm_updated", severity="critical"),
        at(3, "alarm_resolved"),
    )
    assert [alert.status for alert in found] == ["raised", "updated", "resolved"]
    assert [alert.severity for alert in found] == ["warning", "critical", "critical"]
    assert [alert.id for alert in found] == ["run:1-0", "run:2-0", "run:3-0"]
    first, _, last = found
    assert (first.rule, first.since_step, first.advice) == ("stall", 1, "do")
    assert (first.evidence, first.step, first.at_s) == ({"x": 1.5}, 1, 1.0)
    assert (last.rule, last.step, last.advice) == ("stall", 3, "")


def test_an_alarm_that_comes_back_within_the_quiet_time_is_the_same_alarm():
    flapping = [at(1, "alarm_raised"), at(2, "alarm_resolved"), at(601, "alarm_raised")]
    assert in_short(told(*flapping)) == [("raised", "alarm_raised at 1")]
    over = [*flapping, at(700, "alarm_resolved")]
    # The end is told 600 s after it: at 1300, not at 1299.
    assert len(told(*over, now_s=1299)) == 1
    assert in_short(told(*over, now_s=1300))[1:] == [("resolved", "alarm_resolved at 700")]


def test_an_alarm_that_comes_back_worse_is_told_at_once():
    found = told(
        at(1, "alarm_raised"), at(2, "alarm_resolved"), at(3, "alarm_raised", severity="critical")
    )
    assert in_short(found)[1:] == [("updated", "alarm_raised at 3")]


def test_an_alarm_that_comes_back_later_is_another_one():
    found = told(at(1, "alarm_raised"), at(2, "alarm_resolved"), at(602, "alarm_raised"))
    assert in_short(found) == [
        ("raised", "alarm_raised at 1"),
        ("resolved", "alarm_resolved at 2"),
        ("raised", "alarm_raised at 602"),
    ]


def test_without_a_quiet_time_every_change_is_told():
    events = [at(1, "alarm_raised"), at(2, "alarm_resolved"), at(3, "alarm_raised")]
    assert [one.status for one in told(*events, quiet_s=0)] == ["raised", "resolved", "raised"]


def test_alarms_below_the_severity_are_not_told_and_neither_is_their_end():
    events = [at(1, "alarm_raised", severity="info"), at(2, "alarm_resolved", severity="info")]
    assert told(*events) == []
    assert [one.status for one in told(*events, min_severity="info")] == ["raised", "resolved"]


def test_an_alarm_that_got_worse_than_the_severity_asked_for_is_raised_for_the_sink():
    events = [
        at(1, "alarm_raised"),
        at(2, "alarm_updated", severity="critical"),
        at(3, "alarm_resolved"),
    ]
    found = told(*events, min_severity="critical")
    assert [one.status for one in found] == ["raised", "resolved"]


def test_the_end_of_an_alarm_that_was_never_told_is_not_told():
    assert told(at(1, "alarm_resolved")) == []
    # Also when telling it was given up.
    ((_, place),), _ = heard("run", START, [at(1, "alarm_raised")], 1.0, AlertConfig())
    assert told(at(2, "alarm_resolved"), place=without(place, "stall")) == []
    assert len(told(at(2, "alarm_resolved"), place=place)) == 1


def test_a_resume_ends_the_alarms_that_the_run_does_not_have_any_more():
    raised = [at(1, "alarm_raised"), at(2, "alarm_raised", rule="kl_drift")]
    raised += [at(3, "alarm_raised", rule="reports_stopped")]
    found = told(*raised, at(4, "resumed", rule=None, alarms=["kl_drift"]))[3:]
    assert [(alert.status, alert.rule) for alert in found] == [
        ("resolved", "stall"),
        ("resolved", "reports_stopped"),
    ]
    assert [alert.id for alert in found] == ["run:4-0:stall", "run:4-0:reports_stopped"]
    assert found[0].message == "stall is over, for the run has resumed: resumed at 4"


def test_a_run_that_is_created_anew_has_none_of_the_alarms_of_the_one_before():
    found = told(at(1, "alarm_raised"), at(2, "created", rule=None))
    assert [(alert.status, alert.rule) for alert in found[1:]] == [("resolved", "stall")]


def test_a_training_that_ended_is_not_silent_any_more():
    raised = [at(1, "alarm_raised"), at(2, "alarm_raised", rule="reports_stopped")]
    found = told(*raised, at(3, "ended", rule=None))[2:]
    assert [(alert.status, alert.rule) for alert in found] == [("resolved", "reports_stopped")]


def test_orders_and_ends_are_told_as_far_as_somebody_asked():
    events = [
        at(1, "killed", rule=None, old={"kill": None}),
        at(2, "killed", rule=None, old={"kill": {"actor": "ana"}}),  # It was killed already.
        at(3, "rearmed", rule=None),
        at(4, "arming", rule=None, stage="active"),
        at(5, "arming", rule=None, stage="locked"),
        at(6, "ended", rule=None),
        at(7, "settings_changed", rule=None),
    ]
    assert [one.status for one in told(*events)] == ["killed", "locked"]
    everything = told(*events, also=frozenset({"killed", "rearmed", "locked", "ended"}))
    assert [one.status for one in everything] == ["killed", "rearmed", "locked", "ended"]
    assert told(*events, also=frozenset()) == []


def test_an_event_of_another_version_is_passed_over():
    strange = [
        Entry("1-0", None),
        at(2, "alarm_raised", severity="fatal"),
        at(3, "alarm_raised", rule=None),
        at(4, "resumed", alarms=7),
    ]
    alerts, place = heard("run", START, strange, FOREVER_S, AlertConfig())
    assert alerts == []
    assert place.cursor == "4-0"


def test_told_piece_by_piece_it_is_the_same_as_told_at_once():
    events = [
        at(1, "alarm_raised"),
        at(2, "alarm_raised", rule="kl_drift"),
        at(3, "alarm_resolved"),
        at(4, "alarm_raised"),
        at(5, "alarm_resolved", rule="kl_drift"),
        at(900, "alarm_updated"),
    ]
    pieces, place = [], START
    for event in events:
        alerts, place = heard("run", place, [event], float(event.id[:-2]), AlertConfig())
        pieces += [alert for alert, _ in alerts]
    assert pieces == told(*events)
    assert place.cursor == "900-0"


@pytest.mark.parametrize("public_url", [None, "https://acr.example"])
def test_an_alert_has_a_link_when_the_monitor_knows_its_address(public_url):
    (alert,) = told(at(1, "alarm_raised"), public_url=public_url)
    assert alert.url == (public_url and "https://acr.example/#/runs/run")
