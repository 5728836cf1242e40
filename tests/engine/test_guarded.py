"""The guarded controller's state machine, one transition at a time."""

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from monitor_service.engine.advance import advance
from monitor_service.engine.arming import DISARMED, Arming, Entry, Stage
from monitor_service.engine.changes import killed, rearmed, with_changes
from monitor_service.engine.controllers import ENTRY_ERRORS, Guarded, Signal, Stance
from monitor_service.engine.plan import Decision, plan
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import Rates, Trend
from monitor_service.engine.state import Observation, RunState

# Enters where p - se > .3, leaves below .2; 50 steps active, 25 of cooldown.
GUARDED = from_profile("guarded", {})
ENTRY = Entry(
    rate=0.5,
    rate_error=0.06,
    reward=0.3,
    reward_error=0.04,
    entropy=1.0,
    mode="active",
    target="wrong",
)


def pooled(wrong: float, *, correct: float = 0.0, num_effective: float = 100.0) -> Rates:
    return Rates(acr=wrong + correct, wrong=wrong, correct=correct, num_effective=num_effective)


def trend(mean: float, error: float) -> Trend:
    # One weight of 1: sqrt((E x^2 - mean^2) * 1) / 1 is the error.
    return Trend(sum=mean, sum_squares=mean**2 + error**2, weight=1.0, weight_squared=1.0)


def signal(
    rates: Rates | None, *, reward: float = 0.3, error: float = 0.04, entropy: float | None = 1.0
) -> Signal:
    return Signal(
        step=100,
        acr=None if rates is None else rates.wrong,
        mean_reward=reward,
        previous_mean_reward=0.3,
        rates=rates,
        reward=trend(reward, error),
        entropy=entropy,
    )


def moved(arming: Arming, seen: Signal, **changes: Any) -> Arming:
    settings = replace(GUARDED, **changes)
    now = Stance(threshold=settings.threshold, arming=arming)
    after = Guarded().after(now, seen, settings)
    assert after.threshold == settings.threshold
    return after.arming


def at(stage: Any, steps: int = 0) -> Arming:
    entry = ENTRY if stage == "active" else None
    return Arming(stage=stage, since_step=50, steps=steps, activations=1, entry=entry)


def stage_after(arming: Arming, seen: Signal, **changes: Any) -> str:
    return moved(arming, seen, **changes).stage


def test_off_arms_when_enough_groups_were_seen():
    assert moved(DISARMED, signal(pooled(0.1))) == Arming(
        stage="armed", since_step=101, reason="enough groups were seen"
    )


@pytest.mark.parametrize(
    ("num_effective", "stage"),
    [
        # 1.64 * sqrt(.4 * .6 / n): .0803 at n = 100, and .4 - .0803 > .3; .1 at n = 64.55.
        (100, "active"),
        (16, "armed"),
        (64, "armed"),
        (65, "active"),
    ],
)
def test_armed_becomes_active_when_the_rate_less_its_error_is_above_the_threshold(
    num_effective, stage
):
    assert stage_after(at("armed"), signal(pooled(0.4, num_effective=num_effective))) == stage


def test_a_rate_that_many_errors_above_the_threshold_is_not_enough():
    # .5 - 1.64 * sqrt(.25/4) = .09 exactly.
    low = 0.5 - ENTRY_ERRORS * 0.25
    assert low == pytest.approx(0.09)
    seen = signal(pooled(0.5, num_effective=4))
    assert stage_after(at("armed"), seen, threshold=low, exit_threshold=0.01) == "armed"


def test_an_activation_remembers_how_the_run_stood():
    arming = moved(at("armed", steps=7), signal(pooled(0.5), reward=0.25, error=0.03, entropy=2.0))
    assert (arming.stage, arming.since_step, arming.steps, arming.activations) == (
        *("active", 101, 0),
        2,
    )
    assert arming.reason == "0.500 less 1.64 x 0.050 is above 0.3"
    assert arming.entry is not None
    assert arming.entry.rate_error == math.sqrt(0.5 * 0.5 / 100)
    assert arming.entry.reward_error == pytest.approx(0.03)
    expected = replace(ENTRY, rate_error=0.05, reward=0.25, reward_error=0.03, entropy=2.0)
    assert replace(arming.entry, reward_error=0.03) == expected


def test_off_arms_and_becomes_active_within_one_step_when_collapse_is_there_already():
    assert stage_after(DISARMED, signal(pooled(0.6))) == "active"


@pytest.mark.parametrize(
    ("target", "stage"), [("wrong", "armed"), ("correct", "active"), ("both", "active")]
)
def test_only_the_groups_that_may_be_injected_are_watched(target, stage):
    seen = signal(pooled(0.1, correct=0.5))
    assert stage_after(at("armed"), seen, target=target) == stage


