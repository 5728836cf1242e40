"""What may be set, what is refused, and how a refusal names the field."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from monitor_service.engine.collapse import REWARD_LIMIT, RewardRange
from monitor_service.engine.controllers import CONTROLLERS
from monitor_service.engine.orders import Kill, Override
from monitor_service.engine.profiles import PROFILES, changed, from_profile, own_settings
from monitor_service.engine.settings import KNOBS, OVERRIDABLE, TUNABLE, Settings
from monitor_service.engine.virtual import STRATEGIES
from monitor_service.errors import InvalidInput

unit = st.floats(0, 1)
open_unit = st.floats(0, 1, exclude_min=True)
LEGAL: dict[str, st.SearchStrategy] = {
    "profile": st.sampled_from(sorted(PROFILES)),
    "mode": st.sampled_from(["off", "shadow", "active"]),
    "controller": st.sampled_from(sorted(CONTROLLERS)),
    "threshold": st.floats(0.3, 1),
    "exit_threshold": st.floats(0, 0.3, exclude_max=True),
    "threshold_low": st.floats(0, 0.5),
    "threshold_high": st.floats(0.5, 1),
    "eta": open_unit,
    "max_active_steps": st.integers(1, 100_000),
    "cooldown_steps": st.integers(0, 100_000),
    "benefit_check": st.booleans(),
    "heed_alarms": st.booleans(),
    "acr_source": st.sampled_from(["batch", "window", "ewma"]),
    "min_groups_per_unit": st.integers(1, 64),
    "target": st.sampled_from(["both", "wrong", "correct"]),
    "strategy": st.sampled_from(sorted(STRATEGIES)),
    "alpha": open_unit,
    "r_anchor": open_unit,
    "scale_wrong": unit,
    "scale_correct": unit,
    "max_advantage": st.none() | open_unit,
    "max_group_fraction": open_unit,
    "max_mass_fraction": open_unit,
    "prompt_budget": st.none() | st.integers(1, 1_000_000),
    "skip_degenerate": st.booleans(),
    "skip_truncated": st.booleans(),
    "reward_low": st.floats(-REWARD_LIMIT, 0),
    "reward_high": st.floats(0, REWARD_LIMIT, exclude_min=True),
    "seed": st.integers(0, 2**63 - 1),
    "epsilon_low": st.none() | open_unit,
    "epsilon_high": st.none() | st.floats(0, 10, exclude_min=True),
    "beta": st.none() | st.floats(0, 10),
    "entropy_coef": st.none() | unit,
    "temperature": st.none() | st.floats(0, 5, exclude_min=True),
    "learning_rate_scale": st.none() | st.floats(0, 10),
    "loss_mask": st.none() | st.booleans(),
    "dynamic_sampling": st.none() | st.booleans(),
}
RATES = ("threshold", "threshold_low", "threshold_high", "scale_wrong", "scale_correct")
POSITIVE = ("eta", "alpha", "r_anchor", "max_group_fraction", "max_mass_fraction")
INTEGERS = ("min_groups_per_unit", "seed", "max_active_steps", "cooldown_steps")
CHOICES = ("profile", "mode", "controller", "acr_source", "target", "strategy")
BOOLEANS = ("benefit_check", "heed_alarms", "skip_degenerate", "skip_truncated")
NUMBERS = (*RATES, *POSITIVE, "exit_threshold")
# Where null stands for "no bound", or for the trainer's own value.
OPTIONAL = (
    *("reward_low", "reward_high", "max_advantage", "epsilon_low", "epsilon_high"),
    *("beta", "entropy_coef", "temperature", "learning_rate_scale"),
)
OTHERS = ("prompt_budget", "loss_mask", "dynamic_sampling")


def is_consistent(changes: dict[str, Any]) -> bool:
    """The guarded controller cannot enter at the constant profile's threshold of 0."""
    is_constant = changes.get("profile") == "constant" and "threshold" not in changes
    return not (is_constant and changes.get("controller") == "guarded")


legal_changes = st.fixed_dictionaries({}, optional=LEGAL).filter(is_consistent)


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
    names = {*NUMBERS, *OPTIONAL, *INTEGERS, *CHOICES, *BOOLEANS, *OTHERS}
    assert set(TUNABLE) == set(LEGAL) == names
    assert set(OVERRIDABLE) == names - {"profile"}
    assert set(TUNABLE) > set(KNOBS) > {"beta", "loss_mask", "dynamic_sampling"}
    untouchable = {field.name for field in fields(Settings)} - set(TUNABLE)
    assert untouchable == {
        *("version", "revision", "through_step", "session", "memory"),
        *("overrides", "kill", "rearms", "command", "arming", "holds"),
    }


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


NO_NUMBERS = ["high", True, False, [0.5], math.nan, math.inf, -math.inf, 10**400, -(10**400)]


