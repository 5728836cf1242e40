"""What happens to the groups of a batch, and why."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.collapse import Outcome, RewardRange, judge, matrix
from monitor_service.engine.injection import Host
from monitor_service.engine.plan import Decision, Plan, decision_acr, plan
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import Memory
from monitor_service.engine.virtual import closed_form
from tests.engine import construction

EXACT = Host(eps=1e-300)  # eps -> 0 without 0/0
EIGHT_OF_TWENTY = [[1] * 8] * 4 + [[0] * 8] * 4 + [[0, 1] * 4] * 12  # ACR .4, so K = 6

binary_lists = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=8), min_size=1, max_size=8
)
hosts = st.builds(
    Host, scale=st.sampled_from(["group", "batch", "none"]), eps=st.sampled_from([1e-4, 1e-6])
)


def active(**changes: Any) -> Settings:
    """Settings that act on any collapse in batches of any size."""
    return Settings(**{"min_groups_per_unit": 1, "threshold": 0.0, **changes})


def planned(groups: list, host: Host = EXACT, step: int = 1, **changes: Any) -> Plan:
    return plan(matrix(groups), active(**changes), step=step, host=host)


def decisions(found: Plan) -> list[Decision]:
    return [Decision(code) for code in found.decisions]


def test_the_worked_case_of_eight_completions_and_forty_percent_collapse():
    found = planned(EIGHT_OF_TWENTY, Host(eps=1e-4))
    assert (found.acr, found.acr_source, found.triggered) == (0.4, "batch", True)
    # .21428571 / (.29450754 + .0001) and -.025 / (.03435921 + .0001).
    assert found.advantages == pytest.approx([0.72735990] * 4 + [-0.72549537] * 4 + [0] * 12)
    assert found.num_virtual.tolist() == [6] * 8 + [0] * 12
    assert found.is_rewritten.tolist() == [True] * 8 + [False] * 12
    assert (found.num_injected(Outcome.ALL_CORRECT), found.num_injected(Outcome.ALL_WRONG)) == (
        4,
        4,
    )


def test_an_unscored_completion_shrinks_its_group():
    # Three of four scored, ACR 1: K = G = 3 and |A| = .866025.
    found = planned([[1, None, 1, 1]])
    assert found.advantages == pytest.approx([0.866025], abs=1e-6)
    assert found.num_virtual.tolist() == [3]


def test_groups_of_unequal_size_get_their_own_number_of_virtual_rewards():
    # ACR 2/3: 4*.8165 = 3.27 -> 4 and 6*.8165 = 4.9 -> 5.
    found = planned([[1] * 4, [0, 1] * 4, [0] * 6])
    assert found.num_virtual.tolist() == [4, 0, 5]
    assert found.advantages == pytest.approx([0.845154, 0, -0.769484], abs=1e-6)


def test_rewards_of_minus_one_and_one_act_like_zero_and_one():
    # The published formula at r_obs = -1 would give -.865478, with the anchor in the wrong scale.
    signed = [[2 * reward - 1 for reward in group] for group in EIGHT_OF_TWENTY]
    found = planned(signed, reward_low=-1, reward_high=1)
    assert found.advantages == pytest.approx([0.727607] * 4 + [-0.727607] * 4 + [0] * 12, abs=1e-6)


def test_a_group_of_partial_credit_is_silenced_not_reinforced():
    found = planned([[0.5] * 4, [0, 1, 0, 1]])
    assert decisions(found) == [Decision.MIDDLE_VALUE, Decision.HAS_SIGNAL]
    assert found.is_rewritten.tolist() == [True, False]
    assert found.advantages.tolist() == [0, 0]


def test_a_wrong_answer_in_the_right_format_is_pushed_down():
    rewards, accuracy = matrix([[0.1] * 4]), matrix([[0.0] * 4])
    assert plan(rewards, active(), step=1, primary=accuracy).advantages[0] < 0
    assert decisions(plan(rewards, active(), step=1)) == [Decision.MIDDLE_VALUE]


def test_a_shaped_group_with_constant_accuracy_keeps_its_own_signal():
    found = plan(matrix([[0.0, 0.1]]), active(), step=1, primary=matrix([[0.0, 0.0]]))
    assert decisions(found) == [Decision.HAS_SIGNAL]
    assert not found.is_rewritten.any()


@pytest.mark.parametrize(("threshold", "triggered"), [(0.39, True), (0.4, False), (0.41, False)])
def test_only_a_rate_strictly_above_the_threshold_triggers(threshold, triggered):
    found = planned(EIGHT_OF_TWENTY, threshold=threshold)
    assert found.triggered == triggered
    assert found.is_injected.any() == triggered


def test_collapsed_groups_below_the_threshold_are_set_to_exactly_zero():
    found = planned(EIGHT_OF_TWENTY, threshold=0.4)
    assert decisions(found) == [Decision.BELOW_THRESHOLD] * 8 + [Decision.HAS_SIGNAL] * 12
    assert found.is_rewritten.tolist() == [True] * 8 + [False] * 12
    assert not found.advantages.any()


def test_in_mode_off_nothing_is_touched_but_the_rate_is_still_told():
    found = planned([*EIGHT_OF_TWENTY, [None, 1]], mode="off")
    assert (found.acr, found.triggered) == (0.4, False)
    assert decisions(found)[:8] == [Decision.OFF] * 8
    assert decisions(found)[-1] == Decision.UNSCORED
    assert not found.is_rewritten.any()


@pytest.mark.parametrize("rewards", [np.empty((0, 0)), np.full((2, 3), np.nan), np.ones((3, 1))])
def test_a_batch_without_scored_groups_never_triggers(rewards):
    found = plan(rewards, active(), step=1)
    assert (found.acr, found.triggered, found.effective_acr) == (None, False, None)
    assert not found.is_rewritten.any()
    assert found.virtual_mass_fraction == 0


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("both", [Decision.INJECTED, Decision.INJECTED]),
        ("wrong", [Decision.NOT_TARGETED, Decision.INJECTED]),
        ("correct", [Decision.INJECTED, Decision.NOT_TARGETED]),
    ],
)
def test_only_the_targeted_side_is_injected_and_the_other_silenced(target, expected):
    found = planned([[1, 1], [0, 0]], target=target)
    assert decisions(found) == expected
    assert (found.advantages != 0).tolist() == [code == Decision.INJECTED for code in expected]
    assert found.is_rewritten.all()


def test_each_side_has_its_own_factor_and_zero_means_inert():
    plain = planned([[1, 1], [0, 0]])
    scaled = planned([[1, 1], [0, 0]], scale_correct=0.5, scale_wrong=0.0)
    assert scaled.advantages.tolist() == [0.5 * plain.advantages[0], 0]
    assert decisions(scaled) == [Decision.INJECTED, Decision.INERT_STRATEGY]
    assert scaled.num_virtual.tolist() == [2, 0]


def test_a_strategy_that_does_nothing_says_so():
    assert decisions(planned([[1, 1], [0, 0]], strategy="none")) == [Decision.INERT_STRATEGY] * 2
    draft = planned([[1, 1], [0, 0]], strategy="stratified_draft")
    assert decisions(draft) == [Decision.INJECTED, Decision.INERT_STRATEGY]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("size", [2, 8])
def test_a_constant_advantage_passes_the_hosts_normalisation_and_the_range_by(scale, size):
    groups = [[3] * size, [-1] * size, [-1] + [3] * (size - 1)]
    changes: dict[str, Any] = {
        "strategy": "constant",
        "reward_low": -1.0,
        "reward_high": 3.0,
        "scale_wrong": 0.5,
    }
    found = planned(groups, Host(scale=scale), **changes)
    assert found.advantages.tolist() == [1.0, -0.5, 0.0]
    assert found.num_virtual.tolist() == [0, 0, 0]
    assert found.virtual_mass == 1.5 * size
    # A cap is in units of |A|; the width of 4 has nothing to do with it.
    capped = planned(groups, Host(scale=scale), **changes, max_advantage=0.75)
    assert capped.advantages.tolist() == [0.75, -0.5, 0.0]


@pytest.mark.parametrize("side", [0.0, 1.0])
def test_the_constant_profile_acts_on_every_collapsed_group_from_a_batch_of_one_on(side):
    settings = from_profile("constant", {})
    first = plan(np.full((1, 4), side), settings, step=1)
    assert (first.acr, first.acr_source, first.triggered) == (1.0, "batch", True)
    assert first.advantages.tolist() == [2 * side - 1]
    rare = plan(np.vstack([[side] * 4, *[[0, 1, 0, 1]] * 63]), settings, step=1)
    assert rare.advantages.tolist() == [2 * side - 1] + [0.0] * 63
    healthy = plan(np.array([[0.0, 1.0]]), settings, step=1)
    assert (healthy.acr, healthy.triggered) == (0.0, False)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([[1] * 8] * 2, [0.333233] * 2),
        ([[0] * 8] * 2, [-0.333233] * 2),
        ([[1] * 4], [0.447114]),
        ([[1] * 8, [0] * 8], [0, 0]),
        ([[1] * 8, [0, 1] * 4], [0, 0]),
    ],
)
def test_the_official_code_acts_on_batches_of_one_outcome_only(groups, expected):
    # (1/9) / (1/3 + .0001) with the sample std; G=4: (1/5) / (sqrt(1/5) + .0001).
    found = planned(groups, Host(eps=1e-4), strategy="official_code")
    assert found.advantages == pytest.approx(expected, abs=1e-6)
    assert found.triggered == any(expected)


def test_under_batch_scaling_an_injected_group_is_divided_by_the_std_of_the_batch():
    # ACR 1/2, G=4, K=ceil(4*.7071)=3: ones and .75 .5 .25 have mean 5.5/7. The batch holds six
    # ones and two zeros, whose sample std is sqrt((6/16 + 18/16) / 7) = .46291.
    found = planned([[1] * 4, [0, 1, 0, 1]], Host(scale="batch", eps=0.01))
    assert found.advantages[0] == pytest.approx((1 - 5.5 / 7) / (math.sqrt(1.5 / 7) + 0.01))


def test_a_batch_without_spread_is_scaled_by_its_own_virtual_std():
    found = planned([[1] * 8] * 2, Host(scale="batch", eps=1e-300))
    assert found.advantages == pytest.approx([closed_form(8, 8)] * 2)


def test_without_scaling_an_injected_group_gets_its_distance_to_the_mean():
    found = planned(EIGHT_OF_TWENTY, Host(scale="none"))
    assert found.advantages == pytest.approx([0.21428571] * 4 + [-0.025] * 4 + [0] * 12)


@pytest.mark.parametrize(
    ("num_correct", "right", "wrong"),
    [(1, 2.6458, -0.3780), (2, 1.7321, -0.5774), (4, 1, -1), (7, 0.3780, -2.6458)],
)
def test_the_share_of_injected_mass_is_measured_against_what_the_host_computes(
    num_correct, right, wrong
):
    # Tabulated with the population std; the host's sample std makes it sqrt(7/8) of that.
    rewards = [1.0] * num_correct + [0.0] * (8 - num_correct)
    found = planned([rewards, [1] * 8])
    population = (np.array(rewards) - found.groups.means[0]) / found.groups.stds[0]
    assert (population[0], population[-1]) == pytest.approx((right, wrong), abs=5e-5)
    host_mass = np.abs(population).sum() * math.sqrt(7 / 8)
    injected_mass = 8 * closed_form(8, 6)  # ACR 1/2 gives K = 6
    assert (found.healthy_mass, found.virtual_mass) == pytest.approx((host_mass, injected_mass))
    assert found.virtual_mass_fraction == pytest.approx(injected_mass / (host_mass + injected_mass))


def test_what_remains_silent_after_injection_is_the_effective_rate():
    found = planned([[1, 1], [0, 0], [0.5, 0.5], [0, 1], [1, None]], target="wrong")
    assert found.acr == 3 / 4
    assert found.effective_acr == 2 / 4  # the all-correct and the middle one of four scored groups
    assert planned(EIGHT_OF_TWENTY).effective_acr == 0
    assert planned(EIGHT_OF_TWENTY, threshold=0.9).effective_acr == 0.4


READY = Memory(ewma=0.3, weight=1.0, weight_squared=0.01, num_groups=64, window="1" * 16 + "0" * 48)


@pytest.mark.parametrize(
    ("source", "num_groups", "memory", "expected"),
    [
        ("batch", 16, Memory(), (0.5, "batch")),
        ("batch", 8, Memory(), (None, "ewma")),
        # lam = 2^(-8/64) = .917004 keeps that much of .3, the rest is .5.
        ("batch", 8, READY, (pytest.approx(0.917004 * 0.3 + 0.082996 * 0.5, abs=1e-6), "ewma")),
        # The oldest 16 of the window, all collapsed, make room for 8 collapsed and 8 not.
        ("window", 16, READY, (8 / 64, "window")),
        ("window", 62, Memory(), (None, "window")),
        ("window", 64, Memory(), (0.5, "window")),
        ("ewma", 64, Memory(), (pytest.approx(0.5), "ewma")),
        ("ewma", 16, READY, (pytest.approx(0.840896 * 0.3 + 0.159104 * 0.5, abs=1e-6), "ewma")),
        ("batch", 0, READY, (None, "ewma")),
        ("window", 0, READY, (None, "window")),
    ],
)
def test_the_rate_that_decides_comes_from_the_batch_or_from_what_was_seen(
    source, num_groups, memory, expected
):
    rewards = [[1, 1]] * (num_groups // 2) + [[0, 1]] * (num_groups // 2)
    groups = judge(matrix(rewards), reward_range=RewardRange())
    settings = Settings(acr_source=source, memory=memory)
    assert decision_acr(groups, memory, settings) == expected


def test_the_number_of_virtual_rewards_follows_the_rate_that_triggered():
    # One collapsed group a batch: the batch says 1, the pooled rate about .3, K = ceil(8*sqrt).
    settings = Settings(memory=READY, threshold=0.2)
    found = plan(np.ones((1, 8)), settings, step=65)
    assert found.acr == pytest.approx(0.3 + 0.7 * (1 - 2 ** (-1 / 64)))
    assert found.num_virtual.tolist() == [math.ceil(8 * math.sqrt(found.acr or 0))] == [5]


@given(binary_lists, hosts, st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (2.0, 12.0)]))
def test_every_plan_equals_the_naive_construction(groups, host, ends):
    low, high = ends
    rewards = low + (high - low) * matrix(groups)
    found = plan(rewards, active(reward_low=low, reward_high=high), step=1, host=host)
    scored = [np.array(row)[~np.isnan(row)] for row in rewards]
    collapsed = [len(row) > 1 and np.ptp(row) == 0 for row in scored]
    num_scored = sum(len(row) > 1 for row in scored)
    everything = np.concatenate(scored)
    batch_std = np.std(everything, ddof=1) if len(everything) > 1 else 0.0
    for row, is_collapsed, value in zip(scored, collapsed, found.advantages, strict=True):
        if not is_collapsed:
            assert value == 0
            continue
        k = math.ceil(len(row) * math.sqrt(sum(collapsed) / num_scored) - 1e-12)
        unit = np.array(construction.stratified(k, correct=row[0] == high))
        virtual = low + (high - low) * unit
        if host.scale == "none":
            expected = row - np.concatenate([row, virtual]).mean()
        elif host.scale == "batch" and batch_std > 0:
            expected = (row - np.concatenate([row, virtual]).mean()) / (batch_std + host.eps)
        else:
            expected = construction.advantages((row - low) / (high - low), unit, eps=host.eps)
        assert expected == pytest.approx(np.full(len(row), value), abs=1e-9)


def test_a_batch_of_one_reward_may_be_left_alone_as_a_dead_verifier():
    dead = np.zeros((16, 8))
    acting = plan(dead, Settings(), step=1)
    skipping = plan(dead, Settings(skip_degenerate=True), step=1)
    assert acting.num_injected(Outcome.ALL_WRONG) == 16
    assert skipping.num_injected(Outcome.ALL_WRONG) == 0
    assert set(skipping.decisions) == {Decision.DEGENERATE_REWARD}
    assert not skipping.triggered
    # 7 of 128 completions differ: 121/128 = .945 share one reward, below .95.
    alive = dead.copy()
    alive[0, :7] = 1.0
    assert plan(alive, Settings(skip_degenerate=True), step=1).triggered
    # Below 64 completions it would be chance.
    assert plan(dead[:7], Settings(skip_degenerate=True, min_groups_per_unit=1), step=1).triggered
