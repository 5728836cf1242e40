"""The account of what was injected, and the shares it keeps to."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.ledger import NOTHING_INJECTED, Ledger

# Of a batch: (groups, mass of |A| that the host computes, share of what is allowed that is used).
batches = st.lists(st.tuples(st.integers(1, 200), st.floats(0, 1000), st.floats(0, 1)), max_size=30)
caps = st.floats(0.01, 0.99)


def booked(ledger: Ledger, num_groups: int, num_injected: int, healthy: float, virtual: float):
    return ledger.after(
        num_groups=num_groups,
        num_injected=num_injected,
        healthy_mass=healthy,
        virtual_mass=virtual,
    )


def test_a_fresh_account_allows_of_a_batch_its_share():
    # floor(.5 * 16), floor(.3 * 16 = 4.8), floor(.5 * 1).
    assert NOTHING_INJECTED.groups_left(16, 0.5) == 8
    assert NOTHING_INJECTED.groups_left(16, 0.3) == 4
    assert NOTHING_INJECTED.groups_left(1, 0.5) == 0
    # V <= f/(1-f) * H: .3/.7 * 70.
    assert NOTHING_INJECTED.mass_left(16, 70.0, 0.3) == pytest.approx(30)
    assert NOTHING_INJECTED.mass_left(16, 0.0, 0.3) == 0
    assert (NOTHING_INJECTED.mass_fraction, NOTHING_INJECTED.group_fraction) == (0, 0)


@pytest.mark.parametrize("num_groups", [11, 43, 53])
def test_rounding_takes_no_share_above_1(num_groups):
    # With decay = 2^(-11/64), (1 - decay) * 11 / 11 is one unit in the last place above 1 - decay.
    assert booked(NOTHING_INJECTED, num_groups, num_groups, 0.0, 1.0).group_fraction == 1


@pytest.mark.parametrize(("fraction", "num_groups", "left"), [(0.29, 100, 29), (0.57, 100, 57)])
def test_float_noise_costs_no_group_its_injection(fraction, num_groups, left):
    # .29 * 100 is 28.999999999999996.
    assert NOTHING_INJECTED.groups_left(num_groups, fraction) == left


def test_single_groups_are_injected_once_enough_went_by():
    # With l = 2^(-1/64) and n healthy groups before, w = 1 - l^(n+1), and one injected group makes
    # g = 1 - l. At .5: 1 - l <= .5 (1 - l^(n+1)) for n >= 2, since (1 - l^2)/(1 - l) = 1.989 < 2.
    ledger, allowed = NOTHING_INJECTED, []
    for _ in range(3):
        allowed.append(ledger.groups_left(1, 0.5))
        ledger = booked(ledger, 1, 0, 1.0, 0.0)
    assert allowed == [0, 0, 1]


def test_the_mass_of_single_groups_waits_for_what_they_learn_by_themselves():
    # A healthy batch of mass 8; then, in a batch without a signal of its own, .25/.75 of what is
    # left of it: l * 8/3, over (1-l) * V/1 with the first one's (1-l) * 8.
    ledger = booked(NOTHING_INJECTED, 1, 0, 8.0, 0.0)
    decay = 2 ** (-1 / 64)
    assert ledger.mass_left(1, 0.0, 0.25) == pytest.approx(decay * 8 / 3)
    spent = booked(ledger, 1, 1, 0.0, decay * 8 / 3)
    assert spent.mass_fraction == pytest.approx(0.25)
    assert spent.mass_left(1, 0.0, 0.25) == pytest.approx(0, abs=1e-9)
    assert spent.mass_left(1, 3.0, 0.25) == pytest.approx(1.0)


def test_without_a_cap_there_is_no_end_of_mass():
    assert NOTHING_INJECTED.mass_left(1, 0.0, 1.0) == math.inf


@given(batches, caps)
def test_the_pooled_share_of_groups_never_exceeds_its_cap(steps, cap):
    ledger = NOTHING_INJECTED
    for num_groups, _, use in steps:
        left = ledger.groups_left(num_groups, cap)
        assert 0 <= left <= num_groups
        ledger = booked(ledger, num_groups, math.floor(use * left), 1.0, 0.0)
        assert ledger.injected <= cap * ledger.weight + 1e-9
        assert ledger.group_fraction <= cap + 1e-9


@given(batches, caps)
def test_one_group_more_would_exceed_the_cap_on_groups(steps, cap):
    ledger = NOTHING_INJECTED
    for num_groups, _, use in steps:
        left = ledger.groups_left(num_groups, cap)
        if left < num_groups:
            over = booked(ledger, num_groups, left + 1, 1.0, 0.0)
            assert over.injected > cap * over.weight
        ledger = booked(ledger, num_groups, math.floor(use * left), 1.0, 0.0)


@given(batches, caps)
def test_the_pooled_share_of_mass_never_exceeds_its_cap_and_may_reach_it(steps, cap):
    ledger = NOTHING_INJECTED
    for num_groups, healthy, use in steps:
        left = ledger.mass_left(num_groups, healthy, cap)
        assert left >= 0
        most = booked(ledger, num_groups, 0, healthy, left)
        if left > 1e-6 * num_groups:
            assert most.mass_fraction == pytest.approx(cap)
        ledger = booked(ledger, num_groups, 0, healthy, use * left)
        assert ledger.virtual <= cap * (ledger.virtual + ledger.healthy) + 1e-9
        assert ledger.mass_fraction <= cap + 1e-9


@given(batches, caps, caps)
def test_under_a_lowered_cap_nothing_is_injected_until_the_account_fits_it(steps, cap, lowered):
    ledger = NOTHING_INJECTED
    for num_groups, healthy, _ in steps:
        ledger = booked(
            ledger,
            num_groups,
            ledger.groups_left(num_groups, cap),
            healthy,
            ledger.mass_left(num_groups, healthy, cap),
        )
    for num_groups, healthy, _ in steps:
        groups_left = ledger.groups_left(num_groups, lowered)
        mass_left = ledger.mass_left(num_groups, healthy, lowered)
        after = booked(ledger, num_groups, groups_left, healthy, mass_left)
        # Either it fits, or nothing was allowed and the share did not grow.
        assert after.group_fraction <= lowered + 1e-9 or groups_left == 0
        assert after.mass_fraction <= lowered + 1e-9 or mass_left == 0
        assert after.mass_fraction <= max(lowered, ledger.mass_fraction) + 1e-9
        assert after.group_fraction <= max(lowered, ledger.group_fraction) + 1e-9
        ledger = after


@given(batches)
def test_the_account_is_the_group_weighted_mean_that_its_formula_says(steps):
    ledger, total = NOTHING_INJECTED, 0
    for num_groups, healthy, use in steps:
        num_injected = math.floor(use * num_groups)
        ledger = booked(ledger, num_groups, num_injected, healthy, 3 * use)
        total += num_groups
    # Unrolled: a batch with `later` groups after it weighs 2^(-later/64) - 2^(-(later+N)/64).
    found = dict.fromkeys(("injected", "weight", "virtual", "healthy"), 0.0)
    later = 0
    for num_groups, healthy, use in reversed(steps):
        share = 2 ** (-later / 64) - 2 ** (-(later + num_groups) / 64)
        found["injected"] += share * math.floor(use * num_groups) / num_groups
        found["weight"] += share
        found["virtual"] += share * 3 * use / num_groups
        found["healthy"] += share * healthy / num_groups
        later += num_groups
    for name, value in found.items():
        assert getattr(ledger, name) == pytest.approx(value, abs=1e-9)
    assert ledger.weight == pytest.approx(1 - 2 ** (-total / 64))


def test_prompts_are_counted_within_their_epoch():
    def after(ledger: Ledger, epoch: int, *prompts: str) -> Ledger:
        return ledger.after(
            num_groups=4,
            num_injected=len(prompts),
            healthy_mass=1.0,
            virtual_mass=1.0,
            epoch=epoch,
            prompts=prompts,
        )

    ledger = after(NOTHING_INJECTED, 0, "a", "b", "a")
    assert ledger.spent == {"a": 2, "b": 1}
    assert after(ledger, 0).spent == {"a": 2, "b": 1}
    ledger = after(ledger, 0, "b")
    assert ledger.spent == {"a": 2, "b": 2}
    assert NOTHING_INJECTED.spent == {}
    ledger = after(ledger, 1, "a")
    assert (ledger.epoch, ledger.spent) == (1, {"a": 1})
    assert after(ledger, 2).spent == {}


@given(batches)
def test_an_account_survives_a_checkpoint_exactly(steps):
    ledger = NOTHING_INJECTED
    for num_groups, healthy, use in steps:
        ledger = ledger.after(
            num_groups=num_groups,
            num_injected=1,
            healthy_mass=healthy,
            virtual_mass=use,
            prompts=[f"prompt {num_groups}"],
        )
    kept = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(ledger)))
    assert msgspec.convert(kept, Ledger) == ledger
