"""The laws that move the threshold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.controllers import CONTROLLERS, Bounds, Signal

PAPER = CONTROLLERS["paper"]
PUBLISHED = Bounds(eta=0.01, low=0.1, high=0.9)
rates = st.floats(0, 1)


def moved(threshold: float, acr: float, change: float, bounds: Bounds = PUBLISHED) -> float:
    signal = Signal(acr=acr, mean_reward=0.5 + change, previous_mean_reward=0.5)
    return PAPER.next_threshold(threshold, signal, bounds)


def after(steps: int, acr: float, change: float, bounds: Bounds = PUBLISHED) -> float:
    threshold = 0.5
    for _ in range(steps):
        threshold = moved(threshold, acr, change, bounds)
    return threshold


@pytest.mark.parametrize(
    ("acr", "change", "expected"),
    [
        (0.8, 0.1, 0.503),  # .5 + .01 * (.8 - .5)
        (0.8, -0.1, 0.497),
        (0.2, 0.1, 0.497),
        (0.2, -0.1, 0.503),
        (0.8, 0.0, 0.5),  # sign(0) is 0
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
        signal = Signal(acr=acr, mean_reward=mean_reward, previous_mean_reward=previous)
        threshold = PAPER.next_threshold(threshold, signal, PUBLISHED)
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


@pytest.mark.parametrize(("steps", "expected"), [(100, 0.6705), (300, 2.38)])
def test_steady_regress_without_bounds_drives_the_threshold_away(steps, expected):
    # .4 + .1 * 1.01^n: .1 * 2.7048 and .1 * 19.79 above .4.
    unbounded = Bounds(eta=0.01, low=-10, high=10)
    assert after(steps, 0.4, -0.1, unbounded) == pytest.approx(expected, abs=2e-3)


def test_steady_regress_with_the_widest_bounds_ends_at_one():
    assert after(300, 0.4, -0.1, Bounds(eta=0.01, low=0, high=1)) == 1.0


def test_the_first_step_leaves_even_a_threshold_outside_the_bounds_alone():
    first = Signal(acr=0.8, mean_reward=0.5, previous_mean_reward=None)
    assert PAPER.next_threshold(0.95, first, PUBLISHED) == 0.95


@given(rates, rates, st.floats(-1, 1), st.floats(1e-3, 1))
def test_the_threshold_never_leaves_its_bounds(threshold, acr, change, eta):
    assert 0.1 <= moved(threshold, acr, change, Bounds(eta=eta, low=0.1, high=0.9)) <= 0.9


@given(rates, rates, st.floats(-1, 1))
def test_a_fixed_threshold_stays(threshold, acr, change):
    signal = Signal(acr=acr, mean_reward=change, previous_mean_reward=0.0)
    assert CONTROLLERS["fixed"].next_threshold(threshold, signal, PUBLISHED) == threshold