@pytest.mark.parametrize("name", [*NUMBERS, *OPTIONAL])
@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_not_a_finite_number_is_refused(name, value):
    error = refused({name: value})
    assert error.field == name
    assert error.allowed.startswith("must be a number in ")
    assert error.allowed.endswith(", or null") == (name in OPTIONAL)


@pytest.mark.parametrize("name", [*NUMBERS, *INTEGERS, *CHOICES, *BOOLEANS])
def test_null_is_refused_where_it_would_mean_nothing(name):
    assert refused({name: None}).field == name


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.parametrize("value", [0, 1, "true", [True]])
def test_a_switch_has_to_be_true_or_false(name, value):
    error = refused({name: value})
    assert (error.field, error.allowed) == (name, "must be true or false")
    for knob in ("loss_mask", "dynamic_sampling"):
        assert refused({knob: value}).allowed == "must be true or false, or null"


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


@pytest.mark.parametrize(
    ("name", "most", "zero"),
    [
        *[("max_advantage", 1, False), ("epsilon_low", 1, False), ("epsilon_high", 10, False)],
        *[("beta", 10, True), ("entropy_coef", 1, True), ("temperature", 5, False)],
        *[("learning_rate_scale", 10, True), ("exit_threshold", 1, True)],
    ],
)
def test_caps_and_knobs_have_ranges_of_their_own(name, most, zero):
    assert getattr(changed(Settings(), {name: most}), name) == most
    assert refused({name: math.nextafter(most, math.inf)}).field == name
    assert refused({name: -0.001}).field == name
    if zero:
        assert getattr(changed(Settings(), {name: 0}), name) == 0
    else:
        assert refused({name: 0}).allowed.startswith("must be a number in (0, ")


@pytest.mark.parametrize("name", ["reward_low", "reward_high"])
@pytest.mark.parametrize("value", [2 * REWARD_LIMIT, -2 * REWARD_LIMIT])
def test_a_reward_beyond_the_limit_is_refused(name, value):
    assert refused({name: value}).field == name


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        *[("min_groups_per_unit", 1, 64), ("seed", 0, 2**63 - 1), ("prompt_budget", 1, 10**6)],
        *[("max_active_steps", 1, 100_000), ("cooldown_steps", 0, 100_000)],
    ],
)
def test_an_integer_has_to_be_one_and_within_its_range(name, least, most):
    for value in (1.0, "1", True, most + 1, least - 1):
        assert refused({name: value}).field == name
    for value in (least, most):
        assert getattr(changed(Settings(), {name: value}), name) == value


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
        ({"reward_low": None}, "reward_low, reward_high"),
        ({"reward_high": None}, "reward_low, reward_high"),
        ({"controller": "guarded", "threshold": 0.2}, "exit_threshold"),
        ({"profile": "guarded", "exit_threshold": 0.3}, "exit_threshold"),
    ],
)
def test_bounds_that_cross_are_refused(changes, field):
    assert refused(changes).field == field


def test_bounds_may_meet_and_cross_over_only_together():
    assert changed(Settings(), {"threshold_low": 0.9}).threshold_low == 0.9
    moved = changed(Settings(), {"reward_low": 2, "reward_high": 3})
    assert moved.reward_range == RewardRange(low=2, high=3)


def test_a_reward_without_bounds_has_nothing_to_inject():
    unbounded = {"reward_low": None, "reward_high": None}
    error = refused(unbounded)
    assert (error.field, error.value) == ("strategy", "'stratified'")
    assert "reward_low to reward_high" in error.allowed
    for harmless in ({"mode": "off"}, {"strategy": "none"}, {"profile": "grpo"}):
        assert changed(Settings(), {**unbounded, **harmless}).reward_range is None


def test_an_exit_above_the_threshold_means_nothing_to_the_other_controllers():
    assert changed(Settings(), {"threshold": 0.1}).exit_threshold == 0.2


def test_a_refused_change_leaves_the_settings_as_they_were():
    settings = Settings()
    with pytest.raises(InvalidInput, match=r"^eta: "):
        changed(settings, {"threshold": 0.7, "eta": 7})
    assert settings == Settings()


def test_a_profile_is_applied_first_and_single_changes_on_top():
    tuned = Settings(alpha=0.3, threshold=0.7, seed=5, reward_high=2.0, beta=0.1)
    after = changed(tuned, {"alpha": 0.9, "profile": "paper"})
    # Not part of the bundle: the seed, what the rewards mean, and the trainer's own parameters.
    assert after == Settings(alpha=0.9, seed=5, reward_high=2.0, beta=0.1)
    assert changed(tuned, {"profile": "paper"}).alpha == 0.5


def test_the_grpo_profile_switches_off_and_paper_switches_on_again():
    off = from_profile("grpo", {"threshold": 0.3})
    assert (off.mode, off.profile, off.threshold) == ("off", "grpo", 0.3)
    assert changed(off, {"profile": "paper"}).mode == "active"


