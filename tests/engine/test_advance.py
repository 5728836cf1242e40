"""How a run moves from step to step, goes on after a change, and starts again after a crash."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from monitor_service.engine.advance import KILL_FILE_ACTOR, advance
from monitor_service.engine.arming import Holds
from monitor_service.engine.changes import commanded, killed, rearmed, resumed, with_override
from monitor_service.engine.collapse import matrix
from monitor_service.engine.events import Event
from monitor_service.engine.orders import Kill
from monitor_service.engine.plan import plan
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import MIN_GROUPS, wilson_interval
from monitor_service.engine.state import Observation, RunState, StepFigures
from tests.engine.construction import acr_batch

NOW_S = 1000.0
FRESH = RunState(settings=Settings())
ONE_OF_EACH = [[1, 1, 1], [0, 0], [0.5, 0.5], [0, 1], [1, None]]
NOTHING_SCORED = [[None, None], [1, None]]

rewards_lists = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=1, max_size=4), min_size=1, max_size=9
)
runs = st.lists(st.tuples(st.integers(1, 3), rewards_lists), max_size=5)


def seen(step: int, groups: list | np.ndarray, **changes) -> Observation:
    rewards = groups if isinstance(groups, np.ndarray) else matrix(groups)
    return Observation(step=step, rewards=rewards, **changes)


def advanced(
    state: RunState, step: int, groups: list | np.ndarray, *, now_s: float = NOW_S, **changes
) -> tuple[RunState, StepFigures, tuple[Event, ...]]:
    return advance(state, seen(step, groups, **changes), now_s=now_s)


def moved(state: RunState, step: int, groups: list | np.ndarray, **changes) -> RunState:
    return advanced(state, step, groups, **changes)[0]


def figures(state: RunState, groups: list | np.ndarray, **changes) -> StepFigures:
    return advanced(state, state.step + 1, groups, **changes)[1]


def events(state: RunState, step: int, groups: list | np.ndarray, **changes) -> list[Event]:
    return list(advanced(state, step, groups, **changes)[2])


def test_trainer_and_monitor_in_lockstep_follow_the_worked_sequence():
    # 20 groups a step, so that the batch decides; 16, 16, 12, 12, 8 and 4 of them collapsed.
    steps = [(16, 0.30), (16, 0.35), (12, 0.33), (12, 0.33), (8, 0.40), (4, 0.38)]
    state = FRESH
    used, triggered = [], []
    for step, (num_collapsed, mean_reward) in enumerate(steps, start=1):
        rewards = acr_batch(20, num_collapsed, mean_reward)
        decided = plan(rewards, state.settings, step=step)
        state, found, _ = advanced(state, step, rewards)
        used.append(found.threshold)
        triggered.append(decided.triggered)
        assert (found.acr, found.acr_decision) == (num_collapsed / 20, decided.acr)
        assert found.reward_mean == pytest.approx(mean_reward)
        assert found.threshold_next == state.settings.threshold
    assert used == pytest.approx([0.5, 0.5, 0.503, 0.50203, 0.50203, 0.5010097], abs=1e-7)
    assert triggered == [True, True, True, True, False, False]
    assert state.settings.threshold == pytest.approx(0.5040198, abs=1e-7)


def test_the_figures_of_a_step_split_the_rate_and_count_everything():
    found = figures(FRESH, ONE_OF_EACH)
    assert (found.num_groups, found.num_completions) == (4, 10)
    counts = (found.all_correct, found.all_wrong, found.uniform_other, found.mixed, found.unscored)
    assert counts == (1, 1, 1, 1, 1)
    assert found.acr == 3 / 4
    assert (found.acr_correct, found.acr_wrong, found.acr_other) == (1 / 4, 1 / 4, 1 / 4)
    assert found.reward_mean == pytest.approx((3 + 0 + 1 + 1 + 1) / 10)
    assert (found.acr_smoothed, found.acr_window) == (3 / 4, 3 / 4)
    assert (found.acr_window_low, found.acr_window_high) == wilson_interval(3, 4)
    assert found.acr_primary is None


def test_hidden_collapse_shows_as_a_higher_rate_of_the_accuracy_component():
    # A length bonus keeps the sum of the second group apart while its accuracy is constant.
    found = figures(FRESH, [[1, 0], [0.1, 0.0]], primary=matrix([[1, 0], [0, 0]]))
    assert (found.acr, found.acr_primary) == (0.0, 0.5)


def test_the_step_is_judged_before_the_threshold_moves():
    state = moved(FRESH, 1, acr_batch(20, 16, 0.3))
    found = figures(state, acr_batch(20, 16, 0.4))
    assert found.threshold == 0.5
    assert found.threshold_next == pytest.approx(0.503)


@pytest.mark.parametrize("groups", [NOTHING_SCORED, [[None]], np.empty((0, 0))])
def test_an_unscored_step_moves_no_statistic_and_no_controller(groups):
    before = moved(FRESH, 1, acr_batch(20, 16, 0.3))
    after, found, _ = advanced(before, 2, groups)
    assert after == replace(
        before,
        step=2,
        counters=after.counters,
        health=after.health,
        settings=replace(before.settings, version=before.settings.version + 1, through_step=2),
    )
    assert after.counters.steps == 2
    assert (found.acr, found.acr_wrong, found.acr_decision) == (None, None, None)
    # The next step is compared with step 1, over the gap.
    assert figures(after, acr_batch(20, 16, 0.4)).threshold_next == pytest.approx(0.503)


def test_few_groups_decide_nothing_until_64_were_seen():
    state = FRESH
    for step in range(1, 8):
        # 8 groups a step, J rises by .01 each time.
        state, found, _ = advanced(state, step, acr_batch(8, 4, 0.3 + step / 100))
        assert found.acr_source == "ewma"
        assert (found.acr_decision, found.threshold_next) == (None, 0.5)
    found = figures(state, acr_batch(8, 4, 0.38))
    assert found.acr_decision == pytest.approx(0.5)


def test_a_fixed_threshold_does_not_move():
    state = RunState(settings=Settings(controller="fixed", threshold=0.3))
    for step in (1, 2, 3):
        state = moved(state, step, acr_batch(20, 16, 0.3 + step / 10))
    assert state.settings.threshold == 0.3


@given(runs)
def test_counters_are_sums_over_all_reports(run):
    state, num_missing, total = FRESH, 0, 0
    for gap, groups in run:
        num_missing += gap - 1
        total += sum(reward is not None for group in groups for reward in group)
        state = moved(state, state.step + gap, groups, injected_wrong=2, injected_correct=1)
    counted = state.counters
    num_groups = sum(len(groups) for _, groups in run)
    kinds = ("mixed", "all_correct", "all_wrong", "uniform_other", "unscored")
    assert sum(asdict(counted)[kind] for kind in kinds) == num_groups
    assert (counted.steps, counted.missing_steps) == (len(run), num_missing)
    assert (counted.completions, counted.intervened_steps) == (total, len(run))
    assert (counted.injected_wrong, counted.injected_correct) == (2 * len(run), len(run))
    assert state.settings.version == 1 + len(run)
    assert (state.settings.through_step, state.settings.revision) == (state.step, 1)


def test_a_step_without_injection_is_no_intervention():
    assert moved(FRESH, 1, ONE_OF_EACH).counters.intervened_steps == 0


def test_a_gap_is_counted_and_told_once():
    assert [event.kind for event in events(moved(FRESH, 1, ONE_OF_EACH), 2, ONE_OF_EACH)] == []
    (gap,) = events(moved(FRESH, 1, ONE_OF_EACH), 5, ONE_OF_EACH)
    assert (gap.kind, gap.step, gap.data) == ("gap", 5, {"missing": 3})
    assert gap.message == "3 steps were never reported before step 5"


def test_infinite_rewards_are_counted_and_told():
    after, _, told = advanced(moved(FRESH, 1, ONE_OF_EACH), 2, [[1, float("inf"), 1]])
    assert [(event.kind, event.data) for event in told] == [("invalid_rewards", {"count": 1})]
    assert after.counters.invalid_rewards == 1


def test_falling_back_from_the_batch_is_told_at_the_first_step_only():
    (told,) = events(FRESH, 1, ONE_OF_EACH)
    assert (told.kind, told.data) == (
        "acr_source_fallback",
        {"num_groups": 4, "acr_source": "ewma"},
    )
    assert not events(moved(FRESH, 1, ONE_OF_EACH), 2, ONE_OF_EACH)
    assert not events(FRESH, 1, acr_batch(16, 4, 0.5))


def test_the_newest_attempt_that_covers_a_step_is_the_one_that_counts():
    # Attempt 2 went on after step 5, attempt 3 after step 3.
    state = RunState(settings=Settings(), attempt=3, attempts=((1, 0), (2, 5), (3, 3)))
    assert [state.attempt_of(step) for step in range(1, 9)] == [1, 1, 1, 3, 3, 3, 3, 3]
    later = replace(state, attempts=((1, 0), (2, 3), (3, 5)))
    assert [later.attempt_of(step) for step in range(1, 9)] == [1, 1, 1, 2, 2, 3, 3, 3]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=5))
def test_attempt_of_names_the_attempt_that_recorded_a_step_last(history):
    # Each attempt records `count` steps; the next continues after a step it reached.
    state, recorded = FRESH, {}
    for count, back in history:
        for _ in range(count):
            state = moved(state, state.step + 1, ONE_OF_EACH)
            recorded[state.step] = state.attempt
        earlier = replace(FRESH, step=max(0, state.step - back))
        recorded = {step: by for step, by in recorded.items() if step <= earlier.step}
        state = resumed(state, earlier)
    assert {step: state.attempt_of(step) for step in recorded} == recorded
    assert state.attempt_of(state.step + 1) == state.attempt


def overridden(state: RunState, changes: dict, steps: int = 500, seconds: float = 3600) -> RunState:
    return with_override(
        state,
        changes,
        actor="ann",
        reason="a try",
        expires_in_steps=steps,
        expires_in_s=seconds,
        now_s=NOW_S,
    )


def test_an_override_is_told_when_it_returns_by_steps_or_by_time():
    state = overridden(overridden(FRESH, {"alpha": 0.3}, steps=2), {"eta": 0.1}, seconds=10)
    state, _, told = advanced(state, 1, ONE_OF_EACH, now_s=NOW_S + 9)
    assert [one.number for one in state.settings.overrides] == [1, 2]
    assert "override_expired" not in [event.kind for event in told]
    # Step 2 was the last that the first may act at, and 10 seconds are over for the second.
    state, _, told = advanced(state, 2, ONE_OF_EACH, now_s=NOW_S + 10)
    assert state.settings.overrides == ()
    texts = [event.message for event in told if event.kind == "override_expired"]
    assert texts == [
        "override 1 returned by itself: alpha",
        "override 2 returned by itself: eta",
    ]


def test_an_override_of_the_threshold_lets_the_configured_one_go_on_beneath():
    state = overridden(moved(FRESH, 1, acr_batch(20, 16, 0.3)), {"threshold": 0.9})
    found = figures(state, acr_batch(20, 16, 0.4))
    # .8 is not above .9; beneath, .5 + .01 * (.8 - .5).
    assert (found.threshold, found.triggered) == (0.9, False)
    assert found.threshold_next == pytest.approx(0.503)


def test_the_law_of_an_override_leaves_the_configured_threshold_alone():
    # With eta 1 the paper's law would go to its floor of .1, below where guarded stops at .2.
    guarded = RunState(settings=from_profile("guarded", {}))
    law = {"controller": "paper", "eta": 1.0, "acr_source": "batch"}
    state = overridden(moved(guarded, 1, acr_batch(20, 1, 0.3)), law)
    for step in (2, 3):
        state, found, _ = advanced(state, step, acr_batch(20, 1, 0.1 * step + 0.3))
        assert found.threshold_next == 0.3
    assert (state.settings.controller, state.settings.threshold) == ("guarded", 0.3)


@pytest.mark.parametrize("entropy", [float("nan"), float("inf"), -1e200, 1e200])
def test_an_entropy_that_cannot_be_used_is_no_entropy(entropy):
    before = moved(FRESH, 1, ONE_OF_EACH, scalars={"entropy": 0.5})
    assert moved(before, 2, ONE_OF_EACH, scalars={"entropy": entropy}).entropy == before.entropy


def test_the_entropy_is_pooled_over_steps_with_a_half_life_of_eight():
    state = FRESH
    for step, entropy in ((1, 1.0), (2, 0.0)):
        state = moved(state, step, NOTHING_SCORED, scalars={"entropy": entropy})
    # Weights 2^(-1/8) and 1 of equal spans: .9170/1.9170.
    assert state.entropy.mean == pytest.approx(2**-0.125 / (2**-0.125 + 1))


def test_a_kill_file_next_to_the_trainer_kills_the_run_once():
    state, _, told = advanced(FRESH, 1, ONE_OF_EACH, killed_after_rearms=0)
    kill = Kill(actor=KILL_FILE_ACTOR, reason="found next to the trainer", step=1, at_s=NOW_S)
    assert state.settings.kill == kill
    assert "killed" in [event.kind for event in told]
    state, found, told = advanced(state, 2, acr_batch(20, 20, 1.0), killed_after_rearms=0)
    assert (state.settings.kill, found.triggered) == (kill, False)
    assert "killed" not in [event.kind for event in told]


def test_a_report_from_before_a_re_arming_does_not_kill_again():
    state = rearmed(killed(FRESH, actor="ann", reason="a try", now_s=NOW_S))
    assert moved(state, 1, ONE_OF_EACH, killed_after_rearms=0).settings.kill is None
    assert moved(state, 1, ONE_OF_EACH, killed_after_rearms=1).settings.kill is not None


def test_a_command_stays_until_the_trainer_says_that_it_carries_it_out():
    state = commanded(FRESH, "save", actor="ann", reason="before the weekend")
    waiting, _, told = advanced(state, 1, ONE_OF_EACH)
    assert waiting.settings.command == state.settings.command
    # Another number: the trainer is at an older command.
    assert moved(waiting, 2, ONE_OF_EACH, command=7).settings.command is not None
    done, _, told = advanced(waiting, 2, ONE_OF_EACH, command=1)
    assert done.settings.command is None
    assert [event.message for event in told if event.kind == "command_accepted"] == [
        "the trainer carries out command 1: save"
    ]


def test_a_move_of_the_guarded_controller_is_told_with_its_reason():
    state = RunState(settings=from_profile("guarded", {"min_groups_per_unit": 1}))
    mixed = np.tile([0.0, 1.0], (MIN_GROUPS, 1))
    (told,) = [event for event in events(state, 1, mixed) if event.kind == "arming"]
    assert told.message == "off -> armed: enough groups were seen"
    assert told.data == {"stage": "armed", "from_stage": "off"}


def test_the_guarded_controller_pools_without_saying_that_batches_are_too_small():
    state = RunState(settings=Settings(controller="guarded"))
    kinds = [event.kind for event in events(state, 1, acr_batch(100, 4, 0.5))]
    assert "acr_source_fallback" not in kinds


def test_a_gradient_that_explodes_holds_injection_back_at_the_next_step():
    state = FRESH
    for step in range(1, 11):
        state = moved(state, step, acr_batch(20, 4, 0.5), scalars={"grad_norm": 1.0})
    assert state.settings.holds.everything == ""
    state = moved(state, 11, acr_batch(20, 4, 0.5), scalars={"grad_norm": 50.0})
    assert state.settings.holds.everything == "gradient_explosion"


def test_a_mistake_in_a_health_rule_costs_no_step_and_is_told_once(monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    held = replace(FRESH.settings, holds=Holds(everything="kl_explosion"))
    before = replace(moved(FRESH, 1, ONE_OF_EACH), settings=held)
    monkeypatch.setattr("monitor_service.engine.advance.examine", broken)
    state, _, told = advanced(before, 2, ONE_OF_EACH)
    (event,) = [event for event in told if event.kind == "health_failed"]
    assert "ZeroDivisionError in broken" in event.message
    # What is held stays held, and the rest of the state goes on.
    assert (state.health, state.settings.holds) == (before.health, before.settings.holds)
    assert (state.step, state.settings.memory.num_groups) == (2, 4)
    state, _, told = advanced(state, 3, ONE_OF_EACH)
    assert "health_failed" not in [event.kind for event in told]
    monkeypatch.undo()
    assert moved(state, 4, ONE_OF_EACH).health_failure == ""


def test_the_first_report_after_a_silence_ends_its_alarm():
    silent = replace(moved(FRESH, 1, ONE_OF_EACH), is_silent=True)
    state, _, told = advanced(silent, 2, ONE_OF_EACH)
    (event,) = [event for event in told if event.message == "reports arrive again"]
    assert (event.kind, event.data) == ("alarm_resolved", {"rule": "reports_stopped"})
    assert not state.is_silent
    assert "reports arrive again" not in [one.message for one in events(state, 3, ONE_OF_EACH)]
