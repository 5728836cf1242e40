"""The rules as data, the figures they watch, and what they say."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor_service.engine.forecast import NOTHING_YET
from monitor_service.engine.health.averages import LIMIT, kept, measured, median
from monitor_service.engine.health.figures import Seen
from monitor_service.engine.health.reward import RewardTrend
from monitor_service.engine.health.rules import RULE, RULES
from monitor_service.engine.health.trends import (
    CONSTANT_STEPS,
    MAX_COMPONENTS,
    NOTHING_SEEN,
    RECENT,
    Track,
    Trends,
    excess_volatility,
    is_beyond_chance,
)
from monitor_service.engine.health.vitals import Vitals
from monitor_service.engine.health.words import WORDS
from monitor_service.engine.smoothing import Rates

DOCS = Path(__file__).parents[2] / "docs" / "health.md"


def rates(wrong: float = 0.0, correct: float = 0.0, other: float = 0.0) -> Rates:
    """Pooled over so many groups that their standard error vanishes."""
    return Rates(acr=wrong + correct + other, wrong=wrong, correct=correct, num_effective=1e12)


def seen(vitals: Vitals, trends: Trends = NOTHING_SEEN) -> Seen:
    return Seen(vitals=vitals, trends=trends.after(vitals), first_hundred=NOTHING_YET)


def trends_of(*steps: Vitals) -> Trends:
    trends = NOTHING_SEEN
    for vitals in steps:
        trends = trends.after(vitals)
    return trends


def series(**figures) -> Trends:
    """The trends after steps 1, 2, ... with these values."""
    length = len(next(iter(figures.values())))
    return trends_of(
        *[
            Vitals(step=step + 1, **{name: values[step] for name, values in figures.items()})
            for step in range(length)
        ]
    )


# The published volatility vector: 25 steps .2, .6, ..., .2 have mean (13*.2 + 12*.6)/25 = .392
# and variance (13*.192^2 + 12*.208^2)/25 = .039936.
SWINGING = (0.2, 0.6) * 12 + (0.2,)


def test_raw_volatility_is_the_population_deviation():
    assert excess_volatility(SWINGING, math.inf) == pytest.approx(math.sqrt(0.039936))  # .199840


def test_eight_groups_a_step_explain_most_of_that_volatility():
    # .039936 - .392*.608/8 = .039936 - .029792 = .010144.
    assert excess_volatility(SWINGING, 8) == pytest.approx(math.sqrt(0.010144))  # .100717
    assert not is_beyond_chance(SWINGING, 8)  # .039936 < 1.79 * .029792


def test_one_group_a_step_explains_all_volatility():
    alternating = (0.0, 1.0) * 12 + (0.0,)
    assert excess_volatility(alternating, math.inf) == pytest.approx(0.4996)  # sqrt(.48*.52)
    assert excess_volatility(alternating, 1) == pytest.approx(0.0, abs=1e-6)
    assert not is_beyond_chance(alternating, 1)


def test_every_rule_has_words_and_a_row_in_the_documentation():
    text = DOCS.read_text(encoding="utf-8")
    for rule in RULES:
        assert rule.name in WORDS
        row = next(line for line in text.splitlines() if line.startswith(f"| `{rule.name}` |"))
        sign = ">" if rule.worse == "above" else "<"
        assert f"{sign} {rule.raise_at:g}" in row
        assert f"| {rule.raise_after} / {rule.clear_after} |" in row
    assert WORDS.keys() - RULE.keys() == {"reports_stopped"}


def test_levels_of_raising_and_clearing_leave_room_for_hysteresis():
    for rule in RULES:
        if rule.worse == "above":
            assert rule.clear_at <= rule.raise_at
            assert rule.critical_at is None or rule.critical_at > rule.raise_at
        else:
            assert rule.clear_at >= rule.raise_at
            assert rule.critical_at is None or rule.critical_at < rule.raise_at
        assert not (rule.is_bad(rule.raise_at) and rule.is_good(rule.raise_at))


def test_levels_are_strict():
    assert not RULE["stall"].is_bad(0.35)
    assert RULE["stall"].is_bad(0.3501)
    assert not RULE["entropy_low"].is_bad(0.5)
    assert RULE["entropy_low"].is_bad(0.4999)


def test_a_rule_without_a_critical_level_is_never_critical_by_its_figure():
    assert not RULE["stall"].is_critical(1.0)
    assert RULE["truncation"].is_critical(0.96)
    assert not RULE["truncation"].is_critical(0.95)
    assert RULE["reward_collapse"].is_critical(0.05)


def test_a_figure_is_told_again_when_it_is_worse_by_its_factor():
    assert RULE["kl_drift"].is_notably_worse(1.6, 0.5)  # factor 3
    assert not RULE["kl_drift"].is_notably_worse(1.4, 0.5)
    assert RULE["length_collapse"].is_notably_worse(0.05, 0.18)
    assert not RULE["length_collapse"].is_notably_worse(0.07, 0.18)


def test_what_was_not_measured_gives_no_figure():
    nothing = seen(Vitals(step=30))
    always = {"not_finite", "settings_ignored"}
    for rule in RULES:
        assert (rule.read(nothing) is None) == (rule.name not in always), rule.name


def test_pooled_rates_of_few_groups_give_no_figure():
    few = Rates(acr=0.9, wrong=0.9, correct=0.0, num_effective=63.9)
    assert RULE["stall"].read(seen(Vitals(step=1, acr=0.9, pooled=few))) is None


def test_a_stall_is_judged_one_standard_error_below_the_pooled_rate():
    pooled = Rates(acr=0.4, wrong=0.4, correct=0.0, num_effective=96.0)
    # sqrt(.4 * .6 / 96) = .05.
    found = RULE["stall"].read(seen(Vitals(step=1, acr=0.4, pooled=pooled)))
    assert found == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("pooled", "side"),
    [
        (rates(wrong=0.5, correct=0.1), "wrong"),
        (rates(wrong=0.1, correct=0.5), "correct"),
        (rates(wrong=0.1, correct=0.1, other=0.5), "other"),
        (Rates(acr=0.5, wrong=None, correct=None, num_effective=100.0), "unknown"),
        (Rates(acr=0.5, wrong=0.4, correct=None, num_effective=100.0), "unknown"),
        (None, "unknown"),
    ],
)
def test_the_kind_of_collapse_is_the_largest_of_its_parts(pooled: Rates | None, side: str):
    assert seen(Vitals(step=1, acr=0.5, pooled=pooled)).side == side


def test_all_correct_and_middle_groups_are_no_stall():
    for pooled in (rates(correct=0.9), rates(other=0.9)):
        assert RULE["stall"].read(seen(Vitals(step=1, acr=0.9, pooled=pooled))) == 0.0


def test_a_collapsed_run_whose_reward_rises_does_not_stall():
    rising = series(reward_mean=[0.01 * step for step in range(60)])
    vitals = Vitals(step=61, acr=0.9, pooled=rates(wrong=0.9), reward_mean=0.61)
    assert RULE["stall"].read(seen(vitals, rising)) == 0.0


def test_sides_that_are_not_known_give_no_figure_of_their_own():
    unknown = Rates(acr=0.9, wrong=None, correct=None, num_effective=100.0)
    found = seen(Vitals(step=1, acr=0.9, pooled=unknown))
    assert RULE["saturation"].read(found) is None
    assert RULE["middle_values"].read(found) is None


def test_volatility_needs_a_full_window_and_the_number_of_groups():
    swinging = [0.0, 1.0] * 13
    without = series(acr=swinging[:24], num_groups=[32] * 24)
    vitals = Vitals(step=25, acr=0.0, num_groups=32)
    assert RULE["volatility"].read(seen(vitals, without)) == pytest.approx(
        math.sqrt(12 * 13 / 25**2 - 12 * 13 / 25**2 / 32)
    )
    assert RULE["volatility"].read(seen(vitals, series(acr=[0.0] * 20))) is None
    nobody_knows = series(acr=swinging[:24])
    assert RULE["volatility"].read(seen(Vitals(step=25, acr=0.0), nobody_knows)) is None


def test_steps_of_unequal_size_count_by_their_harmonic_mean():
    # Mean of 1/32, 1/8 is 5/64: sampling noise is that of 12.8 groups, not of 20.
    trends = series(acr=[0.5, 0.5], num_groups=[32, 8])
    assert trends.groups == pytest.approx(12.8)


def test_a_run_without_gradient_and_without_collapse_has_a_dead_gradient():
    alive = series(grad_norm=[1.0] * 10, acr=[0.2] * 10)
    dead = Vitals(step=11, grad_norm=0.0, acr=0.2)
    assert RULE["gradient_dead"].read(seen(dead, alive)) == 1.0
    assert RULE["no_signal"].read(seen(dead, alive)) == 0.0
    explained = replace(dead, acr=1.0)
    assert RULE["gradient_dead"].read(seen(explained, alive)) == 0.0
    assert RULE["no_signal"].read(seen(explained, alive)) == 4.0  # groups, when nobody says
    assert RULE["no_signal"].read(seen(replace(explained, num_groups=32), alive)) == 32.0


def test_a_gradient_of_a_thousandth_of_the_usual_is_dead():
    alive = series(grad_norm=[1.0] * 5)
    assert alive.grad_usual == 1.0
    assert alive.is_dead(0.001)
    assert not alive.is_dead(0.0011)
    assert NOTHING_SEEN.is_dead(1e-8)


def test_the_usual_gradient_norm_ignores_what_it_judges():
    trends = series(grad_norm=[1.0] * 5 + [1e6] * 50)
    assert trends.grad_usual == 1.0
    assert series(grad_norm=[1.0] * 5 + [2.0] * 10).grad_usual == pytest.approx(1.02**10, rel=1e-3)
    assert series(grad_norm=[1.0] * 5 + [0.5] * 10).grad_usual == pytest.approx(1.02**-10, rel=1e-3)


def test_entropy_is_compared_with_the_median_of_steps_5_to_25():
    # Steps 1 to 4 do not count; of 21 values 1.0 .. 3.0 the median is 2.0.
    entropies = [4.0] * 4 + [1.0 + 0.1 * place for place in range(21)]
    track = series(entropy=entropies).entropy
    assert track.baseline == pytest.approx(2.0)
    assert track.early == ()
    assert series(entropy=entropies[:24]).entropy.baseline is None


def test_a_log_with_one_row_in_ten_steps_has_a_baseline_after_five_values():
    trends = trends_of(*[Vitals(step=1 + 10 * row, entropy=1.0 + row) for row in range(6)])
    assert trends.entropy.baseline == 4.0  # rows 1 to 5: 2, 3, 4, 5, 6


def test_a_baseline_taken_during_the_fall_gives_way_to_the_start():
    assert series(entropy=[0.6] * 3 + [0.001] * 30).entropy.baseline == 0.6


def test_relative_entropy_needs_a_baseline_above_zero():
    flat = series(entropy=[0.0] * 30)
    assert RULE["entropy_collapse"].read(seen(Vitals(step=31, entropy=0.0), flat)) is None
    negative = series(entropy=[-1.0] * 30)
    assert RULE["entropy_collapse"].read(seen(Vitals(step=31, entropy=-1.0), negative)) is None


def test_a_small_rise_of_a_small_entropy_is_no_explosion():
    low = series(entropy=[0.02] * 20)
    rise = low.after(Vitals(step=21, entropy=0.1)).after(Vitals(step=22, entropy=0.1))
    assert RULE["entropy_explosion"].read(seen(Vitals(step=23, entropy=0.1), rise)) == 0.0


def test_low_entropy_says_nothing_in_the_first_twenty_steps():
    trends = series(entropy=[0.1] * 19)
    assert RULE["entropy_low"].read(seen(Vitals(step=20, entropy=0.1), trends)) is None
    trends = series(entropy=[0.1] * 20)
    assert RULE["entropy_low"].read(seen(Vitals(step=21, entropy=0.1), trends)) == 0.1


def test_kl_is_watched_by_its_magnitude_and_without_single_spikes():
    trends = series(kl=[-0.1, 2.6, 0.1, -0.1])
    assert RULE["kl_drift"].read(seen(Vitals(step=5, kl=0.1), trends)) == pytest.approx(0.1)


def test_lengths_are_pinned_only_if_they_grew_to_the_limit():
    grown = series(completion_length_mean=[300.0] * 5 + [1000.0] * 5)
    at_limit = Vitals(step=11, completion_length_mean=1000.0)
    assert RULE["length_at_limit"].read(seen(at_limit, grown)) == 1.0
    always = series(completion_length_mean=[1000.0] * 10)
    assert RULE["length_at_limit"].read(seen(at_limit, always)) == 0.0


def test_lengths_that_still_vary_are_not_pinned_unless_the_longest_is_known():
    varied = series(completion_length_mean=[300.0] * 5 + [990.0, 970.0, 1000.0, 960.0])
    vitals = Vitals(step=10, completion_length_mean=980.0)
    assert RULE["length_at_limit"].read(seen(vitals, varied)) == 0.0
    known = replace(vitals, completion_length_max=1000.0)
    assert RULE["length_at_limit"].read(seen(known, varied)) == pytest.approx(0.98)


def test_where_truncation_is_counted_lengths_need_not_be_guessed():
    grown = series(completion_length_mean=[300.0] * 5 + [1000.0] * 5)
    counted = Vitals(step=11, completion_length_mean=1000.0, truncated_fraction=0.1)
    assert RULE["length_at_limit"].read(seen(counted, grown)) == 0.0


def test_a_reward_function_is_constant_after_25_steps_and_varied_after_a_few():
    constant, varied = {"format": (0.1, 0.0)}, {"format": (0.1, 0.2)}
    trends = series(components=[constant] * (CONSTANT_STEPS - 1))
    assert trends.constant_functions == ()
    trends = trends.after(Vitals(step=25, components=constant))
    assert trends.constant_functions == ("format",)
    trends = trends.after(Vitals(step=26, components=varied))
    assert trends.constant_functions == ()


def test_a_function_without_a_deviation_is_not_judged():
    trends = series(components=[{"a": (0.1, None), "b": (None, 0.0)}] * 30)
    assert trends.constant == {}


def test_only_so_many_constant_functions_are_followed():
    many = {f"function {place}": (0.0, 0.0) for place in range(50)}
    assert len(series(components=[many] * 30).constant) == MAX_COMPONENTS


def test_a_reward_that_falls_within_its_noise_has_kept_everything():
    trend = RewardTrend()
    for step in range(100):
        trend = trend.after(0.5 + (0.1 if step % 2 else -0.1))
    assert trend.kept_share == 1.0
    assert RewardTrend().kept_share is None


def test_a_reward_that_fell_to_its_lowest_has_kept_nothing():
    trend = RewardTrend().after(0.0)
    for _ in range(50):
        trend = trend.after(0.5)
    assert trend.kept_share == 1.0
    for _ in range(60):
        trend = trend.after(0.0)
    assert trend.kept_share == pytest.approx(0.0, abs=1e-4)


def test_truncation_is_compared_with_its_first_ten_steps():
    trends = series(truncated_fraction=[0.1] * 10 + [0.6] * 10)
    assert trends.truncated_first == pytest.approx(0.1)
    found = seen(Vitals(step=21, truncated_fraction=0.6), trends)
    assert RULE["truncation_rising"].read(found) == pytest.approx(0.5)


def test_the_temperature_of_the_baseline_is_that_of_the_first_steps():
    assert series(temperature=[0.7] * 10 + [0.8] * 15 + [1.2] * 20).temperature == 0.8
    assert series(temperature=[1.0] * 30 + [1.2]).temperature == 1.0
    late = series(entropy=[1.0] * 40).after(Vitals(step=41, temperature=0.9))
    assert late.temperature == 0.9


def test_one_track_value_is_no_start_yet():
    track = Track().after(1.0, 0)
    assert (track.first, track.recent) == (None, (1.0,))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_the_median_has_as_many_values_on_either_side(values):
    middle = median(tuple(values))
    assert sum(value < middle for value in values) <= len(values) / 2
    assert sum(value > middle for value in values) <= len(values) / 2


@given(st.floats(allow_nan=True, allow_infinity=True) | st.none())
def test_what_is_measured_is_finite_and_bounded(value):
    found = measured(value)
    assert (found is None) == (value is None or not math.isfinite(value))
    assert found is None or abs(kept(found)) <= LIMIT


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=60))
def test_a_trend_keeps_few_and_finite_numbers_whatever_it_sees(values):
    trends = series(entropy=values, reward_mean=values) if values else NOTHING_SEEN
    assert len(trends.entropy.recent) <= RECENT
    assert len(trends.entropy.early) <= 21
    reward = trends.reward
    assert all(map(math.isfinite, (reward.fast, reward.middle, reward.slow, reward.noise)))
    share = reward.kept_share
    assert share is None or share >= 0.0
