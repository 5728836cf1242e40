"""Published settings: read exactly, or refused whole."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.orders import Kill, Override
from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput, UnreadableInput
from monitor_service.wire import decode_settings


@given(st.integers(0, 2**63 - 1), st.floats(0, 1))
def test_published_settings_are_read_as_they_were(version, threshold):
    settings = Settings(version=version, threshold=threshold)
    assert decode_settings(msgspec.json.encode(settings)) == settings


OVERRIDE = {
    "number": 1,
    "changes": {"alpha": 0.3},
    "actor": "ann",
    "reason": "a try",
    "until_step": 5,
    "until_s": 60.0,
}
KILL = {"actor": "ann", "reason": "a try", "step": 3, "at_s": 1.5}
COMMAND = {"number": 1, "kind": "save", "actor": "ann", "reason": "a try"}
ENTRY = {
    "rate": 0.5,
    "rate_error": 0.05,
    "reward": 0.3,
    "reward_error": 0.02,
    "entropy": None,
    "mode": "active",
    "target": "wrong",
}
ARMING = {"stage": "active", "entry": ENTRY}
HOLDS = {"everything": "", "correct": "entropy_collapse"}


def test_published_orders_are_read_as_they_were():
    parts = {"overrides": [OVERRIDE], "kill": KILL, "command": COMMAND, "holds": HOLDS}
    found = decode_settings(json.dumps({**parts, "arming": ARMING}).encode())
    assert found.kill == Kill(**KILL)  # type: ignore[arg-type]
    assert found.overrides == (Override(**OVERRIDE),)  # type: ignore[arg-type]
    assert (found.command and found.command.kind, found.holds.correct) == ("save", HOLDS["correct"])
    assert found.arming.entry is not None
    assert (found.arming.stage, found.arming.entry.rate) == ("active", 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"virtue": 1}, r"^settings: only fields this version knows; got \['virtue'\]"),
        ({"memory": {"median": 0.5}}, r"^settings: only fields .* got \['median'\]"),
        ({"overrides": [OVERRIDE | {"until": 1}]}, r"^settings: only fields .* got \['until'\]"),
        ({"kill": KILL | {"softly": True}}, r"^settings: only fields .* got \['softly'\]"),
        ({"command": COMMAND | {"at": 5}}, r"^settings: only fields .* got \['at'\]"),
        ({"arming": ARMING | {"mood": ""}}, r"^settings: only fields .* got \['mood'\]"),
        ({"arming": {"entry": ENTRY | {"kl": 0.1}}}, r"^settings: only fields .* got \['kl'\]"),
        ({"holds": HOLDS | {"wrong": "kl"}}, r"^settings: only fields .* got \['wrong'\]"),
        (
            {"overrides": [OVERRIDE, OVERRIDE | {"changes": {"virtue": 1}}]},
            r"^settings: overrides: changes of mode, .*; got \['virtue'\]",
        ),
        (
            {"loss_mask": "agpo"},
            r"^settings: Expected `bool \| null`, got `str` - at `\$.loss_mask`",
        ),
        ({"mode": "loud"}, r"^settings: Invalid enum value 'loud' - at `\$.mode`"),
        ({"command": COMMAND | {"kind": "dance"}}, r"^settings: Invalid enum value 'dance'"),
        ({"threshold": 7}, r"^settings: threshold: must be a number in \[0, 1\]; got 7"),
        ({"memory": 5}, r"^settings: Expected `object`, got `int` - at `\$.memory`"),
    ],
)
def test_published_settings_that_this_version_cannot_follow_are_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        decode_settings(json.dumps(msgspec.to_builtins(Settings()) | changes).encode())


def test_published_settings_that_are_not_json_are_unreadable():
    with pytest.raises(UnreadableInput, match=r"^body: must be application/json"):
        decode_settings(b"\x00")
