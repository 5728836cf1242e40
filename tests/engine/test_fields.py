"""The list of settings: what each takes is what `Settings` takes, and each is explained."""

import math
import re

import msgspec
import pytest

from monitor_service.engine.allowed import boolean, choice, integer, number
from monitor_service.engine.fields import FIELDS, Field
from monitor_service.engine.profiles import changed, from_profile
from monitor_service.engine.settings import ALLOWED, KNOBS, TUNABLE, Settings
from monitor_service.errors import InvalidInput

NUMBER, OPEN = number(0, 1), number(0, 1, is_low_allowed=False, is_nullable=True)
WHOLE, CHOICE = integer(1, 9), choice("off", "active")
FLAG = boolean(is_nullable=True)
named = pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)


@pytest.mark.parametrize(
    ("allowed", "fine", "wrong"),
    [
        (NUMBER, [0, 1, 0.5], [-0.1, 1.1, math.nan, math.inf, True, "0.5", None]),
        (OPEN, [0.001, 1, None], [0, -1, 2, 10**400, False]),
        (WHOLE, [1, 9], [0, 10, 5.0, True, "5", None]),
        (CHOICE, ["off", "active"], ["shadow", "", None, 1, ["off"]]),
        (FLAG, [True, False, None], [0, 1, "true"]),
    ],
)
def test_what_is_allowed_is_taken_and_nothing_else(allowed, fine, wrong):
    assert all(allowed.takes(value) for value in fine)
    assert not any(allowed.takes(value) for value in wrong)


def test_every_setting_is_listed_once_and_explained_in_one_sentence():
    assert sorted(field.name for field in FIELDS) == sorted(TUNABLE)
    assert len({field.about for field in FIELDS}) == len(FIELDS)
    for field in FIELDS:
        assert re.fullmatch(r"[^.].{20,240}[^.]\.", field.about), field.name
        assert ". " not in field.about, field.name


@named
def test_a_listed_default_is_allowed_and_the_default(field: Field):
    assert field.takes(field.default)
    assert field.default == getattr(Settings(), field.name)
    assert field.is_knob == (field.name in KNOBS)
    assert field.words == ALLOWED[field.name].words


def beyond(field: Field) -> list[object]:
    """Values just outside of what is listed."""
    outside: list[object] = [] if field.is_nullable else [None]
    if field.low is None or field.high is None:
        return [*outside, "no such name", 2]
    outside += [field.high + max(1, abs(field.high)), field.low - max(1, abs(field.low))]
    return outside if field.is_low_allowed else [*outside, field.low]


@named
def test_what_is_listed_as_outside_is_refused_in_the_listed_words(field: Field):
    for value in beyond(field):
        with pytest.raises(InvalidInput) as refused:
            changed(from_profile("grpo", {}), {field.name: value})
        assert (refused.value.field, refused.value.allowed) == (field.name, field.words)


@named
def test_the_listed_bounds_themselves_are_taken(field: Field):
    # One at a time: in mode off no other setting contradicts them, but a range needs both ends.
    usual = {"reward_low": 0.0, "reward_high": 1.0, "threshold_low": 0.0, "threshold_high": 1.0}
    start = changed(from_profile("grpo", {}), usual)
    bounds = [field.high, *([field.low] if field.is_low_allowed else [])]
    for bound in bounds:
        if bound is None or (field.name, bound) in {("reward_low", 1e12), ("reward_high", -1e12)}:
            continue
        assert getattr(changed(start, {field.name: bound}), field.name) == bound
    for name in field.choices:
        assert getattr(changed(start, {field.name: name}), field.name) == name


def test_the_list_survives_its_way_over_the_wire():
    payload = msgspec.json.encode(FIELDS)
    assert msgspec.json.decode(payload, type=tuple[Field, ...]) == FIELDS
