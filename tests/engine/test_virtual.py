"""Virtual rewards, and the one advantage they give to a collapsed group."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.collapse import Outcome
from monitor_service.engine.virtual import STRATEGIES, advantage, closed_form, num_virtual
from tests.engine import construction

CORRECT, WRONG = Outcome.ALL_CORRECT, Outcome.ALL_WRONG
INERT = {("none", CORRECT), ("none", WRONG), ("stratified_draft", WRONG), ("ngrpo_max", CORRECT)}


def injected(name: str, outcome: Outcome, *, size: int = 8, k: int = 6, **changes) -> float:
    """The advantage with the paper's anchor and no eps, unless told otherwise."""
    arguments = {"anchor": 0.1, "eps": 0.0} | changes
    return advantage(STRATEGIES[name], outcome, size=size, k=k, **arguments)


def virtual(name: str, outcome: Outcome, k: int, anchor: float = 0.1, rng=None) -> np.ndarray:
    strategy = STRATEGIES[name]
    return strategy.correct(k, rng) if outcome == CORRECT else strategy.wrong(k, anchor, rng)


@pytest.mark.parametrize(
    ("size", "acr", "k"),
    [
        # K = ceil(G * sqrt(ACR)); 8 * sqrt(1/64) is exactly 1, 8 * sqrt(.0157) = 1.0024.
        *[(8, 0, 1), (8, 0.01, 1), (8, 1 / 64, 1), (8, 0.0157, 2), (8, 0.1, 3), (8, 0.125, 3)],
        *[(8, 0.2, 4), (8, 0.25, 4), (8, 0.3, 5), (8, 0.35, 5), (8, 0.4, 6), (8, 0.5, 6)],
        *[(8, 0.5625, 6), (8, 0.57, 7), (8, 2 / 3, 7), (8, 0.75, 7), (8, 0.8, 8), (8, 1, 8)],
        *[(4, 0.0625, 1), (4, 0.0626, 2), (4, 0.25, 2), (4, 0.26, 3), (4, 0.5625, 3), (4, 0.6, 4)],
        *[(16, 0.01, 2), (16, 0.25, 8), (16, 0.4, 11), (16, 0.5, 12), (16, 1, 16)],
    ],
)
def test_the_number_of_virtual_rewards_grows_with_the_root_of_acr(size: int, acr: float, k: int):
    assert num_virtual(size, acr, 0.5) == k


@pytest.mark.parametrize(("alpha", "k"), [(0.3, 7), (0.5, 6), (0.7, 5), (1.0, 4)])
def test_a_smaller_alpha_means_more_virtual_rewards(alpha: float, k: int):
    # 8*.4^.3 = 6.08, 8*.4^.5 = 5.06, 8*.4^.7 = 4.21, 8*.4 = 3.2.
    assert num_virtual(8, 0.4, alpha) == k


def test_float_noise_adds_no_virtual_reward():
    # 10 * .09^.5 is 3.0000000000000004 for some powers of floats; the exact value is 3.
    for size in range(2, 65):
        for wanted in range(1, size + 1):
            assert num_virtual(size, (wanted / size) ** 2, 0.5) == wanted


@given(st.integers(2, 64), st.floats(0, 1), st.floats(0.01, 1))
def test_there_are_at_least_one_and_at_most_group_size_virtual_rewards(size, acr, alpha):
    k = num_virtual(size, acr, alpha)
    assert 1 <= k <= size
    assert k == pytest.approx(size * acr**alpha, abs=1) or k == 1


@pytest.mark.parametrize(
    ("outcome", "k", "expected"),
    [
        (CORRECT, 6, [0.857143, 0.714286, 0.571429, 0.428571, 0.285714, 0.142857]),  # 1 - k/7
        (WRONG, 6, [0.1, 0.083333, 0.066667, 0.05, 0.033333, 0.016667]),  # .1 * (7-k)/6
        (CORRECT, 4, [0.8, 0.6, 0.4, 0.2]),
        (WRONG, 4, [0.1, 0.075, 0.05, 0.025]),
        (CORRECT, 8, [8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9]),
    ],
)
def test_stratified_rewards_are_evenly_spaced_away_from_the_real_ones(outcome, k, expected):
    assert virtual("stratified", outcome, k) == pytest.approx(expected, abs=1e-6)
    oracle = construction.stratified(k, correct=outcome == CORRECT)
    assert virtual("stratified", outcome, k) == pytest.approx(oracle)


