"""The sentence on the controller: what it does now, and why."""

import numpy as np
import pytest
from msgspec.structs import replace

from monitor_service.engine.advance import advance
from monitor_service.engine.arming import Holds
from monitor_service.engine.changes import killed, rearmed, with_changes
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.state import Observation, RunState, StepFigures
from monitor_service.engine.steering import controller, held

WRONG, MIXED = [0.0] * 4, [1.0, 0.0, 1.0, 0.0]


def ran(profile: str, num_steps: int, num_wrong: int = 12, **changes) -> tuple[RunState, str]:
    """A run of 16 groups a step, so many all-wrong and the others mixed; what is said of it."""
    state, newest = RunState(settings=from_profile(profile, changes)), None
    rewards = np.array([WRONG] * num_wrong + [MIXED] * (16 - num_wrong))
    for step in range(1, num_steps + 1):
        state, newest, _ = advance(state, Observation(step=step, rewards=rewards), now_s=0)
    return state, said(state, newest)


def said(
    state: RunState,
    newest: StepFigures | None,
    injected: int | None = 3,
    *,
    was_shadow: bool = False,
) -> str:
    acting = state.settings.in_force(step=state.step + 1, now_s=0)
    return controller(acting, newest, injected, was_shadow=was_shadow)


def test_before_the_first_report_the_law_is_told():
    assert ran("paper", 0)[1] == "Paper's law: injects when the ACR of a batch is above 0.5."
    assert ran("paper", 0, controller="fixed", threshold=0.4, target="wrong")[1] == (
        "Fixed threshold: injects into all-wrong groups when the ACR of a batch is above 0.4."
    )


def test_the_newest_step_is_told_beside_the_law():
    # 12 of 16 groups collapsed; the first step moves no threshold.
    assert ran("paper", 1)[1] == (
        "Paper's law: injects when the ACR of a batch is above 0.5; it was 0.75 in the newest "
        "step, 3 groups injected."
    )


@pytest.mark.parametrize(
    ("injected", "words"),
    [
        (0, ", none injected."),
        (1, ", 1 group injected."),
        (None, "; the trainer does not say what it applied."),
    ],
)
def test_what_the_trainer_did_is_told_as_far_as_it_says(injected, words):
    state = RunState(settings=from_profile("paper", {}))
    rewards = np.array([WRONG] * 12 + [MIXED] * 4)
    state, newest, _ = advance(state, Observation(step=1, rewards=rewards), now_s=0)
    assert said(state, newest, injected).endswith(f"it was 0.75 in the newest step{words}")


def test_too_few_groups_are_judged_by_the_smoothed_rate_and_not_before_it_is_known():
    state = RunState(settings=from_profile("paper", {}))
    few = Observation(step=1, rewards=np.array([MIXED, WRONG]))
    state, newest, _ = advance(state, few, now_s=0)
    assert said(state, newest) == (
        "Paper's law: injects when the smoothed ACR is above 0.5; the newest step gave nothing to "
        "decide by."
    )


def test_the_guarded_controller_waits_for_groups_enough():
    assert ran("guarded", 3)[1] == "Waiting: 48 of the 64 groups it needs were seen."


def test_the_guarded_controller_is_armed_until_the_rate_is_surely_above():
    assert ran("guarded", 5, num_wrong=4)[1] == (
        "Armed since step 5: begins when the pooled rate of all-wrong groups, less 1.64 standard "
        "errors, is above 0.3; the rate is 0.250."
    )


def test_an_activation_says_since_when_how_long_and_why():
    # 0.75 with a standard error of sqrt(0.75 x 0.25 / 62) = 0.055 after four steps.
    assert ran("guarded", 6)[1] == (
        "Injecting into all-wrong groups since step 5 (2 of at most 50 steps): 0.750 less 1.64 x "
        "0.055 is above 0.3."
    )


def test_after_an_activation_it_rests():
    assert ran("guarded", 7, max_active_steps=2, benefit_check=False)[1] == (
        "Resting since step 7 (1 of 25 steps): 2 steps are the limit."
    )


def test_without_a_benefit_it_is_locked_until_a_person_rearms():
    state, words = ran("guarded", 7, max_active_steps=2)
    assert words == (
        "Locked since step 7: 2 steps brought neither less collapse nor more reward; re-arm to go "
        "on."
    )
    assert said(rearmed(state), None) == "Off until the next report, which arms it."


def test_shadow_says_what_would_be_done():
    assert ran("observe", 6)[1] == (
        "Observing, nothing is injected (shadow): would inject into all-wrong groups since step 5 "
        "(2 of at most 50 steps): 0.750 less 1.64 x 0.055 is above 0.3."
    )
    assert ran("paper", 0, mode="shadow")[1] == (
        "Observing, nothing is injected (shadow): paper's law: would inject when the ACR of a "
        "batch is above 0.5."
    )


@pytest.mark.parametrize("mode", ["active", "shadow"])
def test_what_the_newest_step_did_goes_by_its_own_mode(mode):
    state = RunState(settings=from_profile("paper", {}))
    rewards = np.array([WRONG] * 12 + [MIXED] * 4)
    state, newest, _ = advance(state, Observation(step=1, rewards=rewards), now_s=0)
    state = with_changes(state, {"mode": mode})
    assert said(state, newest, 3).endswith("in the newest step, 3 groups injected.")
    found = said(state, newest, 3, was_shadow=True)
    assert found.endswith("in the newest step, 3 groups would be injected.")


def test_before_a_step_of_its_own_an_attempt_is_not_said_to_hide_what_it_did():
    state, _ = ran("guarded", 6)
    assert said(state, None, None).endswith("0.750 less 1.64 x 0.055 is above 0.3.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "off"}, "Off: nothing is injected."),
        ({"strategy": "none"}, "Strategy none: nothing is injected."),
    ],
)
def test_what_injects_nothing_says_so(changes, words):
    state, _ = ran("paper", 1)
    assert said(with_changes(state, changes), None) == words


def test_a_killed_run_names_who_on_one_line():
    state = killed(ran("guarded", 6)[0], actor="an\na", reason="why", now_s=0)
    assert said(state, None) == "Killed at step 6 by an a: nothing is injected; re-arm to go on."


def test_an_alarm_that_is_heeded_is_named():
    state, words = ran("guarded", 6)
    assert held(state.settings) == ""
    for holds, why in (
        (Holds(everything="kl_drift"), "nothing is injected while kl_drift stands"),
        (
            Holds(correct="entropy_collapse"),
            "all-correct groups are not injected while entropy_collapse stands",
        ),
    ):
        stopped = replace(state, settings=replace(state.settings, holds=holds))
        assert said(stopped, None) == words.removesuffix(".") + f"; {why}."
        careless = replace(stopped.settings, heed_alarms=False)
        assert held(careless) == ""
