"""Which groups carry no learning signal, and the rate that counts them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.collapse import (
    COLLAPSE_STD,
    REWARD_LIMIT,
    Groups,
    Outcome,
    RewardRange,
    judge,
    matrix,
    usable,
)
from monitor_service.errors import InvalidInput

NAN, INF = math.nan, math.inf
ZERO_ONE = RewardRange()

rewards_lists = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0, NAN, INF]), min_size=1, max_size=6),
    min_size=1,
    max_size=8,
)
binary_lists = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=6), min_size=1, max_size=8
)


def judged(*groups: list[float | None], **changes: object) -> Groups:
    return judge(matrix(groups), **{"reward_range": ZERO_ONE, **changes})  # type: ignore[arg-type]


def outcomes(groups: Groups) -> list[Outcome]:
    return [Outcome(code) for code in groups.outcomes]


def test_one_group_of_each_kind_gives_two_thirds():
    groups = judged([1] * 8, [0] * 8, [1, 0] * 4)
    assert outcomes(groups) == [Outcome.ALL_CORRECT, Outcome.ALL_WRONG, Outcome.MIXED]
    assert groups.acr == 2 / 3
    assert groups.share(Outcome.ALL_CORRECT) == groups.share(Outcome.ALL_WRONG) == 1 / 3
    assert (groups.num_scored, groups.num_collapsed) == (3, 2)


def test_groups_of_unequal_size_weigh_the_same():
    groups = judged([1] * 4, [0, 1] * 4, [0] * 6)
    assert groups.sizes.tolist() == [4, 8, 6]
    assert groups.acr == 2 / 3


def test_a_std_equal_to_the_bound_is_not_collapsed():
    # sigma = (2-0)/2 = 1.0 and (1-0)/2 = 0.5, against a bound of 1.0.
    groups = judged([0, 2], [0, 1], collapse_std=1.0)
    assert groups.stds.tolist() == [1.0, 0.5]
    assert [outcome != Outcome.MIXED for outcome in outcomes(groups)] == [False, True]
    assert groups.acr == 0.5


def test_the_default_bound_lies_between_almost_and_really_equal_rewards():
    # The std of a pair is half its distance: 0.95e-6 and 1.05e-6 around the bound of 1e-6.
    groups = judged([0, 1.9e-6], [0, 2.1e-6])
    assert outcomes(groups) == [Outcome.ALL_WRONG, Outcome.MIXED]


def test_an_unscored_completion_leaves_its_group_and_a_singleton_is_no_group():
    groups = judged([1, NAN, 1, 1], [NAN, NAN, NAN, 0])
    assert outcomes(groups) == [Outcome.ALL_CORRECT, Outcome.UNSCORED]
    assert groups.sizes.tolist() == [3, 1]
    assert (groups.acr, groups.num_scored) == (1.0, 1)


@pytest.mark.parametrize("rewards", [np.empty((0, 0)), np.empty((3, 0)), np.full((2, 4), NAN)])
def test_nothing_scored_means_no_rate_rather_than_zero(rewards: np.ndarray):
    groups = judge(rewards, reward_range=ZERO_ONE)
    assert (groups.acr, groups.mean_reward, groups.num_scored) == (None, None, 0)
    assert set(outcomes(groups)) <= {Outcome.UNSCORED}
    assert np.isnan(groups.means).all()
    assert np.isnan(groups.stds).all()


@pytest.mark.parametrize("invalid", [INF, -INF, 2 * REWARD_LIMIT, -1e300])
def test_an_infinite_or_huge_reward_is_unscored_and_counted(invalid: float):
    groups = judged([1, invalid, 1], [0, 1, 1])
    assert outcomes(groups) == [Outcome.ALL_CORRECT, Outcome.MIXED]
    assert (groups.sizes.tolist(), groups.num_invalid) == ([2, 3], 1)
    assert groups.mean_reward == 4 / 5  # 1+1 of the first group, 0+1+1 of the second, 5 scored


def test_usable_keeps_what_is_scored_and_tells_missing_from_invalid():
    rewards, scored, num_invalid = usable(np.array([[REWARD_LIMIT, NAN, -INF]]))
    assert np.array_equal(rewards, [[REWARD_LIMIT, NAN, NAN]], equal_nan=True)
    assert (scored.tolist(), num_invalid) == ([[True, False, False]], 1)


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1.1, 100.3, 1e11 / 3])
@pytest.mark.parametrize("size", [2, 7, 10, 16])
def test_a_constant_group_has_a_std_of_exactly_zero_at_any_value(value: float, size: int):
    assert judged([value] * size).stds.tolist() == [0.0]


def test_float32_arithmetic_would_miss_a_constant_group():
    # What the engine avoids: 100.3 seven times, in float32, has a std of 7.6e-6, above 1e-6.
    assert np.std(np.full(7, 100.3, np.float32)) > COLLAPSE_STD
    assert judge(np.full((1, 7), 100.3, np.float32), reward_range=ZERO_ONE).acr == 1.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, Outcome.ALL_WRONG),
        (0.01, Outcome.ALL_WRONG),
        (0.0101, Outcome.UNIFORM_OTHER),
        (0.5, Outcome.UNIFORM_OTHER),
        (0.9899, Outcome.UNIFORM_OTHER),
        (0.99, Outcome.ALL_CORRECT),
        (1.0, Outcome.ALL_CORRECT),
        (-0.1, Outcome.UNIFORM_OTHER),
        (1.1, Outcome.UNIFORM_OTHER),
    ],
)
def test_a_collapsed_group_is_right_or_wrong_only_near_the_ends_of_the_range(
    value: float, expected: Outcome
):
    assert outcomes(judged([value] * 4)) == [expected]


def test_rewards_of_minus_one_and_one_are_wrong_and_right_in_their_declared_range():
    groups = judged([-1] * 4, [1] * 4, [0] * 4, reward_range=RewardRange(low=-1, high=1))
    assert outcomes(groups) == [Outcome.ALL_WRONG, Outcome.ALL_CORRECT, Outcome.UNIFORM_OTHER]


@pytest.mark.parametrize(
    ("low", "high"), [(1, 1), (1, 0), (NAN, 1), (0, NAN), (0, INF), (-2 * REWARD_LIMIT, 0)]
)
def test_a_range_must_be_finite_and_not_empty(low: float, high: float):
    with pytest.raises(InvalidInput, match=r"^reward_low, reward_high: finite"):
        RewardRange(low=low, high=high)


def test_the_accuracy_component_decides_what_a_constant_sum_means():
    # Accuracy 0 plus a format bonus of 0.1, and accuracy 1 plus 0.1; then a component that varies
    # under a constant sum, and one that was never scored.
    groups = judge(
        matrix([[0.1] * 4, [1.1] * 4, [1] * 4, [0] * 4]),
        primary=matrix([[0] * 4, [1] * 4, [0, 1, 0, 1], [None] * 4]),
        reward_range=ZERO_ONE,
    )
    assert outcomes(groups) == [
        Outcome.ALL_WRONG,
        Outcome.ALL_CORRECT,
        Outcome.UNIFORM_OTHER,
        Outcome.UNIFORM_OTHER,
    ]


def test_a_sum_that_varies_is_a_signal_even_when_accuracy_does_not():
    groups = judge(matrix([[0.0, 0.1]]), primary=matrix([[0.0, 0.0]]), reward_range=ZERO_ONE)
    assert outcomes(groups) == [Outcome.MIXED]


def test_the_mean_reward_weighs_completions_not_groups():
    # (3*1 + 1*0) / 4, not (1 + 0) / 2.
    assert judged([1, 1, 1], [0]).mean_reward == 0.75


@pytest.mark.parametrize(
    ("a", "b", "size", "wrong", "correct"),
    [
        (1, 1, 8, 0.1111, 0.1111),
        (0.5, 0.5, 8, 0.3928 / 2, 0.3928 / 2),
        (0.8, 1.2, 8, 0.1861, 0.0623),
        (0.25, 2.5, 8, 0.6782, 0.0018),
        (6, 6, 8, 0.0341 / 2, 0.0341 / 2),
        (0.5, 0.5, 4, 0.5469 / 2, 0.5469 / 2),
        (0.5, 0.5, 16, 0.2799 / 2, 0.2799 / 2),
    ],
)
def test_expected_rates_follow_from_beta_distributed_pass_rates(
    a: float, b: float, size: int, wrong: float, correct: float
):
    # Every pattern of right and wrong answers once; one with s right answers has probability
    # B(a+s, b+G-s) / B(a, b).
    patterns = np.array(list(itertools.product([0.0, 1.0], repeat=size)))
    groups = judge(patterns, reward_range=ZERO_ONE)
    right = patterns.sum(axis=1).astype(int)
    of_count = np.array(
        [math.exp(_log_beta(a + s, b + size - s) - _log_beta(a, b)) for s in range(size + 1)]
    )
    weights = of_count[right]
    assert weights.sum() == pytest.approx(1)
    assert weights[groups.outcomes == Outcome.ALL_WRONG].sum() == pytest.approx(wrong, abs=6e-5)
    assert weights[groups.outcomes == Outcome.ALL_CORRECT].sum() == pytest.approx(correct, abs=6e-5)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@pytest.mark.parametrize(
    ("size", "pass_rate"),
    [(2, 0.2929), (4, 0.1591), (8, 0.0830), (16, 0.0424), (32, 0.0214), (64, 0.0108)],
)
def test_half_of_the_groups_are_all_wrong_at_the_pass_rate_made_for_it(size: int, pass_rate: float):
    # (1-p)^G = 1/2 at p = 1 - 2^(-1/G). Four standard errors of 20,000 groups: 4*0.5/141 = 0.014.
    assert round(1 - 2 ** (-1 / size), 4) == pass_rate
    rng = np.random.default_rng(size)
    rewards = (rng.random((20_000, size)) < pass_rate).astype(float)
    groups = judge(rewards, reward_range=ZERO_ONE)
    assert groups.share(Outcome.ALL_WRONG) == pytest.approx(0.5, abs=0.014)


@given(rewards_lists)
def test_every_group_has_the_std_and_mean_that_numpy_finds_among_its_finite_rewards(
    groups: list[list[float]],
):
    found = judge(matrix(groups), reward_range=ZERO_ONE)
    for row, group in enumerate(groups):
        finite = [reward for reward in group if math.isfinite(reward)]
        assert found.sizes[row] == len(finite)
        if finite:
            assert found.means[row] == pytest.approx(np.mean(finite))
            assert found.stds[row] == pytest.approx(np.std(finite))
        if len(finite) < 2:
            assert found.outcomes[row] == Outcome.UNSCORED
        else:
            assert (found.outcomes[row] == Outcome.MIXED) == (len(set(finite)) > 1)


@given(rewards_lists)
def test_the_parts_add_up_and_unscored_groups_count_nowhere(groups: list[list[float]]):
    found = judge(matrix(groups), reward_range=ZERO_ONE)
    assert sum(found.count(outcome) for outcome in Outcome) == len(groups)
    scored = [g for g, code in zip(groups, found.outcomes, strict=True) if code != 4]
    assert found.num_scored == len(scored)
    if scored:
        parts = (Outcome.ALL_WRONG, Outcome.ALL_CORRECT, Outcome.UNIFORM_OTHER)
        assert sum(found.share(part) or 0 for part in parts) == pytest.approx(found.acr)
        assert found.acr == judge(matrix(scored), reward_range=ZERO_ONE).acr
    else:
        assert found.acr is None


@given(rewards_lists, st.randoms(use_true_random=False))
def test_order_matters_neither_inside_a_group_nor_among_groups(groups, random):
    order = random.sample(range(len(groups)), len(groups))
    shuffled = [random.sample(groups[i], len(groups[i])) for i in order]
    before = judge(matrix(groups), reward_range=ZERO_ONE)
    after = judge(matrix(shuffled), reward_range=ZERO_ONE)
    assert after.outcomes.tolist() == before.outcomes[order].tolist()
    np.testing.assert_allclose(after.stds, before.stds[order], rtol=0, atol=1e-12)
    np.testing.assert_allclose(after.means, before.means[order], rtol=0, atol=1e-12)
    assert after.acr == before.acr


@given(binary_lists, st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_scaling_and_shifting_rewards_with_their_range_changes_no_outcome(groups, scale, offset):
    rewards = matrix(groups)
    mapped = judge(
        scale * rewards + offset, reward_range=RewardRange(low=offset, high=scale + offset)
    )
    assert outcomes(mapped) == outcomes(judge(rewards, reward_range=ZERO_ONE))


@given(binary_lists)
def test_padding_with_unscored_places_changes_nothing(groups):
    padded = [[None, *group, None, None] for group in groups]
    before, after = judged(*groups), judged(*padded)
    assert outcomes(after) == outcomes(before)
    assert after.sizes.tolist() == before.sizes.tolist()


def test_no_groups_make_an_empty_matrix():
    assert matrix([]).shape == (0, 0)


@given(
    st.lists(st.sampled_from([0.1, 0.3, 0.7, 0.9, 1e-9]), min_size=8, max_size=32),
    st.randoms(use_true_random=False),
)
def test_the_mean_reward_does_not_depend_on_the_order_at_all(values, random):
    shuffled = random.sample(values, len(values))
    half = len(values) // 2
    before = judge(matrix([values[:half], values[half:]]), reward_range=RewardRange())
    after = judge(matrix([shuffled[:half], shuffled[half:]]), reward_range=RewardRange())
    assert before.mean_reward == after.mean_reward


def test_a_reward_without_bounds_has_no_sides():
    groups = judged([0] * 4, [1] * 4, [7.5] * 4, [0, 1], reward_range=None)
    assert outcomes(groups) == [Outcome.UNIFORM_OTHER] * 3 + [Outcome.MIXED]
    assert groups.acr == 3 / 4
