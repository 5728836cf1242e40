"""What keeps a triggered batch, or a part of it, from being injected: skip rules and caps."""

from typing import Any

import numpy as np
import pytest

from monitor_service.engine.arming import Arming, Holds
from monitor_service.engine.collapse import matrix
from monitor_service.engine.injection import Host
from monitor_service.engine.ledger import NOTHING_INJECTED, Ledger
from monitor_service.engine.orders import Kill
from monitor_service.engine.plan import Context, Decision, Plan, plan
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import Memory
from monitor_service.engine.virtual import closed_form

EXACT = Host(eps=1e-300)  # eps -> 0 without 0/0
WRONG, RIGHT, MIXED = [0.0] * 8, [1.0] * 8, [0.0, 1.0] * 4
HELD = Holds(everything="kl_explosion")
HELD_CORRECT = Holds(correct="entropy_collapse")
ACTIVE, ARMED, LOCKED = (Arming(stage=stage) for stage in ("active", "armed", "locked"))
KILL = Kill(actor="ann", reason="", step=0, at_s=0)
SEEN = Memory(
    ewma=0.5, ewma_wrong=0.5, weight=1.0, weight_squared=0.01, num_groups=64, window="2" * 64
)


def planned(
    groups: list[list[float]], context: Context = Context(), step: int = 1, **changes: Any
) -> Plan:
    """The plan of settings that inject on any collapse, in batches of any size."""
    settings = Settings(**{"threshold": 0.0, "min_groups_per_unit": 1, **changes})
    return plan(matrix(groups), settings, step=step, host=EXACT, context=context)


def decided(found: Plan) -> list[Decision]:
    return [Decision(code) for code in found.decisions]


def truncated(*groups: list[bool]) -> Context:
    return Context(truncated=np.array(groups))


SPENT = Context(prompts=("a",), ledger=Ledger(spent={"a": 3}))
REASONS: dict[Decision, tuple[list[float], Context, dict[str, Any]]] = {
    Decision.INJECTED: (WRONG, Context(), {}),
    Decision.HAS_SIGNAL: (MIXED, Context(), {}),
    Decision.UNSCORED: ([np.nan, 1.0], Context(), {}),
    Decision.MIDDLE_VALUE: ([0.5] * 8, Context(), {}),
    Decision.BELOW_THRESHOLD: (WRONG, Context(), {"threshold": 1.0}),
    Decision.NOT_TARGETED: (WRONG, Context(), {"target": "correct"}),
    Decision.INERT_STRATEGY: (WRONG, Context(), {"scale_wrong": 0.0}),
    Decision.OFF: (WRONG, Context(), {"mode": "off"}),
    Decision.DEGENERATE_REWARD: ([0.0] * 64, Context(), {"skip_degenerate": True}),
    Decision.LOCKED: (WRONG, Context(), {"arming": LOCKED}),
    Decision.NOT_ACTIVE: (
        WRONG,
        Context(),
        {"controller": "guarded", "threshold": 0.3, "arming": ARMED, "memory": SEEN},
    ),
    Decision.HELD: (WRONG, Context(), {"heed_alarms": True, "holds": HELD}),
    Decision.TRUNCATED: (WRONG, truncated([True] * 8), {"skip_truncated": True}),
    Decision.OVER_BUDGET: (WRONG, SPENT, {"prompt_budget": 3}),
    Decision.OVER_GROUP_CAP: (WRONG, Context(), {"max_group_fraction": 0.5}),
    # Nothing of the batch learns by itself, so there is no mass to be a share of.
    Decision.OVER_MASS_CAP: (WRONG, Context(), {"max_mass_fraction": 0.5}),
}


@pytest.mark.parametrize("decision", list(Decision))
def test_every_decision_is_taken_for_its_reason(decision):
    group, context, changes = REASONS[decision]
    found = planned([group], context, **changes)
    assert decided(found) == [decision]
    assert found.counts() == {decision.name.lower(): 1}
    assert found.is_injected.any() == (decision is Decision.INJECTED)
    if decision is not Decision.INJECTED:
        assert (found.virtual_mass, found.num_virtual.max()) == (0, 0)
        assert not found.advantages.any()


