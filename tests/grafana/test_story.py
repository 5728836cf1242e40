"""What is marked of a run, from where to where; times are steps, of a second each."""

from typing import Any

import pytest

from dashboards.grafana.story import QUIET_STEPS, TOPICS, Injected, Story
from monitor_service.engine.events import KINDS, Event
from monitor_service.resources import EventView

RULE = {"rule": "stall", "severity": "warning", "advice": "Easier prompts."}
UNMARKED = {
    *("described", "command_accepted", "change_applied", "arming", "gap", "invalid_rewards"),
    *("alarm_updated", "alarm_resolved", "health_failed", "acr_source_fallback"),
}


def event(kind: str, at: int, message: str = "", **data: Any) -> EventView:
    found = Event(kind=kind, step=at, message=message, data=data)
    return EventView(id=f"{kind}-{at}", at_s=float(at), event=found)


def steps(*injected: int, last: int, attempt: int = 1, first: int = 1) -> list[Injected]:
    """Steps of which some injected two all-wrong groups and one all-correct."""
    return [
        Injected(
            step=step,
            attempt=attempt,
            at_s=float(step),
            wrong=2 * (step in injected),
            correct=1 * (step in injected),
        )
        for step in range(first, last + 1)
    ]


Happened = EventView | Injected


def told(*found: Happened, since: int = 0) -> Story:
    story = Story(since)
    for one in found:
        story.tell(one)
    return story


def spans(story: Story, topic: str) -> list[tuple[float, float]]:
    """Beginnings and ends, in seconds."""
    marks = [mark for mark in story.marks.values() if mark.topic == topic]
    return [(mark.start_ms / 1000, mark.end_ms / 1000) for mark in marks]


def test_every_kind_of_event_is_marked_or_left_out_on_purpose():
    assert {*TOPICS} | UNMARKED == {*KINDS}
    assert {*TOPICS} & UNMARKED == set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_moment_is_filed_under_its_topic(kind):
    marks = told(event(kind, 5, "ana: why")).marks
    assert [mark.topic for mark in marks.values()] == ([] if kind in UNMARKED else [TOPICS[kind]])
    for mark in marks.values():
        assert (mark.start_ms, mark.end_ms) == (5000, 5000)
        assert "step 5<br>ana: why" in mark.text


def test_an_alarm_lasts_from_its_raising_to_its_end():
    story = told(event("alarm_raised", 5, "It stalls.", **RULE))
    assert spans(story, "alarm") == [(5, 5)]
    (mark,) = story.marks.values()
    assert mark.text == (
        "<b>Alarm raised: stall (warning)</b>, step 5<br>It stalls.<br>Easier prompts."
    )
    story.tell(event("alarm_resolved", 9, rule="entropy_low"))
    assert spans(story, "alarm") == [(5, 5)]
    story.tell(event("alarm_resolved", 12, rule="stall"))
    assert spans(story, "alarm") == [(5, 12)]
    story.tell(event("alarm_raised", 20, **RULE))
    assert spans(story, "alarm") == [(5, 12), (20, 20)]


def test_what_is_told_twice_is_known():
    history: list[Happened] = [event("alarm_raised", 5, **RULE)]
    history += [event("alarm_resolved", 9, rule="stall")]
    history += [event("killed", 11), event("rearmed", 15)]
    story = told(*history, *steps(3, 4, last=30))
    before = dict(story.marks)
    history += steps(3, 4, last=30)
    for one in history:
        story.tell(one)
        assert story.marks == before


def test_a_kill_lasts_until_somebody_rearms_and_a_second_one_is_a_moment():
    story = told(event("killed", 5), event("killed", 7), event("ended", 8), event("rearmed", 9))
    assert spans(story, "kill") == [(5, 9), (7, 7), (9, 9)]


def test_a_run_that_begins_anew_is_neither_killed_nor_alarmed():
    story = told(event("killed", 5), event("alarm_raised", 6, **RULE), event("created", 8))
    assert spans(story, "kill") == [(5, 8)]
    assert spans(story, "alarm") == [(6, 8)]


