"""ACR pooled over steps: the EWMA, the window, and its interval."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.collapse import Groups, RewardRange, judge, matrix
from monitor_service.engine.smoothing import (
    HALF_LIFE_GROUPS,
    MIN_GROUPS,
    NOTHING_SEEN,
    UNKNOWN,
    WINDOW_GROUPS,
    Memory,
    Rates,
    wilson_interval,
)
from monitor_service.errors import InvalidInput

STREAM = (1, 0, 1, 1, 0, 0, 0, 1)

# Steps as (collapsed, mixed, unscored) numbers of groups.
steps_lists = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2)))


def step(num_collapsed: int, num_mixed: int = 0, num_unscored: int = 0) -> Groups:
    rewards = [[1, 1]] * num_collapsed + [[0, 1]] * num_mixed + [[None, 1]] * num_unscored
    return judge(matrix(rewards), reward_range=RewardRange())


def after(*steps: tuple[int, ...]) -> Memory:
    memory = NOTHING_SEEN
    for counts in steps:
        memory = memory.after(step(*counts))
    return memory


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        # By hand, decay 0.9: e = .1, w = .1 -> 1; then e = .09, w = .19 -> .09/.19 = .473684.
        (0.9, [1, 0.473684, 0.667897, 0.764466, 0.577788, 0.454476, 0.367362, 0.478442]),
        # decay 0.5: e = .5, w = .5 -> 1; then e = .25, w = .75 -> 1/3.
        (0.5, [1, 0.333333, 0.714286, 0.866667, 0.419355, 0.206349, 0.102362, 0.552941]),
    ],
)
def test_the_ewma_of_a_stream_is_bias_corrected(decay: float, expected: list[float]):
    memory, found = NOTHING_SEEN, []
    for rate in STREAM:
        memory = memory.blended(rate, 1, decay=decay)
        found.append(memory.smoothed_acr)
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_window_of_a_short_stream_is_its_plain_rate():
    memory = after(*[(1, 0) if collapsed else (0, 1) for collapsed in STREAM])
    assert memory.windowed_acr == 0.5  # 4 of 8
    assert memory.window == "10110001"  # ALL_CORRECT is 1, MIXED is 0


def test_a_half_life_of_groups_halves_the_weight_of_the_past():
    # 64 collapsed groups, then 64 healthy ones: e = .5*.5 + .5*0 = .25, w = .5*.5 + .5 = .75.
    memory = after((HALF_LIFE_GROUPS, 0), (0, HALF_LIFE_GROUPS))
    assert (memory.ewma, memory.weight) == (0.25, 0.75)
    assert memory.smoothed_acr == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(26, 64, 0.3113, 0.5087), (4, 8, 0.2492, 0.7508), (1, 1, 0.2710, 1), (0, 1, 0, 0.7290)],
)
def test_wilson_intervals_match_their_tabulated_values(
    successes: int, trials: int, low: float, high: float
):
    # z = 1.64; for 1/1 the lower end is 1/(1 + z^2) = 1/3.6896 = .2710, for 0/1 the upper is .7290.
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 4), (5, 4)])
def test_an_interval_of_impossible_counts_is_refused(successes: int, trials: int):
    with pytest.raises(ValueError, match="need 0 <= successes <= trials"):
        wilson_interval(successes, trials)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_the_rate_and_stays_in_zero_one(counts: tuple[int, int]):
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1
    assert high - low > 0


def test_the_standard_error_that_pooling_is_for():
    # sqrt(p(1-p)/N) at p = .4; the interval of a single group tells nearly nothing.
    for num_groups, error in ((1, 0.49), (8, 0.173), (16, 0.122), (32, 0.087), (64, 0.061)):
        assert math.sqrt(0.4 * 0.6 / num_groups) == pytest.approx(error, abs=5e-4)
    low, high = after((1, 0)).window_interval or (0, 0)
    assert high - low == pytest.approx(0.7290, abs=5e-5)


def test_before_the_first_group_there_is_no_rate():
    assert NOTHING_SEEN.smoothed_acr is None
    assert NOTHING_SEEN.windowed_acr is None
    assert NOTHING_SEEN.window_interval is None
    assert not NOTHING_SEEN.is_ready


def test_a_step_without_scored_groups_is_not_remembered():
    memory = after((3, 5))
    assert memory.after(step(0, 0, 4)) is memory
    assert memory.after(judge(np.empty((0, 0)), reward_range=RewardRange())) is memory


def test_unscored_groups_of_a_step_weigh_nothing():
    assert after((3, 5, 7)) == after((3, 5))


def test_a_pooled_figure_may_decide_from_the_64th_group_on():
    memory = after((MIN_GROUPS - 1, 0))
    assert not memory.is_ready
    assert memory.after(step(0, 1)).is_ready


def test_the_window_forgets_the_oldest_groups_only():
    # 60 collapsed and 20 healthy: the newest 64 are 44 collapsed and 20 healthy.
    memory = after((60, 0), (0, 20))
    assert len(memory.window) == WINDOW_GROUPS
    assert memory.windowed_acr == 44 / 64
    assert memory.num_groups == 80
    assert memory.window_interval == wilson_interval(44, 64)


@given(steps_lists)
def test_the_window_is_the_exact_rate_of_the_newest_groups(steps):
    newest: list[int] = []
    for num_collapsed, num_mixed, _ in steps:
        newest = (newest + [1] * num_collapsed + [0] * num_mixed)[-WINDOW_GROUPS:]
    memory = after(*steps)
    assert memory.windowed_acr == (sum(newest) / len(newest) if newest else None)
    assert memory.num_groups == sum(counts[0] + counts[1] for counts in steps)


@given(steps_lists)
def test_steps_are_pooled_by_their_groups_with_weights_that_halve_every_64(steps):
    # The definition unrolled: group-weighted shares of each step, none of the recursion.
    scored = [(collapsed, mixed) for collapsed, mixed, _ in steps if collapsed + mixed]
    total = weight = 0.0
    later = 0
    for num_collapsed, num_mixed in reversed(scored):
        n = num_collapsed + num_mixed
        share = 0.5 ** (later / 64) - 0.5 ** ((later + n) / 64)
        total += share * num_collapsed / n
        weight += share
        later += n
    found = after(*steps).smoothed_acr
    assert found == (pytest.approx(total / weight, abs=1e-9) if scored else None)
    assert found is None or 0 <= found <= 1


def test_a_constant_rate_is_the_same_however_it_is_cut_into_steps():
    # A mean of means would agree as well; unequal steps with unequal rates would not:
    # 60 of 60 collapsed, then 1 healthy, is far from (1 + 0)/2.
    assert after((4, 4), (8, 8), (20, 20)).smoothed_acr == pytest.approx(0.5)
    assert (after((60, 0), (0, 1)).smoothed_acr or 0) > 0.97


def test_a_step_of_thousands_of_groups_replaces_the_past():
    memory = after((60, 0), (0, 100_000))
    assert memory.smoothed_acr == 0
    assert memory.windowed_acr == 0


@given(steps_lists)
def test_a_memory_survives_json_exactly(steps):
    memory = after(*steps)
    assert msgspec.json.decode(msgspec.json.encode(memory), type=Memory) == memory


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"ewma": 0.5, "weight": 0.4}, "memory.ewma"),
        ({"ewma": -0.1, "weight": 0.4}, "memory.ewma"),
        ({"ewma": 1e308, "weight": 1e-300}, "memory.ewma"),
        ({"ewma": math.nan, "weight": 1.0}, "memory.ewma"),
        ({"ewma": 0.5, "weight": 1.1}, "memory.ewma"),
        ({"ewma": 0.5, "weight": 1.0, "ewma_wrong": -0.1}, "memory.ewma_wrong"),
        ({"ewma": 0.5, "weight": 1.0, "ewma_wrong": 0.3, "ewma_correct": 0.3}, "memory.ewma_wrong"),
        ({"ewma": 0.5, "weight": 1.0, "ewma_correct": math.nan}, "memory.ewma_wrong"),
        ({"weight": 0.5, "weight_squared": 0.6}, "memory.weight_squared"),
        ({"weight": 0.5, "weight_squared": -0.1}, "memory.weight_squared"),
        ({"num_groups": -1}, "memory.num_groups"),
        ({"window": "01234"}, "memory.window"),
        ({"window": "0" * 65}, "memory.window"),
    ],
)
def test_a_memory_that_could_not_have_come_about_is_refused(fields, name):
    with pytest.raises(InvalidInput, match=f"^{name}"):
        Memory(**fields)


def sides(num_wrong: int, num_correct: int, num_middle: int, num_mixed: int) -> Groups:
    rewards = [[0.0, 0.0]] * num_wrong + [[1.0, 1.0]] * num_correct
    rewards += [[0.5, 0.5]] * num_middle + [[0.0, 1.0]] * num_mixed
    return judge(matrix(rewards), reward_range=RewardRange())


def test_before_the_first_group_there_are_no_rates():
    assert NOTHING_SEEN.rates is None


def test_the_sides_of_collapse_are_pooled_like_the_whole():
    # One step of 16: 4 wrong, 2 correct, 2 in between, 8 with a signal.
    rates = NOTHING_SEEN.after(sides(4, 2, 2, 8)).rates
    assert rates is not None
    assert (rates.acr, rates.wrong, rates.correct) == pytest.approx((8 / 16, 4 / 16, 2 / 16))
    assert rates.other == pytest.approx(2 / 16)
    assert rates.num_effective == pytest.approx(16)


def test_a_rate_of_unknown_kinds_has_no_other():
    assert Rates(acr=0.5, wrong=None, correct=None, num_effective=9).other is None
    assert Rates(acr=0.5, wrong=0.25, correct=0.25, num_effective=9).other == 0


@pytest.mark.parametrize(("num_groups", "num_effective"), [(1, 184.66), (8, 185.0), (64, 192.0)])
def test_a_long_run_is_as_certain_as_185_groups_whatever_the_size_of_its_steps(
    num_groups, num_effective
):
    # With l = 2^(-N/64) the weights sum to 1, their squares to (1-l)^2/N/(1-l^2):
    # n_eff = N (1+l)/(1-l), which is 64 * 1.5/.5 = 192 for N = 64 and 2 * 64/ln 2 for small N.
    memory = NOTHING_SEEN
    for _ in range(1000):
        memory = memory.blended(0.5, num_groups)
    rates = memory.rates
    assert rates is not None
    assert rates.num_effective == pytest.approx(num_effective, abs=0.4)
    # sqrt(.5 * .5 / 185) = .0368
    assert rates.standard_error(0.5) == pytest.approx(0.0368, abs=8e-4)
    assert rates.standard_error(1.0) == rates.standard_error(0.0) == 0


@given(steps_lists)
def test_the_sides_never_exceed_the_whole_and_errors_are_finite(steps):
    memory = NOTHING_SEEN
    for num_wrong, num_mixed, num_middle in steps:
        memory = memory.after(sides(num_wrong, num_middle, num_middle, num_mixed))
    if (rates := memory.rates) is None:
        assert memory == NOTHING_SEEN
        return
    assert rates.wrong is not None
    assert rates.correct is not None
    assert -1e-12 <= rates.wrong <= rates.acr + 1e-12 <= 1 + 2e-12
    assert rates.wrong + rates.correct <= rates.acr + 1e-9
    assert 0 <= rates.standard_error(rates.wrong) <= 0.5
    # No weighting makes groups more certain than they are many.
    assert 0 < rates.num_effective <= memory.num_groups * (1 + 1e-9)


def test_a_trend_knows_its_mean_and_how_certain_it_is():
    assert not UNKNOWN.is_known
    # Two values, 0 and 1, in one step: variance .25, two of them.
    trend = UNKNOWN.after(0.5, 0.5, 2, half_life=2)
    assert trend.is_known
    assert trend.mean == pytest.approx(0.5)
    assert trend.standard_error == pytest.approx(math.sqrt(0.25 / 2))
    # Then two values of 1: weights 1/4 and 1/2 of all, so the mean is (.125 + .5)/.75 = .8333,
    # and E x^2 is the same, since all are 0 or 1; q = (1/4)^2/2 + (1/2)^2/2 = .15625.
    trend = trend.after(1.0, 1.0, 2, half_life=2)
    assert trend.mean == pytest.approx(0.625 / 0.75)
    variance = 5 / 6 * 1 / 6
    assert trend.standard_error == pytest.approx(math.sqrt(variance * 0.15625) / 0.75)


def test_equal_values_leave_no_doubt():
    trend = UNKNOWN
    for _ in range(5):
        trend = trend.after(0.1, 0.1**2, 3, half_life=64)
    assert trend.standard_error == pytest.approx(0, abs=1e-9)
