"""Profiles: named bundles of settings; any field can be changed on top."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from msgspec.structs import fields, replace

from monitor_service.engine.settings import KNOBS, TUNABLE, Settings
from monitor_service.errors import InvalidInput

_OF_THE_RUN = {"profile", "seed", "reward_low", "reward_high", *KNOBS}
"""Fields that describe the run rather than how it is intervened on: no bundle sets them."""

_PAPER: Mapping[str, Any] = {
    field.name: field.default
    for field in fields(Settings)
    if field.name in TUNABLE and field.name not in _OF_THE_RUN
}

_GUARDED: Mapping[str, Any] = {
    **_PAPER,
    "controller": "guarded",
    "acr_source": "ewma",
    "target": "wrong",
    "threshold": 0.3,
    "exit_threshold": 0.2,
    "scale_wrong": 0.5,
    "scale_correct": 0.25,
    "max_advantage": 1.0,
    "max_group_fraction": 0.5,
    "max_mass_fraction": 0.3,
    "prompt_budget": 3,
    "skip_degenerate": True,
    "skip_truncated": True,
    "heed_alarms": True,
}

_CONSTANT: Mapping[str, Any] = {
    **_PAPER,
    "controller": "fixed",
    "threshold": 0.0,
    "min_groups_per_unit": 1,
    "strategy": "constant",
}

PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": _PAPER,
        "guarded": _GUARDED,
        "observe": {**_GUARDED, "mode": "shadow"},
        "constant": _CONSTANT,
        "grpo": {"mode": "off"},
    }
)
"""paper: the published method, clamped. guarded: our controller, with its caps. observe: guarded
in shadow, so nothing is touched. constant: a fixed advantage for every group that is all-right or
all-wrong, at every step. grpo: nothing is touched, and nothing is decided."""


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with `changes` applied; a `profile` among them is applied first.

    Version and revision stay; they are the business of whoever publishes.

    Raises:
        InvalidInput: a name nobody may change, or a value out of range.
    """
    check_names(changes)
    bundle: Mapping[str, Any] = {}
    if "profile" in changes:
        profile = changes["profile"]
        bundle = PROFILES.get(profile, {}) if isinstance(profile, str) else {}
    return replace(settings, **{**bundle, **changes})


def check_names(changes: Mapping[str, Any]) -> None:
    """Raises InvalidInput at the first name that nobody may change."""
    for name, value in changes.items():
        if name not in TUNABLE:
            close = get_close_matches(name[:64], TUNABLE, n=1, cutoff=0.75)
            hint = f"no setting; did you mean {close[0]}? " if close else "no setting; "
            raise InvalidInput(name, value, f"{hint}one of {', '.join(TUNABLE)}")


def from_profile(profile: str, changes: Mapping[str, Any]) -> Settings:
    """Fresh settings of a named profile, with changes on top."""
    return changed(Settings(), {"profile": profile, **changes})


def own_settings(settings: Settings) -> dict[str, Any]:
    """What somebody set to another value than the profile has: the name -> the profile's value."""
    usual = from_profile(settings.profile, {})
    # This threshold is moved by its controller, so a difference is nobody's decision.
    moved = {"threshold"} if settings.controller == "paper" else set()
    return {
        name: getattr(usual, name)
        for name in TUNABLE
        if name not in moved and getattr(settings, name) != getattr(usual, name)
    }
