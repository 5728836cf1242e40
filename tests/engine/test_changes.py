"""How people move a run: changes, overrides, kill and re-arm, commands, a new start."""

from typing import Any

import pytest
from msgspec.structs import replace

from monitor_service.engine.advance import advance
from monitor_service.engine.arming import DISARMED, Arming
from monitor_service.engine.changes import (
    commanded,
    killed,
    rearmed,
    resumed,
    with_changes,
    with_override,
    without_override,
)
from monitor_service.engine.collapse import matrix
from monitor_service.engine.orders import MAX_OVERRIDES, Command, Kill, Override
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import NOTHING_SEEN
from monitor_service.engine.state import Observation, RunState
from monitor_service.errors import InvalidInput
from tests.engine.construction import acr_batch

FRESH = RunState(settings=Settings())
GUARDED = RunState(settings=from_profile("guarded", {}))
NOW_S = 1000.0
DAY_S = 24 * 3600


def moved(state: RunState, step: int, num_collapsed: int = 8, mean: float = 0.5) -> RunState:
    seen = Observation(step=step, rewards=acr_batch(20, num_collapsed, mean))
    return advance(state, seen, now_s=NOW_S)[0]


def overridden(
    state: RunState, changes: dict[str, Any], steps: Any = 100, seconds: Any = 3600, **more: Any
) -> RunState:
    return with_override(
        state,
        changes,
        actor="ann",
        reason="a try",
        expires_in_steps=steps,
        expires_in_s=seconds,
        **{"now_s": NOW_S, **more},
    )


def refused(state: RunState, changes: dict[str, Any], **ends: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        overridden(state, changes, **ends)
    return caught.value


def acting(state: RunState, step: int | None = None, now_s: float = NOW_S) -> Settings:
    return state.settings.in_force(step=state.step + 1 if step is None else step, now_s=now_s)


def test_a_persons_change_is_a_new_revision_and_a_new_version():
    before = moved(FRESH, 1)
    after = with_changes(before, {"threshold": 0.7})
    assert after.settings == replace(before.settings, threshold=0.7, version=3, revision=2)
    unmoved = replace(after, settings=before.settings)
    assert unmoved == replace(before, threshold_revision=2, unapplied=(3,))
    # Another change leaves the memory of who set the threshold as it is.
    assert with_changes(after, {"alpha": 0.3}).threshold_revision == 2
    assert with_changes(after, {"profile": "paper"}).threshold_revision == 3
    with pytest.raises(InvalidInput, match=r"^threshold: .* got 7$"):
        with_changes(before, {"threshold": 7})


def test_an_override_acts_on_top_and_leaves_what_is_configured_alone():
    state = overridden(moved(FRESH, 1), {"alpha": 0.3, "beta": 0.1}, steps=5, seconds=60)
    assert state.settings.overrides == (
        Override(
            number=1,
            changes={"alpha": 0.3, "beta": 0.1},
            actor="ann",
            reason="a try",
            until_step=1 + 5,
            until_s=NOW_S + 60,
        ),
    )
    assert (state.settings.alpha, acting(state).alpha) == (0.5, 0.3)
    assert (state.settings.knobs, acting(state).knobs) == ({}, {"beta": 0.1})
    assert (state.settings.version, state.settings.revision, state.num_overrides) == (3, 2, 1)


def test_an_override_ends_with_its_steps_or_its_time_whichever_comes_first():
    state = overridden(moved(FRESH, 1), {"alpha": 0.3}, steps=5, seconds=60)
    assert acting(state, step=6, now_s=NOW_S + 59.9).alpha == 0.3
    assert acting(state, step=7, now_s=NOW_S).alpha == 0.5
    assert acting(state, step=2, now_s=NOW_S + 60).alpha == 0.5


@pytest.mark.parametrize("steps", [None, 0, -1, 501, 1.0, 0.5, True, "5", float("nan")])
def test_an_override_needs_a_number_of_steps_up_to_500(steps):
    error = refused(FRESH, {"alpha": 0.3}, steps=steps)
    assert (error.field, error.value) == ("expires_in_steps", repr(steps))
    assert error.allowed == "required: a number of steps in [1, 500]"


@pytest.mark.parametrize(
    "seconds", [None, 0, 0.9, -1, DAY_S + 1, True, "60", float("nan"), float("inf")]
)
def test_an_override_needs_a_number_of_seconds_up_to_a_day(seconds):
    error = refused(FRESH, {"alpha": 0.3}, seconds=seconds)
    assert (error.field, error.value) == ("expires_in_s", repr(seconds))
    assert error.allowed == "required: a number of seconds in [1, 86400]"


def test_the_longest_override_is_taken():
    (one,) = overridden(FRESH, {"alpha": 0.3}, steps=500, seconds=DAY_S).settings.overrides
    assert (one.until_step, one.until_s) == (500, NOW_S + DAY_S)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "settings"),
        ({"profile": "grpo"}, "settings"),
        ({"profile": "grpo", "alpha": 0.3}, "settings"),
        ({"tau": 0.3}, "tau"),
        ({"version": 3}, "version"),
        ({"alpha": 7}, "alpha"),
        ({"threshold_low": 0.95}, "threshold_low"),
    ],
)
def test_an_override_of_nothing_or_with_a_bad_value_is_refused(changes, field):
    assert refused(FRESH, changes).field == field


