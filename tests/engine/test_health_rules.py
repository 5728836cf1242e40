"""Every health rule: what raises it, what does not, and what it then says."""

import pytest
from msgspec.structs import replace

from monitor_service.engine.health.alarms import (
    HEALTH_UNKNOWN,
    Holds,
    Vitals,
    holds,
)
from monitor_service.engine.smoothing import Rates
from tests.engine.vitals import collapsed, examined, names, rates, steady, verdict


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