@pytest.mark.parametrize("changes", [{"arming": LOCKED}, {"kill": KILL}, {"mode": "off"}])
def test_what_may_not_act_rewrites_nothing_at_all(changes):
    found = planned([WRONG, RIGHT, MIXED], **changes)
    assert not found.is_rewritten.any()
    assert found.mode == ("off" if "mode" in changes else "locked")
    # What is locked says so, whatever else would speak against it.
    assert decided(planned([WRONG], kill=KILL, mode="off")) == [Decision.LOCKED]


def test_shadow_decides_everything_and_rewrites_nothing():
    acting, shadow = (planned([WRONG, RIGHT, MIXED], mode=mode) for mode in ("active", "shadow"))
    assert acting.is_rewritten.tolist() == [True, True, False]
    assert not shadow.is_rewritten.any()
    assert shadow.mode == "shadow"
    assert shadow.advantages.tolist() == acting.advantages.tolist()
    assert (shadow.effective_acr, shadow.triggered) == (0, True)


def test_the_guarded_controller_injects_while_active_whatever_the_batch():
    guarded: dict[str, Any] = {
        "controller": "guarded",
        "threshold": 0.3,
        "memory": SEEN,
        "arming": ACTIVE,
    }
    assert decided(planned([WRONG] + [MIXED] * 9, **guarded))[0] == Decision.INJECTED
    # Never by a rate that is not known yet.
    assert decided(planned([WRONG], **{**guarded, "memory": Memory()})) == [Decision.NOT_ACTIVE]


def test_an_alarm_on_entropy_holds_the_correct_side_only():
    found = planned([WRONG, RIGHT], heed_alarms=True, holds=HELD_CORRECT)
    assert decided(found) == [Decision.INJECTED, Decision.HELD]


def test_alarms_hold_nothing_for_settings_that_do_not_heed_them():
    for holds in (HELD, HELD_CORRECT):
        assert decided(planned([WRONG, RIGHT], holds=holds)) == [Decision.INJECTED] * 2


def test_a_group_is_left_alone_only_when_all_of_it_was_cut():
    most = [True] * 7 + [False]
    found = planned([WRONG, WRONG, RIGHT], truncated([True] * 8, most, most), skip_truncated=True)
    assert decided(found) == [Decision.TRUNCATED, Decision.INJECTED, Decision.INJECTED]
    # The one that was not cut was not scored, so it says nothing about the answer.
    unscored = [0.0] * 7 + [np.nan]
    assert decided(planned([unscored], truncated(most), skip_truncated=True)) == [
        Decision.TRUNCATED
    ]
    assert decided(planned([WRONG], truncated([True] * 8))) == [Decision.INJECTED]
    assert decided(planned([WRONG], skip_truncated=True)) == [Decision.INJECTED]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        # K = G = 8: |A| is .8115 for both sides.
        ("group", [-0.2, 0.2]),
        # Undivided, ones are .25 and zeros .05625/2 from their means, times the range of 10; so is
        # the cap.
        ("none", [-0.28125, 2.0]),
        # The sample std of eight zeros and eight tens is 5 * sqrt(16/15) = 5.164.
        ("batch", [-0.28125 / 5.1640, 0.2]),
    ],
)
def test_no_injected_advantage_exceeds_its_cap_in_the_hosts_units(scale, expected):
    found = plan(
        matrix([[10.0 * reward for reward in group] for group in (WRONG, RIGHT)]),
        Settings(threshold=0.0, min_groups_per_unit=1, reward_high=10.0, max_advantage=0.2),
        step=1,
        host=Host(scale=scale, eps=1e-300),
    )
    assert found.advantages == pytest.approx(expected, abs=1e-5)


def test_a_prompt_has_its_budget_over_the_batches_of_an_epoch():
    ledger, taken = NOTHING_INJECTED, []
    for step, epoch in ((1, 0), (2, 0), (3, 0), (4, 1), (5, 1)):
        context = Context(prompts=("a", "b"), epoch=epoch, ledger=ledger)
        found = planned([WRONG, MIXED], context, step=step, prompt_budget=2)
        ledger = found.booked(ledger, context, is_injected=True)
        taken.append((decided(found)[0], ledger.spent.get("a", 0)))
    assert taken == [
        (Decision.INJECTED, 1),
        (Decision.INJECTED, 2),
        (Decision.OVER_BUDGET, 2),
        (Decision.INJECTED, 1),
        (Decision.INJECTED, 2),
    ]
    assert "b" not in ledger.spent


