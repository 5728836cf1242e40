"""From a log to a headline, verdicts, and what could not be judged."""

import math

import pytest

from monitor_service.diagnose.headline import reward_change
from monitor_service.diagnose.sentences import advice_of, forecast_lines
from monitor_service.diagnose.series import Series, groups_behind
from monitor_service.engine.collapse import RewardRange
from tests.diagnose.samples import collapsing, jsonl, judged, rising, rollouts


def test_a_healthy_run_is_called_healthy_with_its_reward(tmp_path):
    one = judged(jsonl(tmp_path / "run.jsonl", rising()))
    assert one.worst is None
    assert one.headline.startswith("Healthy: reward rose from 0.2")
    assert one.headline.endswith("; no warning")


def test_a_collapse_is_dated_by_the_first_step_of_the_final_reward(tmp_path):
    one = judged(jsonl(tmp_path / "run.jsonl", collapsing(60, at=31)))
    assert one.headline.startswith(
        "Collapsed at step 31: reward 0 for good, gradient norm exactly 0"
    )
    assert one.worst == "critical"
    rules = {episode.verdict.rule for episode in one.standing}
    assert {"no_signal", "reward_collapse"} <= rules


def test_a_run_that_was_never_better_has_not_collapsed(tmp_path):
    rows = [{**row, "reward": 0.0 if row["step"] % 4 else 0.1} for row in rising(60)]
    for row in rows[-6:]:
        row["reward"] = 0.0
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    assert "Collapsed" not in one.headline


def test_few_rows_are_not_called_healthy(tmp_path):
    few = judged(jsonl(tmp_path / "few.jsonl", rising(120)[::40]))
    assert few.headline == "No warning, and little to judge by: 3 rows hold a reward, 10 are needed"
    one = judged(jsonl(tmp_path / "one.jsonl", rising(1)))
    assert one.headline.endswith("1 row holds a reward, 10 are needed")


def test_a_run_that_is_nan_from_its_first_step_is_no_healthy_one(tmp_path):
    rows = [{**row, "reward": math.nan, "loss": math.nan} for row in rising(40)]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    assert one.worst == "critical"
    assert one.replay.series.non_finite[1] == ("reward_mean", "loss")


def test_a_constant_reward_is_named(tmp_path):
    rows = [{**row, "reward": 0.5} for row in rising(40)]
    assert "reward was 0.5 on every row" in judged(jsonl(tmp_path / "run.jsonl", rows)).headline


def test_a_kl_that_is_summed_over_tokens_is_not_judged_by_levels_of_a_mean(tmp_path):
    rows = [
        {"objective/kl": 15.0, "objective/scores": step / 100, "policy/clipfrac_avg": 0.1}
        for step in range(100)
    ]
    one = judged(jsonl(tmp_path / "ppo.jsonl", rows))
    assert one.worst is None
    assert "kl" not in one.ranges
    assert any("sum over the tokens" in caveat for caveat in one.caveats)
    assert any("KL" in told for told in one.not_judged)


def test_counts_of_groups_without_a_total_are_left_out(tmp_path):
    rows = [{"step": step, "reward": 0.5, "solve_all": 3 * (step % 2)} for step in range(1, 31)]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    assert "solve_all counts groups, but not out of how many; not used" in one.caveats


def test_sides_that_contradict_their_sum_are_left_out_and_rounded_ones_are_not(tmp_path):
    rows = [
        {"step": 1, "frac_reward_zero_std": 0.5, "solve_none": 0.4, "solve_all": 0.3},
        {"step": 2, "frac_reward_zero_std": 0.6667, "solve_none": 0.3334, "solve_all": 0.3334},
    ]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    first, second = (one.replay.series.collapse[step] for step in (1, 2))
    assert (first.acr, first.wrong, first.correct) == (0.5, None, None)
    # .3334 + .3334 is .0001 too much, as rounding makes it.
    assert second.wrong == second.correct == pytest.approx(0.6667 / 2)
    assert any("on 1 steps; their sides are not used there" in said for said in one.caveats)


def test_a_forecast_begins_with_what_it_holds_for(tmp_path):
    one = judged(jsonl(tmp_path / "run.jsonl", rising()))
    (line,) = forecast_lines(one)
    assert line.startswith("only if this run is like those of the paper (MATH-500")


def test_an_alarm_that_was_resolved_is_told_with_both_steps(tmp_path):
    rows = rising(120)
    for row in rows[39:60]:
        row["kl"] = 50.0
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    resolved = [episode for episode in one.resolved if episode.verdict.rule.startswith("kl_")]
    assert resolved
    # The rule looks at a median of five steps.
    assert 40 <= resolved[0].verdict.since_step <= 45
    assert 60 < (resolved[0].resolved or 0) < 100
    assert not [episode for episode in one.standing if episode.verdict.severity != "info"]
    assert one.headline.startswith("No warning at the end; ")


def test_a_share_without_sides_leaves_them_unknown(tmp_path):
    one = judged(jsonl(tmp_path / "run.jsonl", rising()))
    values = one.replay.series.values
    assert set(values["acr"].values()) == {0.125, 0.25, 0.375}
    assert "acr_wrong" not in values
    assert any(told.startswith("stalled against saturated") for told in one.not_judged)
    assert any("multiples of 1/8" in caveat for caveat in one.caveats)
    assert any("scale_rewards=batch" in caveat for caveat in one.caveats)