@pytest.mark.parametrize(
    ("name", "outcome", "expected"),
    [
        ("stratified_draft", CORRECT, [1, 0.75, 0.5, 0.25]),
        ("stratified_draft", WRONG, [0, 0, 0, 0]),
        ("fixed_partial", CORRECT, [0.5] * 4),
        ("fixed_partial", WRONG, [0.5] * 4),
        ("exp_decay", CORRECT, [0.5, 0.25, 0.125, 0.0625]),
        ("exp_decay", WRONG, [0.1, 0.05, 0.025, 0.0125]),
        ("ngrpo_max", CORRECT, [1]),
        ("ngrpo_max", WRONG, [1]),
        ("official_code", CORRECT, [0]),
        ("official_code", WRONG, [1]),
        ("none", CORRECT, []),
        ("none", WRONG, []),
        ("constant", CORRECT, []),
        ("constant", WRONG, []),
    ],
)
def test_every_other_strategy_has_its_own_virtual_rewards(name, outcome, expected):
    assert virtual(name, outcome, 4).tolist() == pytest.approx(expected)


def test_the_closed_form_equals_the_construction_for_every_group_up_to_64():
    for size in range(1, 65):
        for k in range(1, size + 1):
            one = construction.advantages([1.0] * size, construction.stratified(k, correct=True))
            zero = construction.advantages([0.0] * size, construction.stratified(k, correct=False))
            assert np.abs(one - closed_form(size, k)).max() < 1e-12
            assert np.abs(zero + closed_form(size, k)).max() < 1e-12


def test_the_engine_equals_the_construction_for_every_strategy_side_and_size():
    for name, strategy in STRATEGIES.items():
        for size in range(2, 65, 3):
            for k in range(1, size + 1, 2):
                for outcome, real in ((CORRECT, 1.0), (WRONG, 0.0)):
                    if (
                        strategy.is_random
                        or strategy.magnitude is not None
                        or (name, outcome) in INERT
                        or (k, outcome) == (1, CORRECT)
                    ):
                        continue
                    expected = construction.advantages(
                        [real] * size, virtual(name, outcome, k), eps=1e-4, ddof=strategy.ddof
                    )
                    found = injected(name, outcome, size=size, k=k, eps=1e-4)
                    assert np.abs(expected - found).max() < 1e-12, name


@pytest.mark.parametrize(
    ("size", "k", "magnitude"),
    [
        *[(8, 1, 0.353553), (8, 2, 0.468521), (8, 3, 0.552345), (8, 4, 0.620174)],
        *[(8, 5, 0.677631), (8, 6, 0.727607), (8, 7, 0.771845), (8, 8, 0.811503)],
        *[(2, 1, 0.707107), (2, 2, 0.904534), (3, 3, 0.866025), (4, 1, 0.5), (4, 2, 0.654654)],
        *[(4, 4, 0.845154), (6, 5, 0.769484), (16, 8, 0.6), (16, 11, 0.684167), (16, 16, 0.793492)],
    ],
)
def test_both_sides_get_the_tabulated_magnitude(size: int, k: int, magnitude: float):
    # (8, 6): 1 / sqrt(2*13*14 / (3*6*7) - 1) = 1 / sqrt(364/126 - 1) = .727607.
    assert closed_form(size, k) == pytest.approx(magnitude, abs=1e-6)
    assert injected("stratified", CORRECT, size=size, k=k) == pytest.approx(magnitude, abs=1e-6)
    assert injected("stratified", WRONG, size=size, k=k) == pytest.approx(-magnitude, abs=1e-6)


def test_the_magnitude_with_a_full_set_falls_towards_the_root_of_three_fifths():
    magnitudes = [closed_form(size, size) for size in (2, 8, 64, 1_000_000)]
    assert magnitudes == sorted(magnitudes, reverse=True)
    assert magnitudes[-1] == pytest.approx(math.sqrt(3 / 5), abs=1e-6)


@pytest.mark.parametrize(
    ("outcome", "eps", "expected"),
    [
        # Ones: mean .78571429, std .29450754; zeros: mean .025, std .03435921.
        (CORRECT, 1e-8, 0.72760685),
        (CORRECT, 1e-4, 0.72735990),  # .21428571 / (.29450754 + .0001)
        (WRONG, 1e-8, -0.72760666),
        (WRONG, 1e-4, -0.72549537),  # -.025 / (.03435921 + .0001)
    ],
)
def test_eps_costs_the_smaller_spread_of_all_wrong_groups_more(outcome, eps, expected):
    assert injected("stratified", outcome, eps=eps) == pytest.approx(expected, abs=1e-8)


def test_the_worked_statistics_of_the_paper_case_hold_in_the_naive_construction():
    ones = [1.0] * 8 + construction.stratified(6, correct=True)
    zeros = [0.0] * 8 + construction.stratified(6, correct=False)
    assert (np.mean(ones), np.std(ones)) == pytest.approx((0.78571429, 0.29450754), abs=1e-8)
    assert (np.mean(zeros), np.std(zeros)) == pytest.approx((0.025, 0.03435921), abs=1e-8)


