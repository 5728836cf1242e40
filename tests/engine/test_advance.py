"""How a run moves from step to step, goes on after a change, and starts again after a crash."""

from dataclasses import asdict, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.advance import (
    Counters,
    Observation,
    RunState,
    StepFigures,
    advance,
    resumed,
    with_changes,
)
from monitor_service.engine.collapse import matrix
from monitor_service.engine.events import Event
from monitor_service.engine.plan import plan
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import NOTHING_SEEN, wilson_interval
from monitor_service.errors import InvalidInput
from tests.engine.construction import acr_batch

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


def moved(state: RunState, step: int, groups: list | np.ndarray, **changes) -> RunState:
    return advance(state, seen(step, groups, **changes))[0]


def figures(state: RunState, groups: list | np.ndarray, **changes) -> StepFigures:
    return advance(state, seen(state.step + 1, groups, **changes))[1]


def events(state: RunState, step: int, groups: list) -> list[Event]:
    return list(advance(state, seen(step, groups))[2])


def test_trainer_and_monitor_in_lockstep_follow_the_worked_sequence():
    # 20 groups a step, so that the batch decides; 16, 16, 12, 12, 8 and 4 of them collapsed.
    steps = [(16, 0.30), (16, 0.35), (12, 0.33), (12, 0.33), (8, 0.40), (4, 0.38)]
    state = FRESH
    used, triggered = [], []
    for step, (num_collapsed, mean_reward) in enumerate(steps, start=1):
        rewards = acr_batch(20, num_collapsed, mean_reward)
        decided = plan(rewards, state.settings, step=step)
        state, found, _ = advance(state, seen(step, rewards))
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
    _, found, _ = advance(state, seen(2, acr_batch(20, 16, 0.4)))
    assert found.threshold == 0.5
    assert found.threshold_next == pytest.approx(0.503)


