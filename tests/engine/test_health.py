"""Alarms: raised when it lasts, resolved when it is over, silent in between; and their state."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor_service.engine.health.alarms import (
    HEALTH_UNKNOWN,
    Health,
    Vitals,
    examine,
    silence,
)
from monitor_service.engine.health.rules import RULE
from monitor_service.engine.smoothing import Rates
from tests.engine.vitals import any_vitals, collapsed, examined, names, steady, verdict

MOST_BYTES = 4096
"""Of a state with every rule raised; a run with a few alarms takes less than half."""


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
