"""What may be set, what is refused, and how a refusal names the field."""

import math
from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.collapse import REWARD_LIMIT, RewardRange
from monitor_service.engine.controllers import CONTROLLERS
from monitor_service.engine.settings import PROFILES, TUNABLE, Settings, changed, from_profile
from monitor_service.engine.smoothing import Memory
from monitor_service.engine.virtual import STRATEGIES
from monitor_service.errors import InvalidInput
from monitor_service.wire import decode_settings

unit = st.floats(0, 1)
open_unit = st.floats(0, 1, exclude_min=True)
LEGAL: dict[str, st.SearchStrategy] = {
    "profile": st.sampled_from(sorted(PROFILES)),
    "skip_degenerate": st.booleans(),
    "mode": st.sampled_from(["off", "active"]),
    "controller": st.sampled_from(sorted(CONTROLLERS)),
    "threshold": unit,
    "threshold_low": st.floats(0, 0.5),
    "threshold_high": st.floats(0.5, 1),
    "eta": open_unit,
    "acr_source": st.sampled_from(["batch", "window", "ewma"]),
    "min_groups_per_unit": st.integers(1, 64),
    "target": st.sampled_from(["both", "wrong", "correct"]),
    "strategy": st.sampled_from(sorted(STRATEGIES)),
    "alpha": open_unit,
    "r_anchor": open_unit,
    "scale_wrong": unit,
    "scale_correct": unit,
    "reward_low": st.floats(-REWARD_LIMIT, 0),
    "reward_high": st.floats(0, REWARD_LIMIT, exclude_min=True),
    "seed": st.integers(0, 2**63 - 1),
}
RATES = ("threshold", "threshold_low", "threshold_high", "scale_wrong", "scale_correct")
POSITIVE = ("eta", "alpha", "r_anchor")
INTEGERS = ("min_groups_per_unit", "seed")
CHOICES = ("profile", "mode", "controller", "acr_source", "target", "strategy")
NUMBERS = (*RATES, *POSITIVE, "reward_low", "reward_high")

legal_changes = st.fixed_dictionaries({}, optional=LEGAL)
memories = st.builds(
    lambda weight, share, num_groups, window: Memory(
        ewma=weight * share, weight=weight, num_groups=num_groups, window=window
    ),
    weight=unit,
    share=unit,
    num_groups=st.integers(0, 2**40),
    window=st.text("0123", max_size=64),
)


def refused(changes: dict[str, Any]) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        changed(Settings(), changes)
    return caught.value


def test_the_defaults_are_the_published_method_clamped():
    settings = Settings()
    assert (settings.threshold, settings.eta, settings.alpha) == (0.5, 0.01, 0.5)
    assert (settings.threshold_low, settings.threshold_high) == (0.1, 0.9)
    assert (settings.strategy, settings.r_anchor) == ("stratified", 0.1)
    assert (settings.controller, settings.acr_source) == ("paper", "batch")
    assert settings.reward_range == RewardRange(low=0, high=1)
    assert from_profile("paper", {}) == settings


def test_every_field_a_person_may_change_is_covered_here():
    assert set(TUNABLE) == set(LEGAL) == {*NUMBERS, *INTEGERS, *CHOICES, "skip_degenerate"}
    untouchable = {field.name for field in fields(Settings)} - set(TUNABLE)
    assert untouchable == {"version", "revision", "through_step", "session", "memory"}


@given(legal_changes)
def test_every_legal_change_is_taken_and_nothing_else_moves(changes):
    before = Settings(version=7, revision=3, through_step=9)
    after = changed(before, changes)
    bundle = PROFILES[changes["profile"]] if "profile" in changes else {}
    assert after == replace(before, **{**bundle, **changes})
    assert (after.version, after.revision, after.through_step) == (7, 3, 9)


@pytest.mark.parametrize("name", ["tau", "Threshold", "", "version", "through_step", "memory"])
def test_a_name_nobody_may_change_is_refused_with_the_names_that_exist(name):
    error = refused({"alpha": 0.5, name: 1})
    assert (error.field, error.value) == (name, "1")
    assert "threshold, threshold_low" in error.allowed


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", ["high", None, True, False, [0.5], math.nan, math.inf, -math.inf, 10**400, -(10**400)]
)
def test_what_is_not_a_finite_number_is_refused(name, value):
    error = refused({name: value})
    assert error.field == name
    assert error.allowed.startswith("must be a number in ")