@pytest.mark.parametrize("groups", [NOTHING_SCORED, [[None]], np.empty((0, 0))])
def test_an_unscored_step_moves_only_the_step_number_and_the_counters(groups):
    before = moved(FRESH, 1, acr_batch(20, 16, 0.3))
    after, found, _ = advance(before, seen(2, groups))
    assert after == replace(
        before,
        step=2,
        counters=after.counters,
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
        state, found, _ = advance(state, seen(step, acr_batch(8, 4, 0.3 + step / 100)))
        assert found.acr_source == "ewma"
        assert (found.acr_decision, found.threshold_next) == (None, 0.5)
    _, found, _ = advance(state, seen(8, acr_batch(8, 4, 0.38)))
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


@given(runs)
def test_a_state_survives_json_exactly(run):
    state = FRESH
    for gap, groups in run:
        state = moved(state, state.step + gap, groups)
    for kept in (state, with_changes(state, {"alpha": 0.3}), resumed(state, FRESH)):
        assert msgspec.json.decode(msgspec.json.encode(kept), type=RunState) == kept


def test_a_step_without_injection_is_no_intervention():
    assert moved(FRESH, 1, ONE_OF_EACH).counters.intervened_steps == 0


def test_a_gap_is_counted_and_told_once():
    assert [event.kind for event in events(moved(FRESH, 1, ONE_OF_EACH), 2, ONE_OF_EACH)] == []
    (gap,) = events(moved(FRESH, 1, ONE_OF_EACH), 5, ONE_OF_EACH)
    assert (gap.kind, gap.step, gap.data) == ("gap", 5, {"missing": 3})
    assert gap.message == "3 steps were never reported before step 5"


def test_infinite_rewards_are_counted_and_told():
    after, _, told = advance(moved(FRESH, 1, ONE_OF_EACH), seen(2, [[1, float("inf"), 1]]))
    assert [(event.kind, event.data) for event in told] == [("invalid_rewards", {"count": 1})]
    assert after.counters.invalid_rewards == 1


def test_falling_back_from_the_batch_is_told_at_the_first_step_only():
    (told,) = events(FRESH, 1, ONE_OF_EACH)
    assert (told.kind, told.data) == (
        "acr_source_fallback",
        {"num_groups": 4, "acr_source": "ewma"},
    )
    assert not events(moved(FRESH, 1, ONE_OF_EACH), 2, ONE_OF_EACH)
    assert not advance(FRESH, seen(1, acr_batch(16, 4, 0.5)))[2]


def test_a_persons_change_is_a_new_revision_and_a_new_version():
    before = moved(FRESH, 1, ONE_OF_EACH)
    after = with_changes(before, {"threshold": 0.7})
    assert after.settings == replace(before.settings, threshold=0.7, version=3, revision=2)
    assert replace(after, settings=before.settings) == replace(before, threshold_revision=2)
    # Another change leaves the memory of who set the threshold as it is.
    assert with_changes(after, {"alpha": 0.3}).threshold_revision == 2
    with pytest.raises(InvalidInput, match=r"^threshold: .* got 7$"):
        with_changes(before, {"threshold": 7})


def test_a_resume_restores_statistics_and_keeps_what_people_decided():
    earlier = moved(moved(FRESH, 1, acr_batch(20, 16, 0.3)), 2, acr_batch(20, 16, 0.4))
    newest = with_changes(moved(earlier, 3, acr_batch(20, 4, 0.1)), {"alpha": 0.3, "eta": 0.02})
    again = resumed(newest, earlier)
    assert (again.step, again.attempt, again.attempts) == (2, 2, ((1, 0), (2, 2)))
    assert (again.mean_reward, again.counters) == (earlier.mean_reward, newest.counters)
    assert again.settings == replace(
        earlier.settings, alpha=0.3, eta=0.02, version=newest.settings.version + 1, revision=2
    )
    assert again.settings.threshold == pytest.approx(0.503)  # the statistic of step 2
    assert again.settings.memory.num_groups == 40


def test_a_fixed_threshold_is_a_decision_that_a_resume_keeps():
    earlier = moved(FRESH, 1, ONE_OF_EACH)
    newest = with_changes(moved(earlier, 2, ONE_OF_EACH), {"controller": "fixed", "threshold": 0.2})
    assert resumed(newest, earlier).settings.threshold == 0.2
    assert resumed(newest, FRESH).settings.memory == NOTHING_SEEN


def test_the_same_steps_after_a_resume_lead_to_the_same_statistics():
    earlier = moved(FRESH, 1, acr_batch(20, 16, 0.3))
    newest = moved(moved(earlier, 2, acr_batch(20, 8, 0.5)), 3, acr_batch(20, 4, 0.2))
    again = resumed(newest, earlier)
    again = moved(moved(again, 2, acr_batch(20, 8, 0.5)), 3, acr_batch(20, 4, 0.2))
    assert again.mean_reward == newest.mean_reward
    assert (again.settings.threshold, again.settings.memory) == (
        newest.settings.threshold,
        newest.settings.memory,
    )
    assert again.counters == replace(
        newest.counters, **{k: v + w for k, v, w in _replayed(newest.counters, earlier.counters)}
    )


def _replayed(newest: Counters, earlier: Counters) -> list[tuple[str, int, int]]:
    now, then = asdict(newest), asdict(earlier)
    return [(name, now[name], now[name] - then[name]) for name in now]


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


def test_a_dead_verifier_is_told_once_until_it_is_alive_again():
    dead, alive = np.zeros((16, 8)), acr_batch(20, 16, 0.3)
    state, kinds = FRESH, []
    for step, rewards in enumerate([alive, dead, dead, alive, dead], start=1):
        state, _, events = advance(state, seen(step, rewards))
        kinds.append([event.kind for event in events])
    told = ["reward_degenerate"]
    assert [[kind for kind in one if kind in told] for one in kinds] == [[], told, [], [], told]