def test_a_prompt_that_comes_twice_in_a_batch_spends_twice():
    context = Context(prompts=("a", "a", "b", "a"))
    found = planned([WRONG] * 4, context, prompt_budget=2)
    assert decided(found).count(Decision.OVER_BUDGET) == 1
    assert decided(found)[2] == Decision.INJECTED
    assert found.booked(NOTHING_INJECTED, context, is_injected=True).spent == {"a": 2, "b": 1}


def test_without_names_of_prompts_or_without_a_budget_nothing_is_over_it():
    assert decided(planned([WRONG] * 5, prompt_budget=1)) == [Decision.INJECTED] * 5
    spent = Context(prompts=("a",), ledger=Ledger(spent={"a": 10**6}))
    assert decided(planned([WRONG], spent)) == [Decision.INJECTED]


def test_a_batch_that_was_not_injected_spends_nothing():
    context = Context(prompts=("a",))
    found = planned([WRONG], context, prompt_budget=1, mode="shadow")
    for is_injected, spent, injected in ((False, {}, 0), (True, {"a": 1}, 1)):
        ledger = found.booked(NOTHING_INJECTED, context, is_injected=is_injected)
        assert (ledger.spent, ledger.group_fraction) == (spent, injected)


def test_an_unscored_batch_leaves_the_account_as_it_was():
    ledger = Ledger(spent={"a": 1}, weight=0.5)
    context = Context(prompts=("a",), epoch=3, ledger=ledger)
    assert planned([[np.nan, 1.0]], context).booked(ledger, context, is_injected=True) is ledger


def test_of_too_many_groups_a_seeded_draw_takes_some_and_not_the_first():
    groups = [WRONG] * 12 + [MIXED] * 8
    taken = {
        tuple(np.flatnonzero(planned(groups, step=step, max_group_fraction=0.2).is_injected))
        for step in range(1, 9)
    }
    # .2 of 20 are 4 of the 12.
    assert {len(members) for members in taken} == {4}
    assert len(taken) > 4
    again = planned(groups, step=3, max_group_fraction=0.2)
    assert tuple(np.flatnonzero(again.is_injected)) in taken
    other = planned(groups, step=3, max_group_fraction=0.2, seed=1)
    assert other.decisions.tolist() != again.decisions.tolist()


@pytest.mark.parametrize(("least", "num_injected"), [(10, 2), (11, 4)])
def test_a_batch_of_enough_groups_keeps_the_cap_by_itself(least, num_injected):
    # 64 healthy groups went by: g = 0, w = 1/2. Ten groups with l = 2^(-10/64) = .8974 may then
    # have .25 * (.8974/2 + .1026)/.1026 = 1.34 times their number injected, all four of them;
    # as a batch by itself, floor(.25 * 10) = 2.
    groups = [WRONG] * 4 + [MIXED] * 6
    context = Context(ledger=Ledger(weight=0.5))
    found = planned(
        groups, context, acr_source="ewma", memory=SEEN, min_groups_per_unit=least,
        max_group_fraction=0.25,
    )  # fmt: skip
    assert int(found.is_injected.sum()) == num_injected
    assert decided(found).count(Decision.OVER_GROUP_CAP) == 4 - num_injected


def test_the_mass_of_a_batch_is_scaled_down_to_its_cap():
    # Two of four groups: K = 6, 2 * 8 * .7276 = 11.64; the others have 2 * 8 * sqrt(7/8) = 14.97.
    free = planned([WRONG, RIGHT, MIXED, MIXED])
    assert free.virtual_mass == pytest.approx(16 * closed_form(8, 6))
    assert free.healthy_mass == pytest.approx(16 * np.sqrt(7 / 8))
    found = planned([WRONG, RIGHT, MIXED, MIXED], max_mass_fraction=0.3)
    assert found.virtual_mass_fraction == pytest.approx(0.3)
    # .3/.7 * 14.97 = 6.414 of 11.64.
    assert found.mass_scale == pytest.approx(0.3 / 0.7 * free.healthy_mass / free.virtual_mass)
    assert found.advantages == pytest.approx(found.mass_scale * free.advantages)
    assert found.num_virtual.tolist() == [6, 6, 0, 0]
    roomy = planned([WRONG, MIXED, MIXED, MIXED], max_mass_fraction=0.5)
    assert roomy.mass_scale == 1


