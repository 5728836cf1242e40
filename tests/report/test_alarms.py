"""Alarms from events: raised, worse, over; and what a new attempt makes of them."""

from typing import Any

from monitor_service.engine.events import Event
from monitor_service.engine.health.alarms import Verdict
from monitor_service.report.alarms import Alarms, followed
from monitor_service.resources import EventView


def verdict(rule: str, step: int, severity: Any = "warning") -> Verdict:
    return Verdict(
        rule=rule,
        severity=severity,
        since_step=step - 5,
        step=step,
        cause=f"{rule} at {step}",
        evidence={},
        advice="look",
    )


def event(kind: str, step: int, **data: Any) -> EventView:
    found = Event(kind=kind, step=step, message=f"{kind} at {step}", data=data)
    return EventView(id=f"{step}-0", at_s=0.0, event=found)


def raised(rule: str, step: int, severity: str = "warning", kind: str = "alarm_raised"):
    data = {"rule": rule, "severity": severity, "since_step": step - 5}
    return event(kind, step, evidence={}, advice="look", **data)


def resolved(rule: str, step: int) -> EventView:
    return event("alarm_resolved", step, rule=rule)


def spans(alarms: Alarms) -> list[tuple[str, int, int | None]]:
    return [(one.verdict.rule, one.raised, one.resolved) for one in alarms.episodes]


def test_an_alarm_lasts_until_it_is_resolved_and_may_rise_again():
    alarms = followed([raised("stall", 10), resolved("stall", 20), raised("stall", 30)], [])
    assert spans(alarms)[0] == ("stall", 10, 20)
    alarms = followed(
        [raised("stall", 10), resolved("stall", 20), raised("stall", 30)], [verdict("stall", 40)]
    )
    assert spans(alarms) == [("stall", 10, 20), ("stall", 30, None)]
    assert [one.raised for one in alarms.standing] == [30]
    assert [one.raised for one in alarms.resolved] == [10]


def test_one_that_got_worse_is_told_as_it_was_at_its_worst():
    worse = raised("kl_drift", 15, "critical", kind="alarm_updated")
    alarms = followed([raised("kl_drift", 10), worse, resolved("kl_drift", 20)], [])
    (one,) = alarms.episodes
    assert (one.raised, one.resolved, one.worst) == (10, 20, "critical")
    assert one.verdict.cause == "alarm_updated at 15"


def test_what_stands_now_is_told_in_the_words_of_now():
    alarms = followed([raised("stall", 10)], [verdict("stall", 40)])
    assert [one.verdict.cause for one in alarms.standing] == ["stall at 40"]


def test_an_alarm_whose_event_was_dropped_is_known_from_its_verdict():
    alarms = followed([], [verdict("stall", 40)])
    assert spans(alarms) == [("stall", 35, None)]


def test_the_silence_of_a_trainer_ends_with_the_run():
    alarms = followed([raised("reports_stopped", 50), event("ended", 50)], [])
    assert spans(alarms) == [("reports_stopped", 50, 50)]


def test_a_new_attempt_takes_back_what_rose_after_its_start():
    alarms = followed(
        [
            raised("stall", 10),
            resolved("stall", 40),
            raised("entropy_collapse", 50),
            # Back to step 30, where the stall stood and the entropy was fine.
            event("resumed", 30, attempt=2, from_step=60, alarms=["stall"]),
            resolved("stall", 35),
        ],
        [],
    )
    assert spans(alarms) == [("stall", 10, 35)]
    assert alarms.num_replaced == 1


def test_how_bad_it_got_in_steps_that_were_done_over_again_does_not_count():
    alarms = followed(
        [
            raised("kl_drift", 10),
            raised("kl_drift", 50, "critical", kind="alarm_updated"),
            event("resumed", 30, attempt=2, from_step=60, alarms=["kl_drift"]),
            resolved("kl_drift", 35),
        ],
        [],
    )
    (one,) = alarms.episodes
    assert (one.raised, one.resolved, one.worst) == (10, 35, "warning")
    assert one.verdict.cause == "alarm_raised at 10"
    assert alarms.num_replaced == 0


def test_a_silence_is_over_when_the_trainer_starts_again():
    views = [raised("reports_stopped", 20), event("resumed", 20, attempt=2, alarms=[])]
    assert spans(followed(views, [])) == [("reports_stopped", 20, 20)]