@pytest.mark.parametrize("name", RATES + POSITIVE)
@pytest.mark.parametrize("value", [7, -0.1, 1.0000001])
def test_a_rate_or_factor_outside_zero_one_is_refused(name, value):
    error = refused({name: value})
    assert (error.field, error.value) == (name, repr(value))


@pytest.mark.parametrize("name", POSITIVE)
def test_a_gain_of_zero_is_refused_and_a_rate_of_zero_is_not(name):
    error = refused({name: 0})
    assert (error.field, error.allowed) == (name, "must be a number in (0, 1]")
    assert changed(Settings(), {"threshold": 0}).threshold == 0


@pytest.mark.parametrize("name", ["reward_low", "reward_high"])
@pytest.mark.parametrize("value", [2 * REWARD_LIMIT, -2 * REWARD_LIMIT])
def test_a_reward_beyond_the_limit_is_refused(name, value):
    assert refused({name: value}).field == name


@pytest.mark.parametrize(("name", "most"), [("min_groups_per_unit", 64), ("seed", 2**63 - 1)])
def test_an_integer_has_to_be_one_and_within_its_range(name, most):
    for value in (1.0, "1", None, True, most + 1, -1):
        assert refused({name: value}).field == name
    assert getattr(changed(Settings(), {name: most}), name) == most
    assert refused({"min_groups_per_unit": 0}).value == "0"


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["medium", "", 1, True, None, ["paper"], {"paper": 1}])
def test_a_choice_has_to_be_one_of_the_names(name, value):
    error = refused({name: value})
    assert error.field == name
    assert error.allowed.startswith("one of ")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"threshold_low": 0.95}, "threshold_low"),
        ({"threshold_high": 0.05}, "threshold_low"),
        ({"reward_low": 1}, "reward_low"),
        ({"reward_high": 0}, "reward_low"),
        ({"reward_low": 3, "reward_high": 2}, "reward_low"),
    ],
)
def test_bounds_that_cross_are_refused(changes, field):
    assert refused(changes).field == field


def test_bounds_may_meet_and_cross_over_only_together():
    assert changed(Settings(), {"threshold_low": 0.9}).threshold_low == 0.9
    assert changed(Settings(), {"reward_low": 2, "reward_high": 3}).reward_range.low == 2


def test_a_refused_change_leaves_the_settings_as_they_were():
    settings = Settings()
    with pytest.raises(InvalidInput, match=r"^eta: "):
        changed(settings, {"threshold": 0.7, "eta": 7})
    assert settings == Settings()


def test_a_profile_is_applied_first_and_single_changes_on_top():
    tuned = Settings(alpha=0.3, threshold=0.7, seed=5, reward_high=2.0)
    after = changed(tuned, {"alpha": 0.9, "profile": "paper"})
    # Not part of the bundle: tau in force, the seed and what the rewards mean.
    assert after == replace(tuned, alpha=0.9)
    assert changed(tuned, {"profile": "paper"}).alpha == 0.5


def test_the_grpo_profile_switches_off_and_paper_switches_on_again():
    off = from_profile("grpo", {"threshold": 0.3})
    assert (off.mode, off.profile, off.threshold) == ("off", "grpo", 0.3)
    assert changed(off, {"profile": "paper"}).mode == "active"


@given(legal_changes, memories, st.integers(0, 2**53))
def test_settings_survive_json_exactly(changes, memory, number):
    settings = changed(
        Settings(version=number, revision=number, through_step=number, memory=memory), changes
    )
    assert decode_settings(msgspec.json.encode(settings)) == settings
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


@pytest.mark.parametrize("name", ["version", "revision", "through_step"])
def test_a_count_below_zero_is_refused(name):
    negative: dict[str, Any] = {name: -1}
    with pytest.raises(InvalidInput, match=name):
        Settings(**negative)