@pytest.mark.parametrize(("least", "fraction"), [(4, 0.3), (5, 0.6)])
def test_mass_that_earlier_batches_left_over_is_for_small_batches_only(least, fraction):
    # An account with plenty of healthy mass allows all 11.64 of 26.6: .4373 of the batch.
    context = Context(ledger=Ledger(weight=1.0, healthy=100.0))
    found = planned(
        [WRONG, RIGHT, MIXED, MIXED], context, acr_source="ewma", memory=SEEN,
        min_groups_per_unit=least, max_mass_fraction=0.3,
    )  # fmt: skip
    assert found.virtual_mass_fraction == pytest.approx(0.3 if least == 4 else 0.4373, abs=2e-2)
    assert (found.mass_scale < 1) == (fraction == 0.3)


def test_what_rounding_leaves_in_an_account_is_no_injection():
    # At the cap exactly, and then batches without a signal of their own: what is allowed is the
    # difference of two equal numbers, which rounding makes 0 or some 1e-17.
    ledger = NOTHING_INJECTED
    kinds = set()
    for step in range(1, 200):
        context = Context(ledger=ledger)
        groups = [MIXED, WRONG] if step < 10 else [WRONG, WRONG]
        found = planned(
            groups, context, step=step, acr_source="ewma", memory=SEEN, min_groups_per_unit=16,
            max_mass_fraction=0.3,
        )  # fmt: skip
        ledger = found.booked(ledger, context, is_injected=True)
        kinds |= {*decided(found)} if step > 50 else set()
        assert found.mass_scale == 0 or found.mass_scale > 1e-6
    assert kinds == {Decision.OVER_MASS_CAP}
    assert ledger.mass_fraction == pytest.approx(0.3)


def test_under_a_cap_lowered_below_the_account_nothing_is_injected_until_it_fits():
    # Half of the pooled mass was injected when a person lowered the cap to .3.
    ledger = Ledger(weight=1.0, virtual=5.0, healthy=5.0)
    fractions, injected = [], []
    for step in range(1, 161):
        context = Context(ledger=ledger)
        # Every other batch has a signal of its own, which alone brings the share down.
        found = planned(
            [WRONG] if step % 2 else [MIXED], context, step=step, threshold=0.01,
            acr_source="ewma", memory=SEEN, min_groups_per_unit=16, max_mass_fraction=0.3,
        )  # fmt: skip
        ledger = found.booked(ledger, context, is_injected=True)
        fractions.append(ledger.mass_fraction)
        injected.append(bool(found.is_injected.any()))
    first = injected.index(True)
    # The batch before the first injection is the one that brought the share under the cap.
    assert first > 10
    assert min(fractions[: first - 1]) > 0.3
    assert max(np.diff(fractions[:first])) < 1e-12
    assert max(fractions[first:]) <= 0.3 + 1e-9


def test_the_seven_reasons_to_narrow_are_found_in_one_batch_each_at_its_group():
    context = Context(
        truncated=np.array([[True] * 8] + [[False] * 8] * 6),
        prompts=("t", "spent", "c", "d", "e", "f", "g"),
        ledger=Ledger(spent={"spent": 1}),
    )
    found = planned(
        [WRONG, WRONG, RIGHT, [0.5] * 8, MIXED, [np.nan] * 8, WRONG],
        context,
        heed_alarms=True,
        holds=HELD_CORRECT,
        skip_truncated=True,
        prompt_budget=1,
    )
    assert decided(found) == [
        Decision.TRUNCATED,
        Decision.OVER_BUDGET,
        Decision.HELD,
        Decision.MIDDLE_VALUE,
        Decision.HAS_SIGNAL,
        Decision.UNSCORED,
        Decision.INJECTED,
    ]
    # Those left alone are silenced all the same: float noise over a tiny std is no signal.
    assert found.is_rewritten.tolist() == [True, True, True, True, False, False, True]
    assert found.advantages[:4].tolist() == [0, 0, 0, 0]
