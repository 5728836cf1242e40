"""What holds for every report: one digest for one content, and no way to crash the door."""

import contextlib
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor_service.digest import digest
from monitor_service.engine.collapse import matrix
from monitor_service.errors import InputTooLarge, InvalidInput
from monitor_service.wire import (
    JSON,
    MSGPACK,
    CreateRun,
    Packed,
    StepReport,
    decode,
    observation,
    pack,
)

numbers = st.floats(-10, 10) | st.sampled_from([0.0, -0.0, 1.0, 0.1]) | st.integers(-3, 3)
groups = st.lists(st.lists(numbers | st.none(), min_size=1, max_size=4), min_size=1, max_size=4)
scalars = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("kl", "entropy", "loss"), numbers),
        "non_finite": st.lists(st.sampled_from(["grad_norm", "kl"]), max_size=2),
    },
)
injections = {
    "effective_acr": st.none() | st.floats(0, 1),
    "mass_scale": st.floats(0, 1),
    "num_virtual": st.integers(0, 9),
}
components = st.dictionaries(
    st.text(min_size=1, max_size=5), st.fixed_dictionaries({"mean": numbers}), max_size=3
)
applied = st.fixed_dictionaries(
    {
        "settings_version": st.integers(0, 2**53),
        "through_step": st.integers(0, 9),
        "mode": st.sampled_from(["off", "shadow", "active", "locked"]),
        "threshold": st.floats(0, 1) | st.sampled_from([0, 1]),
        "triggered": st.booleans(),
    },
    optional={
        **injections,
        "note": st.text(max_size=9),
        "stage": st.sampled_from(["off", "armed", "active", "cooldown", "locked"]),
        "decisions": st.dictionaries(st.sampled_from(["injected", "held"]), st.integers(0, 9)),
        "shadow": st.none() | st.fixed_dictionaries({}, optional=injections),
        "overrides": st.lists(st.integers(0, 9), max_size=2),
        "knobs": st.dictionaries(
            st.sampled_from(["beta", "loss_mask", "dynamic_sampling"]),
            st.fixed_dictionaries(
                {"status": st.sampled_from(["applied", "ignored"])},
                optional={"value": st.none() | st.booleans() | st.floats(0, 1)},
            ),
        ),
        "command": st.none() | st.integers(0, 9),
        "killed_after_rearms": st.none() | st.integers(0, 9),
    },
)
contents = st.fixed_dictionaries(
    {"step": st.integers(1, 2**53), "rewards": groups},
    optional={
        "attempt": st.integers(1, 3),
        "optimizer_step": st.none() | st.integers(0, 9),
        "scalars": scalars,
        "components": components,
        "applied": st.none() | applied,
    },
)


def digest_of(content: dict[str, Any], media_type: str = JSON) -> bytes:
    encode = msgspec.json.encode if media_type == JSON else msgspec.msgpack.encode
    read = decode(encode(content), media_type, StepReport)
    return digest(read, observation(read))


@given(contents, st.booleans())
def test_the_same_content_has_one_digest_as_lists_or_packed_in_json_or_msgpack(content, doubled):
    if doubled:
        content |= {"primary": content["rewards"]}
    bytes_of = {
        name: pack(matrix(content[name])) for name in ("rewards", "primary") if name in content
    }
    expected = digest_of(content)
    assert digest_of(content, MSGPACK) == expected
    assert digest_of(content | bytes_of, MSGPACK) == expected
    assert digest_of(content | bytes_of, JSON) == expected
    reordered = dict(reversed(content.items()))
    if "components" in content:
        reordered["components"] = dict(reversed(content["components"].items()))
    assert digest_of(reordered) == expected


@given(contents, contents)
@example({"step": 1, "rewards": [[1, 0], [1]]}, {"step": 1, "rewards": [[1], [0, 1]]})
@example({"step": 1, "rewards": [[1, 0, 1, 0]]}, {"step": 1, "rewards": [[1, 0], [1, 0]]})
@example({"step": 1, "rewards": [[1]]}, {"step": 1, "rewards": [[1]], "primary": [[1]]})
@example({"step": 1, "rewards": [[0]]}, {"step": 1, "rewards": [[None]]})
def test_different_contents_have_different_digests(one, other):
    def canonical(content: dict[str, Any]) -> Any:
        read = msgspec.convert(content, StepReport, strict=True)
        seen = observation(read)
        rest = msgspec.to_builtins(msgspec.structs.replace(read, rewards=[], primary=None))
        values = [None if m is None else m.tolist() for m in (seen.rewards, seen.primary)]
        return repr((values, sorted(rest.items(), key=lambda item: item[0])))

    if canonical(one) != canonical(other):
        assert digest_of(one) != digest_of(other)