@pytest.mark.parametrize(("outcome", "expected"), [(CORRECT, 0.70091019), (WRONG, -0.69917864)])
def test_the_sample_std_gives_a_smaller_advantage(outcome, expected):
    # ddof 1 is std * sqrt(14/13): .21428571 / (.30562153 + .0001) and -.025 / (.03565584 + .0001).
    paper = STRATEGIES["stratified"]
    sample = type(paper)(correct=paper.correct, wrong=paper.wrong, ddof=1, source="this test")
    found = advantage(sample, outcome, size=8, k=6, anchor=0.1, eps=1e-4)
    assert found == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("outcome", "expected"), [(CORRECT, 0.21428571), (WRONG, -0.025)])
def test_undivided_advantages_are_the_distance_to_the_mean_so_the_anchor_matters(outcome, expected):
    # 1 - 11/14 = 3/14 and 0 - .35/14 = -.025; with an anchor of 1 it would be -.25.
    assert injected("stratified", outcome, divisor=1.0) == pytest.approx(expected, abs=1e-8)
    assert injected("stratified", WRONG, divisor=1.0, anchor=1.0) == pytest.approx(-0.25)


def test_a_given_divisor_replaces_std_and_eps():
    assert injected("stratified", CORRECT, divisor=0.5, eps=9.0) == pytest.approx(0.42857143)


@given(
    st.floats(0.001, 1),
    st.integers(2, 32).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size))),
)
def test_the_anchor_cancels_where_the_std_divides(anchor, shape):
    size, k = shape
    found = injected("stratified", WRONG, size=size, k=k, anchor=anchor)
    assert found == pytest.approx(-closed_form(size, k), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "correct", "wrong", "eps"),
    [
        ("none", 0, 0, 0),
        ("stratified", 0.727607, -0.727607, 0),
        ("stratified_draft", 0.642529, 0, 0),
        # One distance d for all K: shift d*K/14, std d*sqrt(8*K)/14, so sqrt(K/G) = sqrt(6/8).
        ("fixed_partial", 0.866025, -0.866025, 0),
        ("exp_decay", 0.836559, -0.511992, 0),
        # A one joins eight zeros: (1/9) / (1/3 + eps), sample std.
        ("ngrpo_max", 0, -0.333332, 1e-6),
        ("official_code", 0.333233, -0.333233, 1e-4),
        ("constant", 1, -1, 1e-4),
    ],
)
def test_every_strategy_has_its_tabulated_advantage_at_eight_and_six(name, correct, wrong, eps):
    assert injected(name, CORRECT, eps=eps) == pytest.approx(correct, abs=1e-6)
    assert injected(name, WRONG, eps=eps) == pytest.approx(wrong, abs=1e-6)


def test_the_official_code_is_weaker_than_the_paper_at_full_collapse():
    # G=4: (1/5) / (sqrt(1/5) + .0001) = .447114, where the paper has .845154.
    assert injected("official_code", CORRECT, size=4, k=4, eps=1e-4) == pytest.approx(
        0.447114, abs=1e-6
    )
    assert injected("official_code", WRONG, size=4, k=4, divisor=1.0) == -1 / 5


@given(
    st.integers(2, 64),
    st.integers(0, 64),
    st.floats(0, 1),
    st.none() | st.floats(1e-6, 100),
    st.floats(0.01, 1),
)
def test_a_constant_advantage_is_one_whatever_the_group_and_the_host(size, k, eps, divisor, anchor):
    same = {"size": size, "k": k, "eps": eps, "divisor": divisor, "anchor": anchor}
    assert injected("constant", CORRECT, **same) == 1.0
    assert injected("constant", WRONG, **same) == -1.0


def test_the_draft_leaves_a_group_of_ones_collapsed_when_k_is_one():
    assert injected("stratified_draft", CORRECT, k=1) == 0.0


@given(st.sampled_from(sorted(STRATEGIES)), st.integers(2, 32), st.integers(0, 2**32))
def test_no_strategy_pushes_an_answer_the_wrong_way(name, size, seed):
    for k in range(1, size + 1):
        for outcome, sign in ((CORRECT, 1), (WRONG, -1)):
            value = injected(name, outcome, size=size, k=k, rng=np.random.default_rng(seed))
            assert value * sign >= 0
            if (name, outcome) not in INERT and k > 1:
                assert value != 0


@given(st.integers(1, 64), st.floats(0.001, 1), st.integers(0, 2**63 - 1))
def test_random_rewards_lie_above_zero_and_at_most_at_the_anchor(k, anchor, seed):
    for outcome, most in ((CORRECT, 1.0), (WRONG, anchor)):
        drawn = virtual("random_uniform", outcome, k, anchor, np.random.default_rng(seed))
        assert drawn.shape == (k,)
        assert (drawn > 0).all()
        assert (drawn <= most).all()


def test_a_random_strategy_without_its_generator_is_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="generator"):
        injected("random_uniform", CORRECT)