def test_the_end_of_a_run_ends_its_alarms_and_a_resume_knows_those_that_stand():
    raised = [
        event("alarm_raised", at, **RULE | {"rule": rule}) for at, rule in ((5, "a"), (6, "b"))
    ]
    story = told(*raised, event("ended", 9))
    assert spans(story, "alarm") == [(5, 9), (6, 9)]
    story.tell(event("resumed", 20, alarms=["b"]))
    assert spans(story, "alarm") == [(5, 9), (6, 9), (20, 20)]
    story.tell(event("alarm_resolved", 25, rule="b"))
    assert spans(story, "alarm") == [(5, 9), (6, 9), (20, 25)]


def test_a_resume_goes_on_with_an_alarm_that_stands_and_ends_the_others():
    raised = [
        event("alarm_raised", at, **RULE | {"rule": rule}) for at, rule in ((5, "a"), (6, "b"))
    ]
    story = told(*raised, event("resumed", 9, alarms=["b"]))
    assert spans(story, "alarm") == [(5, 9), (6, 6)]


def test_an_intervention_lasts_over_short_pauses():
    # Steps 4 to 12 are nine without injection; ten would have ended it.
    story = told(*steps(2, 3, 13, last=13 + QUIET_STEPS - 1))
    assert spans(story, "intervention") == [(2, 2)]
    story.tell(Injected(step=23, attempt=1, at_s=23.0, wrong=0, correct=0))
    assert spans(story, "intervention") == [(2, 13)]
    (mark,) = story.marks.values()
    # Steps 2 to 13 are twelve, of which three injected 2 + 1 groups each.
    assert mark.end_text is not None
    assert mark.end_text.endswith(
        "injected in 3 of 12 steps, until step 13: 6 all-wrong and 3 all-correct groups"
    )


def test_a_long_pause_parts_two_interventions():
    # Steps 4 to 13 are ten.
    assert spans(told(*steps(2, 3, 14, last=30)), "intervention") == [(2, 3), (14, 14.001)]


def test_an_intervention_ends_with_the_run_and_with_the_attempt():
    story = told(*steps(2, 3, last=4), event("ended", 5))
    assert spans(story, "intervention") == [(2, 3)]
    # The second attempt repeats steps 3 and 4; the first one's stay where they were in time.
    again = [
        Injected(step=step, attempt=2, at_s=step + 50.0, wrong=1, correct=0) for step in (3, 4)
    ]
    everything: list[Happened] = [event("resumed", 50), *again, event("ended", 60)]
    for one in everything:
        story.tell(one)
    assert spans(story, "intervention") == [(2, 3), (53, 54)]


def test_a_new_attempt_parts_an_intervention_even_without_a_word():
    again = Injected(step=5, attempt=2, at_s=50.0, wrong=1, correct=0)
    assert spans(told(*steps(2, 3, 4, last=4), again), "intervention") == [(2, 4), (50, 50)]


def test_a_controller_that_locks_itself_is_marked():
    story = told(event("arming", 5, "active -> locked: no benefit", stage="locked"))
    assert spans(story, "intervention") == [(5, 5)]


def test_changes_are_told_with_what_was_before():
    old, new = {"threshold": 0.5, "alpha": 0.5}, {"threshold": 0.3, "alpha": 0.5}
    (mark,) = told(event("settings_changed", 5, "ana: try", old=old, new=new)).marks.values()
    assert mark.text == "<b>Settings changed</b>, step 5<br>ana: try<br>threshold 0.5 → 0.3"
    added = event("override_added", 6, "ana: try", old={"beta": None}, new={"beta": 0.1})
    (mark,) = told(added).marks.values()
    assert mark.text.endswith("beta null → 0.1")


def test_only_what_began_at_the_step_or_later_is_marked():
    history: list[Happened] = [
        *(event("alarm_raised", 5, **RULE), event("killed", 6), event("result", 8)),
        *(event("alarm_resolved", 10, rule="stall"), event("rearmed", 12)),
        *steps(7, 9, 20, last=40),
    ]
    history.sort(key=lambda one: one.at_s)
    story = told(*history, since=8)
    assert spans(story, "alarm") == []
    assert spans(story, "kill") == [(12, 12)]
    assert spans(story, "lifecycle") == [(8, 8)]
    assert spans(story, "intervention") == [(20, 20.001)]


def test_what_people_wrote_is_text_and_no_html():
    reason = '<img src=x onerror=alert(1)> & 🚀\n"quoted"'
    (mark,) = told(event("killed", 5, f"ana: {reason}")).marks.values()
    assert "<img" not in mark.text
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; 🚀" in mark.text