@pytest.mark.parametrize(
    ("correct", "stage", "activations"),
    # 1.64 * sqrt(.25 * .75 / 100) = .071: .25 is above the exit, and would not have entered.
    [(0.25, "armed", 1), (0.6, "active", 2)],
)
def test_what_is_watched_from_now_on_has_to_enter_by_itself(correct, stage, activations):
    # At the limit: with the rate of other groups at the entry, .5 -> .25 would be a benefit.
    seen = signal(pooled(0.1, correct=correct))
    arming = moved(at("active", steps=49), seen, target="correct")
    assert (arming.stage, arming.steps, arming.activations) == (stage, 0, activations)
    assert arming.entry is None or (arming.entry.rate, arming.entry.target) == (correct, "correct")


@pytest.mark.parametrize(("rate", "stage"), [(0.21, "active"), (0.2, "active"), (0.19, "cooldown")])
def test_active_ends_when_the_rate_falls_below_the_exit(rate, stage):
    arming = moved(at("active", steps=10), signal(pooled(rate)))
    assert arming.stage == stage
    if stage == "cooldown":
        assert (arming.steps, arming.since_step, arming.entry) == (0, 101, None)
        assert arming.reason == "0.190 fell below 0.2"
    else:
        assert (arming.steps, arming.entry) == (11, ENTRY)


# What a step brings that ends an activation with a benefit: p at .39, se sqrt(.39*.61/100) = .0488;
# .5 - .39 = .11 is more than hypot(.06, .0488) = .0773.
LESS_COLLAPSE = signal(pooled(0.39))


def test_active_ends_after_its_limit_of_steps():
    assert moved(at("active", steps=48), LESS_COLLAPSE).steps == 49
    arming = moved(at("active", steps=49), LESS_COLLAPSE)
    assert (arming.stage, arming.reason) == ("cooldown", "50 steps, with a benefit")
    assert stage_after(at("active", steps=9), LESS_COLLAPSE, max_active_steps=10) == "cooldown"


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (LESS_COLLAPSE, ""),
        # .5 - .43 = .07 is within hypot(.06, .0495) = .0778.
        (signal(pooled(0.43)), "neither less collapse nor more reward"),
        # The reward rose by .07; one standard error is hypot(.04, .04) = .0566.
        (signal(pooled(0.6), reward=0.37), ""),
        (signal(pooled(0.6), reward=0.35), "neither less collapse nor more reward"),
        # Less collapse, at .79 and at .81 of the entropy.
        (signal(pooled(0.39), entropy=0.79), "entropy from 1.000 down to 0.790 nats"),
        (signal(pooled(0.39), entropy=0.81), ""),
        (signal(pooled(0.39), entropy=None), ""),
    ],
)
def test_without_a_benefit_the_run_is_locked(seen, reason):
    arming = moved(at("active", steps=49), seen)
    assert arming.stage == ("locked" if reason else "cooldown")
    assert arming.reason == (f"50 steps brought {reason}" if reason else "50 steps, with a benefit")
    assert arming.activations == 1


def test_an_entropy_that_was_not_known_at_the_entry_is_not_held_against_anything():
    started = replace(at("active", steps=49), entry=replace(ENTRY, entropy=None))
    assert stage_after(started, signal(pooled(0.39), entropy=0.01)) == "cooldown"


NO_BENEFIT = signal(pooled(0.6), reward=0.2)


def test_without_the_benefit_check_there_is_a_cooldown():
    arming = moved(at("active", steps=49), NO_BENEFIT, benefit_check=False)
    assert (arming.stage, arming.reason) == ("cooldown", "50 steps are the limit")


def test_shadow_never_locks_since_nothing_was_injected():
    shadow = replace(at("active", steps=49), entry=replace(ENTRY, mode="shadow"))
    assert stage_after(shadow, NO_BENEFIT, mode="shadow") == "cooldown"


@pytest.mark.parametrize(("before", "after"), [("shadow", "active"), ("active", "shadow")])
def test_a_change_of_mode_while_active_begins_a_new_activation(before, after):
    # One step before the limit: what shadow saw is no ground for locking.
    started = replace(at("active", steps=49), entry=replace(ENTRY, mode=before))
    arming = moved(started, NO_BENEFIT, mode=after)
    assert (arming.stage, arming.steps, arming.activations) == ("active", 0, 2)
    assert arming.entry is not None
    assert (arming.entry.mode, arming.entry.rate, arming.entry.reward) == (after, 0.6, 0.2)
    assert arming.reason == f"mode {after} after {before}"


@pytest.mark.parametrize(("steps", "stage"), [(23, "cooldown"), (24, "armed")])
def test_cooldown_ends_after_its_steps(steps, stage):
    assert stage_after(at("cooldown", steps=steps), signal(pooled(0.25))) == stage


def test_after_a_cooldown_a_run_that_still_collapses_is_active_at_once():
    assert stage_after(at("cooldown", steps=24), signal(pooled(0.6))) == "active"


