"""What holds for every batch, whatever its rewards and settings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.collapse import COLLAPSED, Outcome, matrix
from monitor_service.engine.injection import Host
from monitor_service.engine.plan import Decision, plan
from monitor_service.engine.settings import Settings
from monitor_service.engine.virtual import STRATEGIES, num_virtual
from tests.engine import construction

EXACT = Host(eps=1e-300)  # eps -> 0 without 0/0

binary_lists = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=8), min_size=1, max_size=8
)
any_lists = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, float("inf"), -1e300, None]), min_size=1, max_size=6),
    min_size=1,
    max_size=8,
)
hosts = st.builds(Host, scale=st.sampled_from(["group", "batch", "none"]))
acting_settings = st.builds(
    Settings,
    mode=st.sampled_from(["off", "shadow", "active"]),
    threshold=st.floats(0, 1),
    min_groups_per_unit=st.just(1),
    target=st.sampled_from(["both", "wrong", "correct"]),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    alpha=st.floats(0.1, 1),
    r_anchor=st.floats(0.01, 1),
    scale_wrong=st.floats(0, 1),
    scale_correct=st.floats(0, 1),
    max_advantage=st.none() | st.floats(0.01, 1),
    max_group_fraction=st.floats(0.01, 1),
    max_mass_fraction=st.floats(0.01, 1),
    seed=st.integers(0, 2**63 - 1),
)
deterministic = st.sampled_from([name for name in STRATEGIES if not STRATEGIES[name].is_random])


def eager(**changes) -> Settings:
    return Settings(**{"min_groups_per_unit": 1, "threshold": 0.0, **changes})


@given(any_lists, acting_settings, hosts)
def test_groups_with_a_signal_and_unscored_ones_are_never_rewritten(groups, settings, host):
    found = plan(matrix(groups), settings, step=1, host=host)
    alive = ~np.isin(found.groups.outcomes, COLLAPSED)
    assert not found.is_rewritten[alive].any()
    assert not found.advantages[alive].any()
    assert not found.num_virtual[alive].any()
    if settings.mode == "active":
        assert found.is_rewritten[~alive].all()
    else:
        assert not found.is_rewritten.any()


@given(any_lists, acting_settings, hosts)
def test_every_decision_fits_its_group_and_every_figure_is_a_rate(groups, settings, host):
    found = plan(matrix(groups), settings, step=1, host=host)
    for code, outcome, value in zip(
        found.decisions, found.groups.outcomes, found.advantages, strict=True
    ):
        assert (code == Decision.HAS_SIGNAL) == (outcome == Outcome.MIXED)
        assert (code == Decision.UNSCORED) == (outcome == Outcome.UNSCORED)
        assert (code == Decision.MIDDLE_VALUE) == (outcome == Outcome.UNIFORM_OTHER)
        assert (code == Decision.INJECTED) == (value != 0)
        assert value >= 0 if outcome == Outcome.ALL_CORRECT else value <= 0
    assert np.isfinite(found.virtual_mass + found.healthy_mass)
    assert 0 <= found.virtual_mass_fraction <= 1
    assert 0 <= found.mass_scale <= 1
    assert sum(found.counts().values()) == len(groups)
    if found.acr is None:
        assert found.effective_acr is None
    else:
        assert found.effective_acr is not None
        assert 0 <= found.effective_acr <= found.acr
    assert found.triggered or not found.is_injected.any()


@given(any_lists, deterministic, hosts, st.randoms(use_true_random=False))
def test_order_matters_neither_inside_a_group_nor_among_groups(groups, strategy, host, random):
    order = random.sample(range(len(groups)), len(groups))
    shuffled = [random.sample(groups[i], len(groups[i])) for i in order]
    settings = eager(strategy=strategy)
    before = plan(matrix(groups), settings, step=1, host=host)
    after = plan(matrix(shuffled), settings, step=1, host=host)
    assert after.decisions.tolist() == before.decisions[order].tolist()
    assert after.num_virtual.tolist() == before.num_virtual[order].tolist()
    np.testing.assert_allclose(after.advantages, before.advantages[order], rtol=0, atol=1e-12)
    assert after.healthy_mass == pytest.approx(before.healthy_mass, abs=1e-9)
    assert after.virtual_mass == pytest.approx(before.virtual_mass, abs=1e-9)


@given(binary_lists, st.sampled_from(sorted(STRATEGIES)), st.floats(0.01, 100), st.floats(-9, 9))
def test_affine_rewards_in_their_declared_range_get_the_same_advantages(
    groups, strategy, scale, offset
):
    rewards = matrix(groups)
    plain = plan(rewards, eager(strategy=strategy), step=3, host=EXACT)
    settings = eager(strategy=strategy, reward_low=offset, reward_high=scale + offset)
    for host in (EXACT, Host(scale="batch", eps=1e-300)):
        expected = plan(rewards, eager(strategy=strategy), step=3, host=host)
        mapped = plan(scale * rewards + offset, settings, step=3, host=host)
        assert mapped.decisions.tolist() == plain.decisions.tolist()
        np.testing.assert_allclose(mapped.advantages, expected.advantages, rtol=0, atol=1e-12)


@given(binary_lists, st.floats(0.01, 100), st.floats(-9, 9))
def test_undivided_advantages_scale_with_the_rewards(groups, scale, offset):
    host = Host(scale="none")
    plain = plan(matrix(groups), eager(), step=1, host=host).advantages
    settings = eager(reward_low=offset, reward_high=scale + offset)
    mapped = plan(scale * matrix(groups) + offset, settings, step=1, host=host).advantages
    np.testing.assert_allclose(mapped, scale * plain, rtol=1e-9, atol=1e-12)


@given(any_lists, st.sampled_from(["group", "batch", "none"]))
def test_the_mass_is_what_a_host_without_us_computes_plus_what_was_injected(groups, scale):
    rewards = matrix(groups)
    host = Host(scale=scale, eps=1e-4)
    usable = [row[np.abs(row) <= 1e12] for row in rewards]
    everything = np.concatenate(usable)
    batch_std = np.std(everything, ddof=1) if len(everything) > 1 else 0.0
    total = 0.0
    for row in usable:
        if len(row) > 1 and np.ptp(row) > 0:
            divisor = {"group": np.std(row, ddof=1) + 1e-4, "batch": batch_std + 1e-4, "none": 1}
            total += np.abs((row - row.mean()) / divisor[scale]).sum()
    off = plan(rewards, eager(mode="off"), step=1, host=host)
    on = plan(rewards, eager(), step=1, host=host)
    assert (off.healthy_mass, off.virtual_mass) == pytest.approx((total, 0))
    injected = sum(abs(a) * len(row) for a, row in zip(on.advantages, usable, strict=True))
    assert (on.healthy_mass, on.virtual_mass) == pytest.approx((total, injected))


@pytest.mark.parametrize("width", [1e200, float("inf"), -1e13])
def test_rewards_beyond_the_limit_poison_no_figure_of_the_batch(width):
    for scale in ("group", "batch", "none"):
        host = Host(scale=scale)
        with_invalid = np.array([[width, np.nan, np.nan], [0, 0, 0], [0, 1, width]])
        without = np.where(np.abs(with_invalid) > 1e12, np.nan, with_invalid)
        found = plan(with_invalid, eager(), step=1, host=host)
        expected = plan(without, eager(), step=1, host=host)
        assert found.advantages.tolist() == expected.advantages.tolist()
        assert found.healthy_mass == expected.healthy_mass
        assert found.groups.num_invalid == 2


@given(binary_lists, st.integers(0, 2**63 - 1), st.integers(1, 2**53))
def test_random_strategies_draw_from_seed_step_and_group_alone(groups, seed, step):
    # Another rank, another process, or the same step after a resume: the same numbers.
    settings = eager(strategy="random_uniform", seed=seed)
    found = plan(matrix(groups), settings, step=step, host=EXACT)
    for group, outcome in enumerate(found.groups.outcomes):
        if outcome not in (Outcome.ALL_CORRECT, Outcome.ALL_WRONG):
            continue
        size = int(found.groups.sizes[group])
        k = num_virtual(size, found.acr or 0, 0.5)
        drawn = 1 - np.random.default_rng((seed, step, group)).random(k)
        real = float(outcome == Outcome.ALL_CORRECT)
        virtual = drawn if real else 0.1 * drawn
        expected = construction.advantages([real], np.append(virtual, [real] * (size - 1)))
        assert found.advantages[group] == pytest.approx(expected[0], abs=1e-9)


def test_other_seeds_steps_and_groups_draw_other_numbers():
    def values(seed: int, step: int) -> list[float]:
        settings = eager(strategy="random_uniform", seed=seed)
        return plan(np.ones((3, 8)), settings, step=step, host=EXACT).advantages.tolist()

    drawn = values(0, 1) + values(0, 2) + values(1, 1)
    assert len(set(drawn)) == 9
    assert values(0, 1) == drawn[:3]
