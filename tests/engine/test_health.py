"""Alarms: raised when it lasts, resolved when it is over, silent in between."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_service.engine.events import Event
from monitor_service.engine.health import (
    HEALTH_UNKNOWN,
    Health,
    Holds,
    Verdict,
    Vitals,
    examine,
    holds,
    silence,
)
from monitor_service.engine.rules import RULE
from monitor_service.engine.smoothing import Rates

MOST_BYTES = 4096
"""Of a state with every rule raised; a run with a few alarms takes less than half."""

maybe = st.none() | st.floats(allow_nan=False)
fractions = st.none() | st.floats(0, 1)
pooled_rates = st.builds(
    lambda parts, sides, groups: Rates(
        acr=sum(parts),
        wrong=parts[0] if sides else None,
        correct=parts[1] if sides else None,
        num_effective=groups,
    ),
    st.tuples(st.floats(0, 0.33), st.floats(0, 0.33), st.floats(0, 0.33)),
    st.booleans(),
    st.floats(0.5, 1e6),
)
any_vitals = st.builds(
    Vitals,
    step=st.just(0),
    num_groups=st.integers(0, 1000),
    acr=fractions,
    pooled=st.none() | pooled_rates,
    reward_mean=maybe,
    reward_is_degenerate=st.booleans(),
    components=st.dictionaries(st.text(max_size=60), st.tuples(maybe, maybe), max_size=12),
    entropy=maybe,
    kl=maybe,
    grad_norm=maybe,
    clip_fraction=fractions,
    completion_length_mean=st.none() | st.floats(0, 1e6),
    completion_length_max=st.none() | st.floats(0, 1e6),
    truncated_fraction=fractions,
    temperature=st.none() | st.floats(0, 2),
    non_finite=st.lists(st.text(max_size=30), max_size=8).map(tuple),
    settings_lag_steps=st.none() | st.integers(-3, 1000),
    not_applied=st.dictionaries(st.text(max_size=30), st.text(max_size=400), max_size=8),
    acr_primary=fractions,
)


def rates(wrong: float = 0.0, correct: float = 0.0, other: float = 0.0) -> Rates:
    """Pooled over so many groups that their standard error vanishes."""
    return Rates(acr=wrong + correct + other, wrong=wrong, correct=correct, num_effective=1e12)


def collapsed(acr: float, *, num_steps: int = 1, **figures: Any) -> list[Vitals]:
    """Steps with this rate, all-wrong unless told otherwise."""
    figures = {"pooled": rates(wrong=acr), **figures}
    return [Vitals(step=0, acr=acr, **figures)] * num_steps


def steady(num_steps: int, **figures: Any) -> list[Vitals]:
    return [Vitals(step=0, **figures)] * num_steps


def examined(
    steps: Iterable[Vitals], health: Health = HEALTH_UNKNOWN
) -> tuple[Health, list[Event]]:
    """The health after these steps, numbered on from where it was, and all that was told."""
    told: list[Event] = []
    for vitals in steps:
        health, events = examine(health, replace(vitals, step=health.step + 1))
        told += events
    return health, told


def names(health: Health) -> set[str]:
    return {verdict.rule for verdict in health.verdicts}


def verdict(health: Health, rule: str) -> Verdict:
    return next(found for found in health.verdicts if found.rule == rule)


def test_a_run_nobody_has_seen_has_no_verdicts():
    assert HEALTH_UNKNOWN.verdicts == ()
    assert holds(HEALTH_UNKNOWN) == Holds(everything="", correct="")


def test_fifty_steps_above_the_level_are_no_stall_and_the_next_one_is():
    health, told = examined(collapsed(0.36, num_steps=50))
    assert (names(health), told) == (set(), [])
    health, told = examined(collapsed(0.36), health)
    assert [(event.kind, event.step) for event in told] == [("alarm_raised", 51)]
    found = verdict(health, "stall")
    assert (found.severity, found.since_step, found.step) == ("warning", 1, 51)
    assert found.evidence["acr_wrong"] == 0.36
    assert told[0].data["rule"] == "stall"
    assert told[0].data["advice"] == found.advice
    assert told[0].message == found.cause


def test_exactly_the_level_never_stalls():
    health, _ = examined(collapsed(0.35, num_steps=200))
    assert names(health) == set()


def test_one_step_at_the_level_starts_the_count_anew():
    steps = collapsed(0.36, num_steps=50) + collapsed(0.35) + collapsed(0.36, num_steps=50)
    health, _ = examined(steps)
    assert names(health) == set()
    health, _ = examined(collapsed(0.36), health)
    assert names(health) == {"stall"}


def test_a_stall_of_unknown_kind_says_so_and_is_no_warning():
    unknown = Rates(acr=0.5, wrong=None, correct=None, num_effective=1e12)
    found = verdict(examined(collapsed(0.5, num_steps=51, pooled=unknown))[0], "stall")
    assert found.severity == "info"
    assert "cannot be told" in found.cause
    assert "per group" in found.advice


def test_advice_on_a_collapse_depends_on_its_kind():
    wrong = verdict(examined(collapsed(0.5, num_steps=51))[0], "stall")
    correct = verdict(
        examined(collapsed(0.5, num_steps=51, pooled=rates(correct=0.5)))[0], "saturation"
    )
    other = verdict(
        examined(collapsed(0.5, num_steps=51, pooled=rates(other=0.5)))[0], "middle_values"
    )
    assert "too hard" in wrong.advice
    assert "too easy" in correct.advice
    assert "primary_reward" in other.advice
    assert (wrong.severity, correct.severity, other.severity) == ("warning", "info", "warning")


def test_a_bad_start_is_known_at_step_100_and_history_once_the_collapse_is_over():
    health, _ = examined(collapsed(0.51, num_steps=99))
    assert "acr_100" not in names(health)
    health, _ = examined(collapsed(0.51), health)
    found = verdict(health, "acr_100")
    assert (found.severity, found.evidence["acr_100"]) == ("warning", 0.51)
    health, _ = examined(collapsed(0.1, num_steps=49), health)
    assert "acr_100" in names(health)
    health, _ = examined(collapsed(0.1), health)
    assert "acr_100" not in names(health)


def test_a_bad_start_of_correct_groups_is_no_warning():
    health, _ = examined(collapsed(0.6, num_steps=100, pooled=rates(correct=0.6)))
    assert verdict(health, "acr_100").severity == "info"


def test_wild_swings_of_many_groups_are_volatile_and_of_one_group_are_chance():
    swings = [vitals for _ in range(30) for vitals in (*collapsed(0.0), *collapsed(0.8))]
    many = [replace(vitals, num_groups=64) for vitals in swings]
    assert verdict(examined(many)[0], "volatility").evidence["num_groups"] == 64
    alternating = [vitals for _ in range(60) for vitals in (*collapsed(0.0), *collapsed(1.0))]
    one = [replace(vitals, num_groups=1, pooled=None) for vitals in alternating]
    assert "volatility" not in names(examined(one)[0])


def test_collapse_without_a_gradient_burns_gpu_hours():
    alive = collapsed(0.3, num_steps=10, num_groups=32, grad_norm=0.5, pooled=None)
    dead = collapsed(1.0, num_groups=32, grad_norm=0.0)
    health, told = examined(alive + dead * 12)
    # 64 groups are full at the second dead step; ten steps from there on: the 11th.
    assert [(event.data["rule"], event.step) for event in told] == [("no_signal", 21)]
    found = verdict(health, "no_signal")
    assert found.severity == "critical"
    assert "learns nothing" in found.cause
    health, _ = examined(alive[:5], health)
    assert "no_signal" not in names(health)


def test_a_solved_task_without_a_gradient_is_a_warning_to_stop():
    solved = collapsed(1.0, num_groups=32, grad_norm=0.0, pooled=rates(correct=1.0))
    health, _ = examined(collapsed(0.3, num_steps=10, grad_norm=0.5, pooled=None) + solved * 20)
    assert verdict(health, "no_signal").severity == "warning"


def test_one_prompt_a_step_must_be_dead_for_74_steps():
    dead = collapsed(1.0, num_groups=1, grad_norm=0.0, pooled=None)
    assert "no_signal" not in names(examined(dead * 72)[0])
    assert "no_signal" in names(examined(dead * 73)[0])  # 64 groups at step 64, and 9 more


def test_a_gradient_that_dies_while_groups_differ_is_a_bug():
    alive = collapsed(0.2, num_steps=10, grad_norm=0.5)
    health, _ = examined(alive + collapsed(0.2, num_steps=10, grad_norm=0.0))
    found = verdict(health, "gradient_dead")
    assert found.severity == "critical"
    assert "frozen" in found.advice


def test_a_figure_that_is_not_finite_twice_is_critical():
    health, _ = examined(steady(1, non_finite=("loss",)))
    assert names(health) == set()
    health, _ = examined(steady(1, non_finite=("loss", "entropy", "kl", "grad_norm")), health)
    found = verdict(health, "not_finite")
    assert found.severity == "critical"
    assert "loss, entropy, kl and 1 more" in found.cause
    assert holds(health).everything == "not_finite"


def test_isolated_infinite_norms_of_a_loss_scaler_are_routine():
    routine = (steady(1, non_finite=("grad_norm",)) + steady(1)) * 50
    assert names(examined(routine)[0]) == set()


def test_an_exploding_gradient_is_told_once_and_again_when_it_is_critical():
    steps = steady(10, grad_norm=1.0) + steady(20, grad_norm=20.0) + steady(20, grad_norm=200.0)
    health, told = examined(steps)
    # The median of five passes at the third large value; five steps from there on.
    assert [(event.kind, event.step) for event in told] == [
        ("alarm_raised", 17),
        ("alarm_updated", 33),
    ]
    assert verdict(health, "gradient_explosion").severity == "critical"


def test_one_gradient_spike_holds_interventions_without_an_alarm():
    health, told = examined(steady(10, grad_norm=1.0) + steady(1, grad_norm=5.1))
    assert told == []
    assert holds(health) == Holds(everything="gradient_explosion")
    health, _ = examined(steady(1, grad_norm=1.0), health)
    assert holds(health) == Holds()


def test_a_reward_that_falls_to_nothing_is_critical():
    health, told = examined(steady(5, reward_mean=0.0) + steady(60, reward_mean=0.6))
    assert told == []
    health, told = examined(steady(60, reward_mean=0.0), health)
    found = verdict(health, "reward_collapse")
    assert found.severity == "critical"
    assert found.evidence["best"] == pytest.approx(0.6, abs=0.02)


def test_the_same_reward_for_everybody_asks_whether_the_verifier_lives():
    same = collapsed(1.0, num_steps=10, reward_mean=0.0, reward_is_degenerate=True)
    found = verdict(examined(same)[0], "reward_degenerate")
    assert found.severity == "warning"
    assert "by hand" in found.advice
    solved = [replace(vitals, pooled=rates(correct=1.0)) for vitals in same]
    assert verdict(examined(solved)[0], "reward_degenerate").severity == "info"


def test_a_constant_reward_function_is_named():
    components = {"format": (0.1, 0.0), "accuracy": (0.4, 0.5)}
    health, _ = examined(steady(25, components=components))
    found = verdict(health, "reward_constant")
    assert found.severity == "info"
    assert "1 of 2" in found.cause
    assert "format (0.1)" in found.cause
    gone = steady(1, components={"accuracy": (0.4, 0.5)})
    assert "format" in verdict(examined(gone, health)[0], "reward_constant").cause


def test_only_constant_reward_functions_are_a_warning_unless_all_is_solved():
    components = {"format": (0.1, 0.0), "accuracy": (0.0, 0.0)}
    health, _ = examined(steady(25, components=components))
    assert verdict(health, "reward_constant").severity == "warning"
    solved = collapsed(1.0, num_steps=25, pooled=rates(correct=1.0), components=components)
    assert verdict(examined(solved)[0], "reward_constant").severity == "info"


def test_low_entropy_with_a_reward_that_holds_is_weak_evidence():
    steps = steady(30, entropy=1.0, reward_mean=0.5) + steady(20, entropy=0.2, reward_mean=0.6)
    health, _ = examined(steps)
    found = verdict(health, "entropy_collapse")
    assert found.severity == "info"
    assert "weak evidence" in found.cause
    assert holds(health) == Holds(correct="entropy_collapse")


@pytest.mark.parametrize(("entropy", "severity"), [(0.2, "warning"), (0.05, "critical")])
def test_low_entropy_with_a_lost_reward_is_more(entropy: float, severity: str):
    before = steady(5, entropy=1.0, reward_mean=0.0) + steady(40, entropy=1.0, reward_mean=0.5)
    health, _ = examined(before + steady(60, entropy=entropy, reward_mean=0.1))
    found = verdict(health, "entropy_collapse")
    assert found.severity == severity
    assert "is left" in found.cause


def test_an_absolute_level_of_entropy_means_little_for_a_model_that_began_there():
    health, told = examined(steady(70, entropy=0.4))
    assert told == []
    health, told = examined(steady(1, entropy=0.4), health)  # 20 of warm-up, then the 51st
    assert [event.data["rule"] for event in told] == ["entropy_low"]
    assert verdict(health, "entropy_low").severity == "info"


def test_half_a_nat_exactly_starts_the_count_of_low_entropy_anew():
    health, _ = examined(steady(60, entropy=0.4) + steady(1, entropy=0.5))
    assert names(examined(steady(50, entropy=0.4), health)[0]) == set()
    assert names(examined(steady(51, entropy=0.4), health)[0]) == {"entropy_low"}


def test_an_absolute_level_warns_of_a_model_that_began_high_and_lost_its_reward():
    before = steady(5, entropy=1.2, reward_mean=0.0) + steady(30, entropy=1.2, reward_mean=0.5)
    health, _ = examined(before + steady(80, entropy=0.45, reward_mean=0.1))
    assert verdict(health, "entropy_low").severity == "warning"


def test_entropy_that_explodes_from_the_first_steps_is_seen():
    health, _ = examined(steady(3, entropy=0.85) + steady(8, entropy=5.0))
    assert verdict(health, "entropy_explosion").severity == "critical"


def test_entropy_under_another_temperature_says_so():
    steps = steady(30, entropy=1.0, temperature=1.0) + steady(20, entropy=0.2, temperature=0.7)
    found = verdict(examined(steps)[0], "entropy_collapse")
    assert "the sampling temperature is 0.7 and was 1" in found.cause
    assert found.evidence["temperature_before"] == 1.0


def test_kl_spikes_of_a_healthy_run_page_nobody():
    spiky = (steady(9, kl=0.09) + steady(1, kl=2.64)) * 50
    health, told = examined(spiky)
    assert (told, holds(health)) == ([], Holds())


def test_kl_that_stays_high_drifts_and_then_explodes():
    health, told = examined(steady(30, kl=0.6))
    assert [event.data["rule"] for event in told] == ["kl_drift"]
    assert holds(health).everything == "kl_drift"
    health, told = examined(steady(10, kl=8.0), health)
    assert verdict(health, "kl_explosion").severity == "critical"
    assert [event.kind for event in told] == ["alarm_updated", "alarm_raised"]
    assert holds(health).everything == "kl_explosion"


def test_truncation_that_creeps_up_is_told_before_nearly_all_is_cut():
    creeping = [Vitals(step=0, truncated_fraction=min(1.0, 0.01 * step)) for step in range(140)]
    health, told = examined(creeping)
    raised = [event.data["rule"] for event in told if event.kind == "alarm_raised"]
    assert raised == ["truncation_rising", "truncation"]
    assert verdict(health, "truncation").severity == "critical"


def test_answers_that_shrink_to_nothing_are_told():
    health, _ = examined(steady(5, completion_length_mean=53.0))
    health, _ = examined(steady(15, completion_length_mean=2.5), health)
    found = verdict(health, "length_collapse")
    assert "completions have 2.5 tokens, it was 53" in found.cause


def test_answers_that_run_into_the_limit_are_told():
    steps = steady(5, completion_length_mean=300.0) + steady(15, completion_length_mean=1024.0)
    assert "length_at_limit" in names(examined(steps)[0])


def test_a_heavily_clipped_update_is_told():
    assert "clipping" in names(examined(steady(15, clip_fraction=0.98))[0])


def test_an_accuracy_that_collapses_behind_other_rewards_is_told():
    steps = collapsed(0.1, num_steps=80, acr_primary=0.7)
    found = verdict(examined(steps)[0], "hidden_collapse")
    assert (found.severity, found.evidence["acr_primary"]) == ("info", 0.7)


def test_settings_that_arrive_late_are_told():
    assert "settings_late" not in names(examined(steady(50, settings_lag_steps=2))[0])
    assert "settings_late" in names(examined(steady(5, settings_lag_steps=6))[0])


def test_a_knob_that_was_ignored_is_told_with_the_trainers_reason():
    reason = "{beta} was 0 at the start: there is no reference model"
    health, told = examined(steady(3, not_applied={"temperature": "why", "beta": reason}))
    assert f"did not apply beta: {reason} (2 in all)" in verdict(health, "settings_ignored").cause
    assert [event.kind for event in told] == ["alarm_raised"]
    health, told = examined(steady(2), health)
    assert [event.kind for event in told] == ["alarm_resolved"]
    assert told[0].message == "settings_ignored is over: it was raised since step 1"


def test_an_alarm_only_gets_worse_until_it_ends():
    health, _ = examined(steady(10, grad_norm=1.0) + steady(20, grad_norm=200.0))
    health, told = examined(steady(20, grad_norm=20.0), health)
    assert (verdict(health, "gradient_explosion").severity, told) == ("critical", [])
    health, told = examined(steady(15, grad_norm=1.0), health)
    assert [event.kind for event in told] == ["alarm_resolved"]


def test_verdicts_come_most_severe_first_then_oldest():
    steps = steady(40, kl=0.6, entropy=0.4, truncated_fraction=1.0) + steady(60, entropy=0.4)
    found = [(one.severity, one.rule) for one in examined(steps)[0].verdicts]
    assert found == [("critical", "truncation"), ("warning", "kl_drift"), ("info", "entropy_low")]


def test_a_state_of_another_version_may_name_rules_this_one_does_not_know():
    health, _ = examined(steady(30, kl=0.6))
    alarm = health.raised["kl_drift"]
    other = replace(health, raised={"kl_drift": alarm, "no_longer_a_rule": alarm})
    assert names(other) == {"kl_drift"}
    stripped = replace(health, raised={"kl_drift": replace(alarm, evidence={})})
    assert "unknown" in verdict(stripped, "kl_drift").cause


def test_missing_figures_hold_an_alarm_and_raise_none():
    health, _ = examined(steady(30, kl=0.6))
    after, told = examined(steady(500), health)
    assert (names(after), told) == ({"kl_drift"}, [])
    pending, _ = examined(steady(22, kl=0.6))  # the median is known at once: raised at step 20
    assert "kl_drift" in names(pending)
    almost, _ = examined(steady(19, kl=0.6))
    assert names(examined(steady(500), almost)[0]) == set()
    assert names(examined(steady(1, kl=0.6), examined(steady(500), almost)[0])[0]) == {"kl_drift"}


def test_steps_that_were_never_reported_do_not_matter():
    health = HEALTH_UNKNOWN
    for place in range(20):
        health, _ = examine(health, Vitals(step=1 + 7 * place, kl=0.6))
    assert verdict(health, "kl_drift").since_step == 1


@pytest.mark.parametrize("period", [1, 2, 3, 5])
def test_a_signal_that_swings_across_a_level_does_not_flap(period: int):
    low = steady(period, kl=0.3, truncated_fraction=0.5, entropy=0.6, clip_fraction=0.1)
    high = steady(period, kl=0.7, truncated_fraction=0.9, entropy=0.4, clip_fraction=0.5)
    _, told = examined((high + low) * 100)
    by_rule: dict[str, int] = {}
    for event in told:
        by_rule[event.data["rule"]] = by_rule.get(event.data["rule"], 0) + 1
    assert all(count <= 1 for count in by_rule.values()), by_rule


@given(st.lists(st.sampled_from([0.2, 0.45, 0.9]), min_size=1, max_size=400))
def test_an_alarm_is_never_told_more_often_than_its_counts_allow(kls):
    rule = RULE["kl_drift"]
    _, told = examined([Vitals(step=0, kl=kl) for kl in kls])
    changes = [event for event in told if event.kind != "alarm_updated"]
    assert len(changes) <= len(kls) / min(rule.raise_after, rule.clear_after) * 2
    kinds = [event.kind for event in changes]
    assert kinds == (["alarm_raised", "alarm_resolved"] * len(kinds))[: len(kinds)]


@given(st.lists(any_vitals, max_size=40))
@settings(max_examples=60)
def test_whatever_is_reported_the_state_stays_small_and_can_be_stored(steps):
    health, told = examined(steps)
    stored = msgspec.json.encode(health)
    assert msgspec.json.decode(stored, type=Health) == health
    assert len(stored) < MOST_BYTES
    for found in health.verdicts:
        assert found.cause
        assert found.advice
        for value in found.evidence.values():
            assert isinstance(value, str) or math.isfinite(value)
    msgspec.json.encode([event.data for event in told])


@given(st.lists(any_vitals, max_size=20))
@settings(max_examples=30)
def test_the_same_steps_give_the_same_health(steps):
    assert examined(steps) == examined(steps)


@given(st.lists(any_vitals, max_size=20), st.integers(0, 20))
@settings(max_examples=30)
def test_a_state_that_was_stored_and_read_goes_on_as_before(steps, cut):
    health, _ = examined(steps[:cut])
    read = msgspec.json.decode(msgspec.json.encode(health), type=Health)
    assert examined(steps[cut:], read) == examined(steps[cut:], health)


def test_figures_that_are_not_finite_after_all_are_taken_as_missing():
    health, told = examined(steady(30, kl=math.nan, entropy=math.inf, reward_mean=-math.inf))
    assert (health.trends.kl, told) == ((), [])
    unknown = Rates(acr=math.nan, wrong=0.5, correct=math.nan, num_effective=100.0)
    health, told = examined(collapsed(0.5, num_steps=60, pooled=unknown))
    msgspec.json.decode(msgspec.json.encode(health), type=Health)


def test_a_run_of_many_alarms_is_stored_in_two_kilobytes():
    early = collapsed(
        0.3, num_steps=30, grad_norm=1.0, entropy=1.0, reward_mean=0.5, kl=0.1, num_groups=32
    )
    late = collapsed(
        1.0,
        num_steps=60,
        num_groups=32,
        grad_norm=0.0,
        entropy=0.05,
        reward_mean=0.0,
        reward_is_degenerate=True,
        kl=3.0,
    )
    health, _ = examined(early + late)
    assert len(health.verdicts) >= 6
    assert len(msgspec.json.encode(health)) < 2500


def test_silence_is_ten_minutes_or_ten_steps():
    assert silence(last_report_at_s=0, now_s=600, typical_step_s=None, step=7) is None
    found = silence(last_report_at_s=0, now_s=601, typical_step_s=None, step=7)
    assert found is not None
    assert (found.rule, found.severity, found.since_step) == ("reports_stopped", "critical", 7)
    assert "no report for 601 s; more than 600 s" in found.cause
    assert silence(last_report_at_s=0, now_s=1200, typical_step_s=120.0, step=7) is None
    slow = silence(last_report_at_s=0, now_s=1201, typical_step_s=120.0, step=7)
    assert slow is not None
    assert "ten typical steps of 120 s" in slow.cause