def test_without_cooldown_steps_no_step_goes_without():
    arming = moved(at("active", steps=49), LESS_COLLAPSE, cooldown_steps=0)
    # .39 - .0488 is above .3: the next activation, measured against now.
    assert (arming.stage, arming.steps, arming.activations) == ("active", 0, 2)
    low = moved(at("active", steps=10), signal(pooled(0.19)), cooldown_steps=0)
    assert low.stage == "armed"


@pytest.mark.parametrize("stage", ["off", "armed", "active", "cooldown"])
def test_without_a_pooled_rate_the_stage_is_held(stage):
    arming = at(stage, steps=60)
    assert moved(arming, signal(None)) == replace(arming, steps=61)


@pytest.mark.parametrize("stage", ["off", "armed", "active", "cooldown"])
@pytest.mark.parametrize("rates", [None, pooled(0.6)])
def test_mode_off_disarms(stage, rates):
    assert moved(at(stage), signal(rates), mode="off") == DISARMED


@pytest.mark.parametrize("mode", ["off", "shadow", "active"])
def test_locked_stays_locked_whatever_comes(mode):
    locked = at("locked", steps=3)
    for rates in (None, pooled(0.0), pooled(0.9)):
        assert moved(locked, signal(rates), mode=mode) == locked


# Ten groups of four a step, six of them all wrong: p = .6 throughout, no benefit in sight.
HARD = np.array([[0.0] * 4] * 6 + [[0.0, 1.0, 0.0, 1.0]] * 4)
QUICK = {"max_active_steps": 3, "cooldown_steps": 2, "prompt_budget": None}


def run(state: RunState, rewards: np.ndarray, steps: int) -> tuple[RunState, list[Stage]]:
    """`steps` more steps, and the stage that each was decided in."""
    stages: list[Stage] = []
    for step in range(state.step + 1, state.step + steps + 1):
        seen = Observation(step=step, rewards=rewards)
        state, figures, _ = advance(state, seen, now_s=float(step))
        stages.append(figures.stage)
    return state, stages


def injects(settings: Settings, step: int) -> bool:
    return bool(plan(HARD, settings, step=step).is_injected.any())


def locked_run() -> RunState:
    state, stages = run(RunState(settings=from_profile("guarded", QUICK)), HARD, 10)
    # 64 groups are seen with step 7; then three active steps without a benefit.
    assert stages == ["off"] * 7 + ["active"] * 3
    assert state.settings.arming.stage == "locked"
    assert state.settings.acting_mode == "locked"
    return state


def test_a_run_that_gains_nothing_is_locked_until_a_person_re_arms_it():
    state = locked_run()
    found = plan(HARD, state.settings, step=11)
    assert not found.is_rewritten.any()
    assert {*found.decisions} == {Decision.LOCKED, Decision.HAS_SIGNAL}
    state, stages = run(state, HARD, 20)
    assert {*stages} == {"locked"}
    state = rearmed(state)
    assert (state.settings.arming, state.settings.rearms) == (DISARMED, 1)
    state, stages = run(state, HARD, 2)
    assert stages == ["off", "active"]
    assert injects(state.settings, 33)


@pytest.mark.parametrize(
    "changes",
    [{"controller": "paper"}, {"controller": "fixed"}, {"profile": "paper"}, {"mode": "off"}],
)
def test_a_lock_survives_a_change_of_controller_profile_and_mode(changes):
    state = with_changes(locked_run(), changes)
    assert state.settings.acting_mode == "locked"
    state, _ = run(state, HARD, 3)
    back = with_changes(state, {"controller": "guarded", "mode": "active", "threshold": 0.3})
    assert (state.settings.acting_mode, back.settings.acting_mode) == ("locked", "locked")
    assert not injects(back.settings, 14)


def test_unscored_steps_do_not_count_towards_any_limit():
    state, stages = run(RunState(settings=from_profile("guarded", QUICK)), HARD, 8)
    before = state.settings.arming
    assert (before.stage, before.steps) == ("active", 1)
    state, stages = run(state, np.full((10, 4), np.nan), 5)
    assert state.settings.arming == before
    assert stages == ["active"] * 5


def test_in_shadow_the_same_run_cools_down_and_becomes_active_again():
    settings = from_profile("observe", QUICK)
    state, stages = run(RunState(settings=settings), HARD, 17)
    # Active for steps 8 to 10, cooldown for 11 and 12, and so on.
    assert stages == ["off"] * 7 + (["active"] * 3 + ["cooldown"] * 2) * 2
    found = plan(HARD, replace(state.settings, arming=at("active")), step=18)
    assert found.is_injected.any()
    assert not found.is_rewritten.any()


def test_a_killed_run_starts_from_off_when_it_is_re_armed():
    state, _ = run(RunState(settings=from_profile("guarded", QUICK)), HARD, 8)
    state = killed(state, actor="ann", reason="a try", now_s=0.0)
    state, stages = run(state, HARD, 2)
    assert state.settings.arming == DISARMED
    assert state.settings.acting_mode == "locked"
    state, stages = run(rearmed(state), HARD, 2)
    assert stages == ["off", "active"]