def test_an_override_that_contradicts_what_is_configured_is_refused():
    assert refused(GUARDED, {"exit_threshold": 0.3}).field == "exit_threshold"
    state = overridden(GUARDED, {"exit_threshold": 0.3, "threshold": 0.4})
    assert acting(state).exit_threshold == 0.3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Each is fine beside the configured .3 and .2; together .25 is below .28.
        ({"threshold": 0.25}, {"exit_threshold": 0.28}),
        # Together .5 and .4 are fine, but not the second alone, once the first has ended.
        ({"threshold": 0.5}, {"exit_threshold": 0.4}),
    ],
)
def test_overrides_that_contradict_each_other_or_will_are_refused(first, second):
    state = overridden(GUARDED, first)
    assert refused(state, second).field == "exit_threshold"
    assert len(state.settings.overrides) == 1


def test_a_change_that_contradicts_an_override_is_refused():
    state = overridden(GUARDED, {"exit_threshold": 0.28})
    with pytest.raises(InvalidInput, match=r"^exit_threshold: below threshold \(0.25\)"):
        with_changes(state, {"threshold": 0.25})
    assert with_changes(state, {"threshold": 0.29}).settings.threshold == 0.29


def test_a_change_that_is_fine_only_while_an_override_acts_is_refused():
    state = overridden(GUARDED, {"threshold": 0.5})
    with pytest.raises(InvalidInput, match="exit_threshold"):
        with_changes(state, {"exit_threshold": 0.4})


def test_overrides_that_end_in_an_order_nobody_foresaw_let_nothing_act():
    # Once the middle one is over, threshold .25 and exit .27 are left.
    state = overridden(GUARDED, {"threshold": 0.25})
    state = overridden(state, {"threshold": 0.5}, steps=3)
    state = overridden(state, {"exit_threshold": 0.27})
    assert (acting(state, step=3).threshold, acting(state, step=3).mode) == (0.5, "active")
    assert (acting(state, step=4).mode, acting(state, step=4).overrides) == ("off", ())
    assert acting(state, step=101).mode == "active"


def test_of_two_overrides_the_later_one_wins_and_the_earlier_comes_back():
    state = overridden(FRESH, {"alpha": 0.3, "eta": 0.02}, steps=10)
    state = overridden(state, {"alpha": 0.4}, steps=5)
    assert (acting(state, step=5).alpha, acting(state, step=5).eta) == (0.4, 0.02)
    assert acting(state, step=6).alpha == 0.3
    assert acting(state, step=11).alpha == 0.5
    assert [one.number for one in state.settings.overrides] == [1, 2]


def test_so_many_overrides_act_at_once_and_no_more():
    state = FRESH
    for _ in range(MAX_OVERRIDES):
        state = overridden(state, {"alpha": 0.3}, seconds=10)
    error = refused(state, {"alpha": 0.3})
    assert (error.field, error.value) == ("overrides", "16")
    assert len(overridden(state, {"eta": 0.1}, now_s=NOW_S + 10).settings.overrides) == 1


def test_what_has_expired_makes_room_for_the_next_one():
    state = overridden(FRESH, {"alpha": 0.3}, seconds=10)
    state = overridden(state, {"alpha": 0.4}, now_s=NOW_S + 10)
    assert [one.number for one in state.settings.overrides] == [2]


def test_an_override_can_be_ended_before_its_time():
    state = overridden(overridden(FRESH, {"alpha": 0.3}), {"eta": 0.02})
    after = without_override(state, 1)
    assert [one.number for one in after.settings.overrides] == [2]
    assert after.settings.revision == state.settings.revision + 1
    with pytest.raises(InvalidInput, match=r"^override: one that acts: \[2\]; got 1"):
        without_override(after, 1)
    with pytest.raises(InvalidInput, match=r"^override: one that acts: there is none; got 2"):
        without_override(without_override(after, 2), 2)
    # A number is never given twice.
    assert overridden(after, {"alpha": 0.3}).settings.overrides[-1].number == 3


def test_a_kill_stops_everything_and_the_first_one_is_remembered():
    state = overridden(with_changes(moved(FRESH, 1), {"beta": 0.2}), {"alpha": 0.3})
    state = killed(state, actor="ann", reason="loss spike", now_s=NOW_S)
    kill = Kill(actor="ann", reason="loss spike", step=1, at_s=NOW_S)
    assert state.settings.kill == kill
    again = killed(moved(state, 2), actor="bob", reason="me too", now_s=NOW_S + 9)
    assert again.settings.kill == kill
    assert (acting(again).acting_mode, acting(again).knobs) == ("locked", {})
    assert acting(again).overrides == ()


