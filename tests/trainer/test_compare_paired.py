"""The statistics: against worked examples, against simulation, and for any differences at all."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor_service.errors import InvalidInput
from trainer.compare import paired

finite = st.floats(-1, 1, allow_nan=False).map(lambda value: round(value, 6))
samples = st.lists(finite, min_size=1, max_size=8)
families = st.lists(samples, min_size=1, max_size=6)
p_values = st.lists(st.floats(0, 1), max_size=8)


def test_a_mean_has_the_t_interval_of_its_seeds():
    # mean 2, sample std 1, t(0.975, 2) = 4.302653: 4.302653 / sqrt(3) = 2.484138
    found = paired.mean([1.0, 2.0, 3.0])
    assert (found.value, found.num_seeds) == (2.0, 3)
    assert found.half_width == pytest.approx(2.484138, abs=1e-6)


@pytest.mark.parametrize("values", [[0.3], [0.3, 0.3, 0.3]])
def test_one_seed_and_seeds_without_spread_have_no_interval(values):
    assert paired.mean(values).half_width is None


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_a_mean_of_nothing_or_of_no_number_is_refused(values):
    with pytest.raises(InvalidInput, match="one finite number per seed"):
        paired.mean(values)


def test_the_p_value_is_that_of_a_paired_t_test():
    arm, base = np.array([0.61, 0.58, 0.66, 0.6]), np.array([0.55, 0.57, 0.6, 0.59])
    (found,) = paired.differences([(arm - base).tolist()])
    assert found.p_value == pytest.approx(stats.ttest_rel(arm, base).pvalue)
    assert found.p_holm == found.p_value


def test_holm_corrects_step_by_step():
    # sorted .01 .02 .04 times 3 2 1: .03 .04 .04
    assert paired.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert paired.holm([0.6, 0.9]) == [1.0, 1.0]


@given(p_values)
def test_holm_never_makes_a_p_value_smaller_and_keeps_their_order(values):
    adjusted = paired.holm(values)
    assert all(own <= new <= 1 for own, new in zip(values, adjusted, strict=True))
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [adjusted[at] for at in order] == sorted(adjusted)
    # Bonferroni is never smaller.
    bounds = [min(1.0, len(values) * own) for own in values]
    assert all(new <= bound for new, bound in zip(adjusted, bounds, strict=True))


@given(families)
def test_no_verdict_is_stronger_than_its_interval(family):
    for sample, found in zip(family, paired.differences(family), strict=True):
        assert found.value == pytest.approx(np.mean(sample))
        if found.verdict in ("higher", "lower"):
            assert found.half_width is not None
            assert abs(found.value) > found.half_width * (1 - 1e-9)
            assert (found.value > 0) == (found.verdict == "higher")
        elif found.verdict == "identical":
            assert not any(sample)
        elif found.verdict == "none shown":
            assert found.p_holm is not None
            assert found.p_holm >= 1 - paired.CONFIDENCE
        else:
            assert found.p_value is None


@given(families)
def test_the_sign_of_the_comparison_is_the_sign_of_the_verdict(family):
    turned = [[-value for value in sample] for sample in family]
    opposite = {"higher": "lower", "lower": "higher"}
    for one, other in zip(paired.differences(family), paired.differences(turned), strict=True):
        assert other.verdict == opposite.get(one.verdict, one.verdict)
        assert other.p_holm == one.p_holm


def test_a_difference_is_shown_alone_and_not_among_many():
    clear = [0.05, 0.06, 0.04, 0.07, 0.03]
    noise = [[0.05, -0.04, 0.02, -0.06, 0.01]] * 200
    assert paired.differences([clear])[0].verdict == "higher"
    assert paired.differences([clear, *noise])[0].verdict == "none shown"


def test_the_same_difference_in_every_seed_is_not_judged():
    assert paired.differences([[0.01, 0.01]])[0].verdict == "no spread"
    assert paired.differences([[0.0, 0.0]])[0].verdict == "identical"
    assert paired.differences([[0.5]])[0].verdict == "too few seeds"


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 10])
def test_what_is_called_detectable_is_found_in_four_of_five_experiments(num_seeds):
    generator = np.random.default_rng(num_seeds)
    spread = 0.02
    # A sample whose std is exactly `spread`.
    raw = generator.standard_normal(num_seeds)
    sample = spread * (raw - raw.mean()) / raw.std(ddof=1)
    size = paired.detectable(sample)
    assert size is not None
    experiments = size + spread * generator.standard_normal((20_000, num_seeds))
    found = stats.ttest_1samp(experiments, 0, axis=1)
    share = np.mean((found.pvalue < 0.05) & (found.statistic > 0))
    # Standard error sqrt(.8 * .2 / 20000) = .003
    assert share == pytest.approx(0.8, abs=0.012)


def test_evaluation_noise_is_the_noise_of_counting_problems():
    # 400 problems, each arm right in half of them, independently: the difference per problem has
    # variance 1/4 + 1/4, its mean a std of sqrt(.5 / 400) = .0354, half an interval 1.96 times it.
    generator = np.random.default_rng(0)
    pairs = [tuple(generator.integers(0, 2, (2, 400)).astype(np.float64)) for _ in range(5)]
    assert paired.evaluation_noise(pairs) == pytest.approx(1.96 * 0.0354, rel=0.06)
    with pytest.raises(InvalidInput, match="pairs"):
        paired.evaluation_noise([])
