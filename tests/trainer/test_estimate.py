"""pass@k against its definition by enumeration, and what its intervals promise."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.errors import InvalidInput
from trainer.evaluate.estimate import (
    estimate,
    paired_difference,
    pass_at_k,
    pass_at_k_per_problem,
)


@st.composite
def counts(draw, max_samples=8):
    """n, and how many of n samples were correct for some problems."""
    n = draw(st.integers(1, max_samples))
    return n, np.array(draw(st.lists(st.integers(0, n), min_size=1, max_size=6)))


@given(counts(), st.data())
def test_it_is_the_share_of_draws_of_k_that_hold_a_correct_sample(case, data):
    n, correct = case
    k = data.draw(st.integers(1, n))

    def by_enumeration(c):
        draws = list(combinations([True] * c + [False] * (n - c), k))
        return sum(map(any, draws)) / len(draws)

    expected = [by_enumeration(c) for c in correct]
    np.testing.assert_allclose(pass_at_k_per_problem(n, correct, k), expected, atol=1e-12)
    assert pass_at_k(n, correct, k) == pytest.approx(np.mean(expected))


@given(counts(max_samples=300))
def test_it_starts_at_the_accuracy_grows_with_k_and_ends_at_the_solved_share(case):
    n, correct = case
    curve = np.array([pass_at_k(n, correct, k) for k in range(1, n + 1)])
    assert curve[0] == pytest.approx(correct.mean() / n)
    assert (np.diff(curve) >= -1e-12).all()
    assert curve[-1] == pytest.approx(np.mean(correct > 0))


def test_many_samples_neither_overflow_nor_lose_the_figure():
    # 1 of 100,000 correct, k = 10: 10 / 100,000; binomials of this size have 300 digits and more.
    assert pass_at_k(100_000, np.array([1]), 10) == pytest.approx(1e-4, rel=1e-9)


def test_it_is_unbiased():
    # A model that is right half the time: pass@3 = 1 - 0.5^3 = 0.875.
    correct = np.random.default_rng(0).binomial(8, 0.5, size=200_000)
    assert pass_at_k(8, correct, 3) == pytest.approx(0.875, abs=0.002)


@pytest.mark.parametrize(
    ("n", "correct", "k", "words"),
    [
        (4, [1], 5, r"k: must be in \[1, num_samples\], which is 4; got 5"),
        (4, [1], 0, r"k: must be in"),
        (0, [0], 1, "num_samples: must be at least 1; got 0"),
        (4, [1, 5], 1, r"num_correct: must be in \[0, 4\]; got 5"),
        (4, [-1], 1, r"num_correct: must be in \[0, 4\]; got -1"),
        (4, [0.5], 1, "num_correct: must be integers"),
        (4, [], 1, "num_correct: must be one number per problem, 1 or more"),
    ],
)
def test_what_has_no_estimate_is_refused_by_name(n, correct, k, words):
    with pytest.raises(InvalidInput, match=words):
        pass_at_k(n, np.array(correct), k)


def test_a_single_sample_of_each_problem_gets_wilsons_interval():
    # 26 of 64 at 95 %, z = 1.96: centre (26/64 + z^2/128) / (1 + z^2/64) = 0.4115.
    result = estimate(np.array([1.0] * 26 + [0.0] * 38))
    assert (result.method, result.num_problems) == ("wilson", 64)
    assert (result.value, result.low, result.high) == pytest.approx(
        (0.40625, 0.2945, 0.5285), abs=1e-4
    )


def test_nothing_solved_is_not_taken_for_certainty():
    result = estimate(np.zeros(30))
    # Wilson for 0 of 30: z^2 / (30 + z^2) = 3.84 / 33.84.
    assert (result.value, result.low, result.high) == pytest.approx((0.0, 0.0, 0.1135), abs=1e-4)


def test_problems_that_all_agree_leave_room_for_others():
    result = estimate(np.full(30, 0.25))
    # A share of 0.1135 of the problems may differ, down to 0 or up to 1.
    assert result.method == "unanimous"
    assert (result.low, result.high) == pytest.approx(
        (0.25 - 0.1135 * 0.25, 0.25 + 0.1135 * 0.75), abs=1e-4
    )


def test_a_seed_gives_one_interval_and_another_seed_nearly_the_same():
    values = pass_at_k_per_problem(8, np.arange(400) % 9, 4)
    first = estimate(values)
    assert first == estimate(values)
    other = estimate(values, seed=1)
    assert other != first
    assert (other.low, other.high) == pytest.approx((first.low, first.high), abs=0.003)


def test_a_wider_confidence_gives_a_wider_interval():
    values = pass_at_k_per_problem(8, np.arange(90) % 9, 1)
    narrow, wide = (estimate(values, confidence=c) for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def _coverage(interval_of, truth, num_experiments=400):
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(num_experiments):
        interval = interval_of(rng)
        hits += interval.low <= truth <= interval.high
    return hits / num_experiments


@pytest.mark.parametrize(("num_problems", "least"), [(30, 0.90), (200, 0.92)])
def test_the_interval_covers_the_truth_as_often_as_it_says(num_problems, least):
    # Problems of difficulty p ~ Beta(0.5, 0.8), 8 samples: pass@1 is 0.5 / 1.3. 400 experiments
    # at 0.95 have a standard error of 0.011.
    def draw(rng):
        difficulty = rng.beta(0.5, 0.8, size=num_problems)
        return estimate(pass_at_k_per_problem(8, rng.binomial(8, difficulty), 1))

    assert least <= _coverage(draw, 0.5 / 1.3) <= 0.98


def test_taking_samples_for_problems_would_cover_far_too_seldom():
    # What the cluster is for: the same draws, every sample as a trial of its own.
    def draw(rng):
        correct = rng.binomial(8, rng.beta(0.5, 0.8, size=200))
        samples = (np.arange(8) < correct[:, None]).astype(float)
        return estimate(samples.ravel())

    assert _coverage(draw, 0.5 / 1.3) < 0.8


def _two_models(rng, num_problems=100, gain=0.1):
    difficulty = rng.beta(0.5, 0.8, size=num_problems)
    return [
        pass_at_k_per_problem(8, rng.binomial(8, chance), 1)
        for chance in (difficulty + gain * (1 - difficulty), difficulty)
    ]


def test_the_difference_of_two_models_is_covered_and_narrower_for_being_paired():
    # A gain of 0.1 * (1 - p): 0.1 * 0.8 / 1.3 on average.
    truth = 0.1 * 0.8 / 1.3
    coverage = _coverage(lambda rng: paired_difference(*_two_models(rng)), truth)
    assert 0.91 <= coverage <= 0.98
    better, worse = _two_models(np.random.default_rng(0))
    paired = paired_difference(better, worse)
    widths = [e.high - e.low for e in (estimate(better), estimate(worse))]
    assert paired.high - paired.low < 0.5 * np.hypot(widths[0], widths[1])
    assert paired.value == pytest.approx(better.mean() - worse.mean())


def test_two_models_with_the_same_answers_may_still_differ_a_little():
    same = paired_difference(np.ones(30), np.ones(30))
    assert (same.value, same.low, same.high) == pytest.approx((0.0, -0.1135, 0.1135), abs=1e-4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: estimate(np.array([])), "values: must be one number per problem"),
        (lambda: estimate(np.array([0.5, np.nan])), r"values: must be in \[0, 1\]"),
        (lambda: estimate(np.ones(3), confidence=95), r"confidence: must be in \(0, 1\); got 95"),
        (
            lambda: paired_difference(np.ones(3), np.ones(4)),
            r"baseline: must have the shape of values, \(3,\)",
        ),
    ],
)
def test_what_has_no_interval_is_refused_by_name(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