@given(contents, st.data())
def test_changing_one_reward_changes_the_digest(content, data):
    row = data.draw(st.integers(0, len(content["rewards"]) - 1))
    column = data.draw(st.integers(0, len(content["rewards"][row]) - 1))
    changed = [list(group) for group in content["rewards"]]
    changed[row][column] = 11.5
    assert digest_of(content | {"rewards": changed}) != digest_of(content)


APPLIED = {
    "settings_version": 3,
    "through_step": 1,
    "mode": "active",
    "threshold": 0.5,
    "triggered": True,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 2},
        {"applied": APPLIED},
        {"attempt": 2},
        {"optimizer_step": 1},
        {"primary": [[1, 0]]},
        {"components": {"format": {"mean": 0.5}}},
        {"scalars": {"kl": 0.0}},
        {"scalars": {"non_finite": ["kl"]}},
        {"rewards": [[1, 0, None]]},
        {"rewards": [[1], [0]]},
    ],
)
def test_every_field_of_a_report_is_part_of_its_digest(changes):
    content = {"step": 1, "rewards": [[1, 0]]}
    assert digest_of(content | changes) != digest_of(content)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "shadow"},
        {"stage": "armed"},
        {"shadow": {}},
        {"shadow": {"num_virtual": 1}},
        {"decisions": {"held": 1}},
        {"overrides": [1]},
        {"knobs": {"beta": {"status": "applied", "value": 0.1}}},
        {"command": 1},
        {"killed_after_rearms": 0},
        {"note": "stale"},
        {"mass_scale": 0.5},
    ],
)
def test_every_field_of_what_was_applied_is_part_of_the_digest(changes):
    content = {"step": 1, "rewards": [[1, 0]], "applied": APPLIED}
    assert digest_of(content | {"applied": APPLIED | changes}) != digest_of(content)


def test_padding_is_the_same_content_as_a_missing_completion():
    assert digest_of({"step": 1, "rewards": [[1, 0], [1]]}) == digest_of(
        {"step": 1, "rewards": [[1, 0], [1, None]]}
    )


def test_every_nan_is_the_same_missing_completion_and_float32_is_widened():
    other_nan = np.array([[0x7FF8000000000001, 0]], "<u8").view("<f8")
    assert math.isnan(other_nan[0, 0])
    single = {"shape": [1, 2], "dtype": "<f4", "data": np.array([[np.nan, 0]], "<f4").tobytes()}
    expected = digest_of({"step": 1, "rewards": [[None, 0]]})
    for rewards in (pack(other_nan), single):
        assert digest_of({"step": 1, "rewards": rewards}, MSGPACK) == expected


@given(groups)
def test_packed_rewards_arrive_bit_for_bit(rewards):
    before = matrix(rewards)
    for view in (before, np.asfortranarray(before), before[::-1]):
        sent = msgspec.msgpack.encode({"step": 1, "rewards": pack(view)})
        after = observation(decode(sent, MSGPACK, StepReport)).rewards
        np.testing.assert_array_equal(after, view)
        assert after.flags.writeable


fields = [*StepReport.__struct_fields__, *CreateRun.__struct_fields__, *Packed.__struct_fields__]
names = st.sampled_from(fields) | st.text(max_size=3)
plausible = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
)
reports = st.fixed_dictionaries({"step": st.just(1), "rewards": plausible}) | plausible


def through_the_door(body: bytes, media_type: str) -> None:
    for kind in (StepReport, CreateRun):
        with contextlib.suppress(InvalidInput):
            read = decode(body, media_type, kind)
            assert isinstance(read, kind)
            if isinstance(read, StepReport):
                with contextlib.suppress(InputTooLarge):
                    digest(read, observation(read))


@given(st.binary(max_size=80), st.sampled_from([JSON, MSGPACK]))
def test_any_bytes_are_read_or_refused_as_invalid(body, media_type):
    through_the_door(body, media_type)


@given(reports)
def test_any_value_is_read_or_refused_as_invalid(content):
    through_the_door(msgspec.json.encode(content), JSON)
    through_the_door(msgspec.msgpack.encode(content), MSGPACK)


@given(contents, st.data(), st.sampled_from([JSON, MSGPACK]))
def test_a_damaged_report_is_read_or_refused_as_invalid(content, data, media_type):
    encode = msgspec.json.encode if media_type == JSON else msgspec.msgpack.encode
    body = bytearray(encode(content))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    through_the_door(bytes(body[: data.draw(st.integers(0, len(body)))]), media_type)
    through_the_door(bytes(body), media_type)