def test_the_constant_profile_is_the_paper_with_one_size_and_no_threshold():
    expected = replace(
        from_profile("paper", {}),
        profile="constant",
        controller="fixed",
        threshold=0.0,
        min_groups_per_unit=1,
        strategy="constant",
    )
    assert from_profile("constant", {}) == expected


def test_guarded_and_observe_differ_in_nothing_but_the_mode():
    guarded = from_profile("guarded", {})
    assert from_profile("observe", {}) == replace(guarded, profile="observe", mode="shadow")
    # F5: wrong side only, at half the paper's size; caps of half the groups and .3 of the mass.
    assert (guarded.target, guarded.scale_wrong, guarded.max_advantage) == ("wrong", 0.5, 1.0)
    assert (guarded.max_group_fraction, guarded.max_mass_fraction) == (0.5, 0.3)
    assert (guarded.threshold, guarded.exit_threshold, guarded.prompt_budget) == (0.3, 0.2, 3)
    assert (guarded.max_active_steps, guarded.cooldown_steps) == (50, 25)


@pytest.mark.parametrize("profile", ["medium", None, ["paper"], 1])
def test_a_profile_that_does_not_exist_is_refused(profile):
    names = "paper, guarded, observe, constant, grpo"
    with pytest.raises(InvalidInput, match=rf"^profile: one of {names}; got"):
        changed(Settings(), {"profile": profile})


@pytest.mark.parametrize("name", ["version", "revision", "through_step", "rearms"])
def test_a_count_below_zero_is_refused(name):
    negative: dict[str, Any] = {name: -1}
    with pytest.raises(InvalidInput, match=name):
        Settings(**negative)


def override(changes: dict[str, Any], *, until_step: int = 10, until_s: float = 100.0) -> Override:
    return Override(
        number=1, changes=changes, actor="ann", reason="", until_step=until_step, until_s=until_s
    )


@pytest.mark.parametrize(
    ("step", "now_s", "acts"), [(10, 99.9, True), (11, 0.0, False), (1, 100.0, False)]
)
def test_an_override_acts_until_its_step_and_its_time(step, now_s, acts):
    settings = Settings(overrides=(override({"alpha": 0.3, "beta": 0.2}),))
    found = settings.in_force(step=step, now_s=now_s)
    assert found.alpha == (0.3 if acts else 0.5)
    assert found.knobs == ({"beta": 0.2} if acts else {})
    assert found.overrides == (settings.overrides if acts else ())


def test_of_two_overrides_of_one_field_the_later_one_wins_until_it_ends():
    both = (override({"alpha": 0.3}), override({"alpha": 0.4}, until_step=5))
    settings = Settings(overrides=both)
    assert settings.in_force(step=5, now_s=0).alpha == 0.4
    assert settings.in_force(step=6, now_s=0).alpha == 0.3


@pytest.mark.parametrize(
    "changes",
    [
        {"exit_threshold": 0.35},  # above where guarded enters
        {"threshold": 7},  # written by a version that allowed it
    ],
)
def test_overrides_that_cannot_be_read_as_one_intention_let_nothing_act(changes):
    settings = from_profile("guarded", {"beta": 0.2})
    found = replace(settings, overrides=(override(changes),)).in_force(step=1, now_s=0)
    assert found == replace(settings, mode="off", beta=None)


@pytest.mark.parametrize("name", ["new_knob", "profile", "version", "overrides", "kill"])
def test_an_override_of_what_nobody_may_override_is_refused(name):
    with pytest.raises(InvalidInput, match=rf"^overrides: changes of mode, .* got \['{name}'\]"):
        Settings(overrides=(override({"alpha": 0.3, name: 1}),))


@given(legal_changes)
def test_a_kill_takes_every_override_and_knob_away(changes):
    kill = Kill(actor="ann", reason="", step=0, at_s=0)
    overrides = (override({"alpha": 0.3, "beta": 0.2}),)
    settings = replace(changed(Settings(), changes), kill=kill, overrides=overrides)
    found = settings.in_force(step=1, now_s=0)
    assert (found.mode, found.acting_mode, found.overrides) == ("off", "locked", ())
    assert found.knobs == {}


def test_a_knob_of_zero_or_false_is_asked_for_and_null_is_not():
    settings = Settings(beta=0, loss_mask=False, temperature=None)
    assert settings.knobs == {"beta": 0, "loss_mask": False}


@pytest.mark.parametrize(
    ("name", "said"),
    [("treshold", "did you mean threshold? one of profile, "), ("zzz", "no setting; one of prof")],
)
def test_a_name_nobody_knows_is_answered_with_the_nearest_and_all_others(name, said):
    with pytest.raises(InvalidInput) as refused:
        from_profile("paper", {name: 1})
    assert refused.value.field == name
    assert said in refused.value.allowed


def test_what_somebody_set_is_told_from_what_a_controller_moves():
    own = {"threshold": 0.4, "temperature": 1.1}
    assert own_settings(from_profile("paper", own)) == {"temperature": None}
    assert own_settings(from_profile("guarded", own)) == {"threshold": 0.3, "temperature": None}
