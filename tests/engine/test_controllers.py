"""The laws that move the threshold; the guarded controller has its own file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.arming import DISARMED, Arming
from monitor_service.engine.controllers import CONTROLLERS, Signal, Stance
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import UNKNOWN

PUBLISHED = Settings()  # eta .01, bounds .1 and .9
rates = st.floats(0, 1)


def signal(acr: float | None, mean_reward: float, previous: float | None) -> Signal:
    return Signal(
        step=2,
        acr=acr,
        mean_reward=mean_reward,
        previous_mean_reward=previous,
        rates=None,
        reward=UNKNOWN.after(mean_reward, mean_reward**2, 1, half_life=64),
        entropy=None,
    )


def threshold_after(
    threshold: float, seen: Signal, settings: Settings, controller: str = "paper"
) -> float:
    stance = Stance(threshold=threshold, arming=DISARMED)
    return CONTROLLERS[controller].after(stance, seen, settings).threshold


def moved(
    threshold: float, acr: float | None, change: float, settings: Settings = PUBLISHED
) -> float:
    return threshold_after(threshold, signal(acr, 0.5 + change, 0.5), settings)


def after(steps: int, acr: float, change: float, settings: Settings = PUBLISHED) -> float:
    threshold = 0.5
    for _ in range(steps):
        threshold = moved(threshold, acr, change, settings)
    return threshold


@pytest.mark.parametrize(
    ("acr", "change", "expected"),
    [
        (0.8, 0.1, 0.503),  # .5 + .01 * (.8 - .5)
        (0.8, -0.1, 0.497),
        (0.2, 0.1, 0.497),
        (0.2, -0.1, 0.503),
        (0.8, 0.0, 0.5),  # sign(0) is 0
        (None, 0.1, 0.5),  # nothing could decide
    ],
)
def test_one_update_moves_by_eta_times_the_distance_to_acr(acr, change, expected):
    assert moved(0.5, acr, change) == pytest.approx(expected, abs=1e-12)


def test_only_the_sign_of_the_change_counts():
    assert moved(0.5, 0.8, 1e-15) == moved(0.5, 0.8, 100.0)


@pytest.mark.parametrize(
    ("threshold", "acr", "expected"),
    [
        (0.101, 1.0, 0.1),  # .101 - .01 * .899 = .09201, below the floor
        (0.899, 0.0, 0.9),  # .899 + .01 * .899 = .90799, above the ceiling
    ],
)
def test_the_threshold_stops_at_its_bounds(threshold, acr, expected):
    assert moved(threshold, acr, -0.1) == expected


def test_a_sequence_of_steps_gives_the_worked_thresholds_and_triggers():
    steps = [(0.8, 0.30), (0.8, 0.35), (0.6, 0.33), (0.6, 0.33), (0.4, 0.40), (0.2, 0.38)]
    threshold, previous = 0.5, None
    used, triggered = [], []
    for acr, mean_reward in steps:
        used.append(threshold)
        triggered.append(acr > threshold)
        threshold = threshold_after(threshold, signal(acr, mean_reward, previous), PUBLISHED)
        previous = mean_reward
    # No J before step 1; up: .5 + .01*.3; down: .503 - .01*(.6-.503) = .50203; unchanged;
    # up: .50203 + .01*(.4-.50203) = .5010097; down: .5010097 - .01*(.2-.5010097) = .5040198.
    assert used == pytest.approx([0.5, 0.5, 0.503, 0.50203, 0.50203, 0.5010097], abs=1e-7)
    assert triggered == [True, True, True, True, False, False]
    assert threshold == pytest.approx(0.5040198, abs=1e-7)


@pytest.mark.parametrize(("steps", "expected"), [(100, 0.4366), (500, 0.4007)])
def test_steady_progress_pulls_the_threshold_to_acr(steps, expected):
    # .4 + .1 * .99^n
    assert after(steps, 0.4, 0.1) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("steps", "expected"), [(50, 0.5645), (100, 0.6705)])
def test_steady_regress_drives_the_threshold_away_from_acr(steps, expected):
    # .4 + .1 * 1.01^n: .1 * 1.6446 and .1 * 2.7048 above .4.
    assert after(steps, 0.4, -0.1) == pytest.approx(expected, abs=5e-5)


def test_steady_regress_with_the_widest_bounds_ends_at_one():
    # .1 * 1.01^300 = 1.979 above .4, were there no bound.
    assert after(300, 0.4, -0.1, Settings(threshold_low=0, threshold_high=1)) == 1.0


def test_the_first_step_leaves_even_a_threshold_outside_the_bounds_alone():
    assert threshold_after(0.95, signal(0.8, 0.5, None), PUBLISHED) == 0.95


@given(rates, rates, st.floats(-1, 1), st.floats(1e-3, 1))
def test_the_threshold_never_leaves_its_bounds(threshold, acr, change, eta):
    assert 0.1 <= moved(threshold, acr, change, Settings(eta=eta)) <= 0.9


@given(rates, rates, st.floats(-1, 1))
def test_a_fixed_threshold_stays(threshold, acr, change):
    assert threshold_after(threshold, signal(acr, change, 0.0), PUBLISHED, "fixed") == threshold


@pytest.mark.parametrize("controller", ["paper", "fixed"])
@pytest.mark.parametrize("stage", ["off", "armed", "active", "cooldown"])
def test_other_laws_than_the_guarded_one_leave_no_stage_behind(controller, stage):
    stance = Stance(threshold=0.5, arming=Arming(stage=stage, since_step=1, steps=3))
    found = CONTROLLERS[controller].after(stance, signal(0.8, 0.5, 0.4), PUBLISHED)
    assert found.arming == DISARMED


@pytest.mark.parametrize("controller", sorted(CONTROLLERS))
def test_what_is_locked_stays_locked_under_every_law(controller):
    locked = Arming(stage="locked", since_step=1, steps=3, reason="no benefit")
    stance = Stance(threshold=0.5, arming=locked)
    for seen in (signal(0.8, 0.5, 0.4), signal(None, 0.5, None)):
        assert CONTROLLERS[controller].after(stance, seen, PUBLISHED).arming == locked