def test_mixed_and_all_good_groups_give_acr_and_its_sides(tmp_path):
    rows = [
        {
            "step": step,
            "env/all/reward/total": 0.5,
            "env/all/by_group/frac_mixed": 0.5,
            "env/all/by_group/frac_all_good": 0.25,
            "env/all/by_group/frac_all_bad": 0.125,
        }
        for step in range(30)
    ]
    values = judged(jsonl(tmp_path / "run.jsonl", rows)).replay.series.values
    # 1 - 0.5 have no signal: 0.25 right, 0.125 wrong, so 0.125 agree on something else.
    assert values["acr"][0] == 0.5
    assert values["acr_other"][0] == 0.125


def test_counts_of_groups_become_rates_through_their_rows(tmp_path):
    rows = [
        {"step": step, "mean_reward": 0.5, "all_fail_groups": fail, "all_pass_groups": 0}
        for step in range(30)
        for fail in (0, 1, 1, 0)
    ]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    assert one.replay.series.values["acr_wrong"][0] == 0.5
    assert one.replay.series.is_lower_bound
    assert one.replay.forecast is None


def test_a_reward_std_of_zero_bounds_acr_from_below(tmp_path):
    rows = [
        {"step": step, "reward": float(step % 4 == 0), "reward_std": 0.0 if step % 4 else 0.5}
        for step in range(1, 81)
    ]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    values = one.replay.series.values["acr"]
    assert sum(values.values()) / len(values) == 0.75
    assert any("at least their share" in caveat for caveat in one.caveats)
    # Rewards lie in [0, 1]; those of 0 without spread are wrong.
    assert one.replay.series.values["acr_wrong"][1] == 1.0


def test_a_std_over_many_groups_says_nothing_while_it_is_not_zero(tmp_path):
    rows = [
        {"step": step, "reward": 0.5, "std_reward": 0.0 if step == 40 else 0.5, "num_groups": 32}
        for step in range(1, 41)
    ]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    assert one.replay.series.values["acr"] == {40: 1.0}
    assert "acr_smoothed" not in one.replay.series.values


def test_a_log_with_rewards_alone_says_what_it_lacks(tmp_path):
    rows = [{"step": step, "reward": 0.5, "loss": 0.0} for step in range(1, 11)]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    told = " ".join(one.not_judged)
    for what in ("entropy", "KL", "gradient", "length", "truncation", "collapse of groups"):
        assert what in told
    assert "10 steps, 25 needed" in told


def test_the_declared_range_beats_the_one_in_the_data(tmp_path):
    rows = [{**row, "reward": 2.0 * row["reward"] - 1.0} for row in rollouts()]
    path = jsonl(tmp_path / "rollouts.jsonl", rows)
    guessed = judged(path)
    assert guessed.replay.range_is_guess
    assert guessed.replay.reward_range == RewardRange(low=-1.0, high=1.0)
    assert any("--reward-low" in caveat for caveat in guessed.caveats)
    declared = judged(path, RewardRange(low=0.0, high=1.0))
    # -1 lies outside: agreeing on it is neither wrong nor right.
    assert max(declared.replay.series.values["acr_wrong"].values()) == 0.0


def test_rates_of_groups_do_not_depend_on_the_order_of_rows(tmp_path):
    rows = rollouts()
    forward = judged(jsonl(tmp_path / "a.jsonl", rows))
    backward = judged(jsonl(tmp_path / "b.jsonl", rows[::-1]))
    assert forward.replay.series.values["acr"] == backward.replay.series.values["acr"]
    assert forward.headline == backward.headline


def test_logging_every_ten_steps_is_told(tmp_path):
    rows = [{**row, "step": 10 * row["step"]} for row in rising(30)]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    assert "a row stands for 10 steps: rules that count steps count rows here" in one.caveats


def test_a_forecast_needs_the_first_hundred_steps(tmp_path):
    early = judged(jsonl(tmp_path / "a.jsonl", rising(60)))
    late = judged(jsonl(tmp_path / "b.jsonl", rising(120)))
    assert early.replay.forecast is not None
    assert late.replay.forecast is not None
    assert not early.replay.forecast.ready
    assert late.replay.forecast.ready


@pytest.mark.parametrize(
    ("rewards", "sign"),
    [([0.0] * 20 + [1.0] * 20, 1), ([1.0] * 20 + [0.0] * 20, -1), ([0.5, 0.7] * 20, 0)],
)
def test_a_change_of_the_reward_has_to_beat_its_noise(rewards, sign):
    series = Series(values={"reward_mean": dict(enumerate(rewards))})
    change = reward_change(series)
    assert change is not None
    assert change[2] == sign


@pytest.mark.parametrize("num_groups", [1, 3, 7, 16, 60])
def test_the_number_of_groups_is_found_in_their_shares(num_groups):
    shares = [count / num_groups for count in range(num_groups + 1)]
    assert groups_behind(shares) == num_groups
    # Logs with four decimals say as much.
    assert groups_behind([round(share, 4) for share in shares]) == num_groups


def test_advice_that_two_verdicts_share_is_given_once(tmp_path):
    rows = [
        {**row, "reward": 0.2, "acr": 0.75, "acr_wrong": 0.75, "acr_correct": 0.0}
        for row in rising(120)
    ]
    one = judged(jsonl(tmp_path / "run.jsonl", rows))
    first, second = (episode.verdict for episode in one.standing)
    assert (first.rule, second.rule) == ("stall", "acr_100")
    told = advice_of([first, second])
    assert told[0] == first.advice
    assert told[1].endswith("all-correct. For the rest see stall.")
    assert len(told[1]) < len(second.advice) - 200