@pytest.mark.parametrize(
    "changes", [{"mode": "active"}, {"profile": "guarded"}, {"controller": "fixed"}]
)
def test_a_kill_sticks_through_changes_overrides_steps_and_restarts(changes):
    state = killed(moved(FRESH, 1), actor="ann", reason="", now_s=NOW_S)
    state = moved(overridden(with_changes(state, changes), {"mode": "active"}), 2)
    state = resumed(state, FRESH)
    assert acting(state).acting_mode == "locked"
    assert acting(rearmed(state)).acting_mode == "active"


def test_re_arming_is_counted_and_starts_the_guarded_controller_from_off():
    locked = replace(GUARDED.settings, arming=Arming(stage="locked", reason="no benefit"))
    state = rearmed(killed(replace(GUARDED, settings=locked), actor="a", reason="", now_s=0))
    assert (state.settings.kill, state.settings.arming) == (None, DISARMED)
    assert (state.settings.rearms, state.settings.revision) == (1, 3)
    assert rearmed(state).settings.rearms == 2


def test_the_newest_command_replaces_one_that_waits_and_has_a_number_of_its_own():
    state = commanded(FRESH, "save", actor="ann", reason="a")
    state = commanded(state, "stop", actor="bob", reason="b")
    assert state.settings.command == Command(number=2, kind="stop", actor="bob", reason="b")
    assert (state.num_commands, state.settings.revision) == (2, 3)


def test_a_resume_restores_statistics_and_keeps_what_people_decided():
    earlier = moved(moved(FRESH, 1, 16, 0.3), 2, 16, 0.4)
    newest = with_changes(moved(earlier, 3, 4, 0.1), {"alpha": 0.3, "eta": 0.02})
    again = resumed(newest, earlier, "start 2")
    assert (again.step, again.attempt, again.attempts) == (2, 2, ((1, 0), (2, 2)))
    assert again.start_ids == ("", "start 2")
    assert (again.mean_reward, again.counters) == (earlier.mean_reward, newest.counters)
    assert again.settings == replace(
        earlier.settings, alpha=0.3, eta=0.02, version=newest.settings.version + 1, revision=2
    )
    assert again.settings.threshold == pytest.approx(0.503)  # the statistic of step 2
    assert again.settings.memory.num_groups == 40


def test_a_threshold_that_a_person_set_since_is_a_decision_that_a_resume_keeps():
    earlier = moved(moved(FRESH, 1, 16, 0.3), 2, 16, 0.4)
    newest = with_changes(moved(earlier, 3), {"threshold": 0.7})
    assert resumed(newest, earlier).settings.threshold == 0.7
    # Set before the step that is gone back to: tau as it was after it.
    assert resumed(moved(newest, 4), newest).settings.threshold == 0.7
    later = moved(moved(newest, 4, 16, 0.1), 5, 16, 0.9)
    assert later.settings.threshold != 0.7
    assert resumed(later, newest).settings.threshold == 0.7


def test_a_fixed_threshold_is_a_decision_that_a_resume_keeps():
    earlier = moved(FRESH, 1)
    newest = with_changes(moved(earlier, 2), {"controller": "fixed", "threshold": 0.2})
    assert resumed(newest, earlier).settings.threshold == 0.2
    assert resumed(newest, FRESH).settings.memory == NOTHING_SEEN


def test_a_resume_leaves_an_override_as_many_steps_as_it_had_left():
    state = FRESH
    states = [state]
    for step in range(1, 9):
        state = moved(state, step)
        if step == 4:
            state = overridden(state, {"alpha": 0.3}, steps=6)
        states.append(state)
    # Until step 10, and the run is at 8: two more. After step 1 those are 2 and 3.
    again = resumed(state, states[1])
    (one,) = again.settings.overrides
    assert (one.until_step, one.until_s) == (3, NOW_S + 3600)
    assert [acting(again, step=step).alpha for step in (2, 3, 4)] == [0.3, 0.3, 0.5]


def test_a_resume_before_a_re_arming_does_not_bring_the_lock_back():
    locked = replace(GUARDED.settings, arming=Arming(stage="locked", reason="no benefit"))
    earlier = moved(replace(GUARDED, settings=locked), 1)
    newest = rearmed(moved(earlier, 2))
    assert resumed(newest, earlier).settings.arming == DISARMED
    assert resumed(moved(earlier, 2), earlier).settings.acting_mode == "locked"


def test_a_resume_drops_a_command_and_never_gives_its_number_again():
    state = commanded(moved(FRESH, 1), "stop", actor="ann", reason="a")
    again = resumed(state, FRESH)
    assert again.settings.command is None
    assert commanded(again, "save", actor="ann", reason="b").settings.command == Command(
        number=2, kind="save", actor="ann", reason="b"
    )


def test_a_resume_after_the_end_of_a_run_is_a_run_that_goes_on():
    ended = replace(moved(FRESH, 1), ended="finished")
    assert resumed(ended, ended).ended is None


def test_an_unscored_report_advances_overrides_too():
    state = overridden(FRESH, {"alpha": 0.3}, steps=1)
    nothing = Observation(step=1, rewards=matrix([[None]]))
    assert advance(state, nothing, now_s=NOW_S)[0].settings.overrides == ()
