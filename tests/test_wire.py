"""The contract: what is understood, what is refused and how, and what counts as the same report."""

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from monitor_service.engine.advance import advance
from monitor_service.engine.health.vitals import Vitals
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import InputTooLarge, InvalidInput, UnreadableInput
from monitor_service.requests import CommandRequest, EndOfRun, OverrideRequest, ResultRequest
from monitor_service.wire import (
    JSON,
    MAX_COMPLETIONS,
    MAX_GROUPS,
    MSGPACK,
    RUN_ID_WORDS,
    WATCHED_SCALARS,
    CreateRun,
    Packed,
    Scalars,
    StepReport,
    check_run_id,
    decode,
    observation,
    pack,
)

NAN, INF = math.nan, math.inf
APPLIED = {
    "settings_version": 3,
    "through_step": 1,
    "mode": "active",
    "threshold": 0.5,
    "triggered": True,
    "injected_wrong": 1,
    "injected_correct": 1,
}
REPORT = {"step": 2, "rewards": [[1, 0], [0, None]], "applied": APPLIED}


def report(**changes: Any) -> StepReport:
    return decode(json.dumps(REPORT | changes).encode(), JSON, StepReport)


def refused(content: dict[str, Any], kind: type = StepReport) -> InvalidInput:
    """The error of a body that is refused, once as JSON and once as msgpack."""
    with pytest.raises(InvalidInput) as as_json:
        decode(msgspec.json.encode(content), JSON, kind)
    with pytest.raises(InvalidInput) as as_msgpack:
        decode(msgspec.msgpack.encode(content), MSGPACK, kind)
    for name in ("field", "value"):
        assert getattr(as_json.value, name) == getattr(as_msgpack.value, name)
    return as_json.value


def packed(*shape: int, dtype: str = "<f8", data: bytes = b"") -> Packed:
    return Packed(shape=shape, dtype=dtype, data=data)  # type: ignore[arg-type]


def test_ragged_groups_with_unscored_completions_become_a_padded_matrix():
    seen = observation(report(rewards=[[1, 0, 0.5], [None], [0, 1]]))
    expected = [[1, 0, 0.5], [NAN, NAN, NAN], [0, 1, NAN]]
    np.testing.assert_array_equal(seen.rewards, expected)
    assert seen.rewards.dtype == np.float64
    assert (seen.step, seen.injected_wrong, seen.injected_correct) == (2, 1, 1)


def test_a_report_without_an_applied_part_injected_nothing():
    seen = observation(report(applied=None))
    assert (seen.primary, seen.injected_wrong, seen.injected_correct) == (None, 0, 0)
    assert (seen.settings_lag_steps, seen.not_applied, seen.command) == (None, {}, None)


def test_the_engine_hears_what_the_trainer_says_about_its_half_of_the_loop():
    knobs = {
        "beta": {"status": "applied", "value": 0.1},
        "loss_mask": {"status": "ignored", "value": False, "reason": "liger kernel"},
        "temperature": {"status": "ignored"},
    }
    shadow = {"injected_wrong": 1, "injected_correct": 0, "effective_acr": 0.0}
    said = {"knobs": knobs, "shadow": shadow, "command": 4, "killed_after_rearms": 2}
    seen = observation(report(step=9, applied=APPLIED | said | {"note": "stale"}))
    assert (seen.shadow_wrong, seen.shadow_correct) == (1, 0)
    # The settings knew of step 1; those for step 9 could know of step 8.
    assert seen.settings_lag_steps == 7
    assert (seen.command, seen.killed_after_rearms) == (4, 2)
    assert seen.not_applied == {"loss_mask": "liger kernel", "temperature": "", "settings": "stale"}
    assert observation(report(step=1, applied=APPLIED)).settings_lag_steps == 0


def test_the_engine_sees_the_figures_that_the_rules_watch_where_there_are_any():
    values = {name: 0.5 + at for at, name in enumerate(WATCHED_SCALARS)}
    others = {"loss": 0.1, "num_tokens": 9.0, "step_s": 2.0, "non_finite": ["kl", "loss"]}
    seen = observation(report(scalars={**values, **others}))
    assert (seen.scalars, seen.non_finite) == (values, ("kl", "loss"))
    assert observation(report(scalars={"kl": None})).scalars == {}


def test_every_figure_that_is_watched_is_one_of_a_report_and_of_the_rules():
    assert set(WATCHED_SCALARS) <= set(Scalars.__struct_fields__)
    assert set(WATCHED_SCALARS) <= {field.name for field in fields(Vitals)}


def test_the_engine_sees_the_mean_and_spread_of_every_reward_function():
    components = {"accuracy": {"mean": 0.5, "std": 0.25}, "format": {}}
    seen = observation(report(components=components))
    assert seen.components == {"accuracy": (0.5, 0.25), "format": (None, None)}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"injected_wrong": 2, "injected_correct": 1}, "applied.injected_wrong"),
        (
            {
                "injected_wrong": 0,
                "shadow": {"injected_wrong": 1, "injected_correct": 2},
            },
            "applied.shadow.injected_wrong",
        ),
    ],
)
def test_more_injected_groups_than_the_report_has_are_refused(changes, field):
    with pytest.raises(
        InvalidInput, match=r"at most 2 together, the groups of the report"
    ) as caught:
        observation(report(applied=APPLIED | {"injected_correct": 0} | changes))
    assert caught.value.field.startswith(field)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_figures_of_the_trainer_that_are_not_finite_reach_no_stored_state(value):
    # msgpack can carry what a state, which is kept as JSON, cannot.
    names = ("entropy", "kl", "grad_norm", "completion_length_max", "learning_rate")
    body = msgspec.msgpack.encode(REPORT | {"scalars": dict.fromkeys(names, value)})
    state = RunState(settings=Settings())
    for step in (2, 3):
        seen = observation(decode(body, MSGPACK, StepReport))
        state, _, _ = advance(state, replace(seen, step=step), now_s=0)
    assert msgspec.json.decode(msgspec.json.encode(state), type=RunState) == state


@pytest.mark.parametrize(
    ("kind", "content", "field"),
    [
        (OverrideRequest, {"settings": {}, "expires_in_h": 5}, "expires_in_h"),
        (OverrideRequest, {"settings": [1]}, "settings"),
        (OverrideRequest, {"reason": "a"}, "settings"),
        (CommandRequest, {"command": "dance"}, "command"),
        (EndOfRun, {"attempt": 0}, "attempt"),
        (EndOfRun, {"attempt": 1, "how": ""}, "how"),
        (ResultRequest, {"accuracy": 1.5, "benchmark": "math"}, "accuracy"),
        (ResultRequest, {"accuracy": 0.5, "benchmark": ""}, "benchmark"),
    ],
)
def test_what_a_person_orders_is_refused_by_field_too(kind, content, field):
    assert refused(content, kind).field == field


@pytest.mark.parametrize(
    ("changes", "field", "value", "words"),
    [
        ({"rewards": [[1, "high"]]}, "rewards[0][1]", "'high'", "`float | null`, got `str`"),
        ({"rewards": [[1], [0, True]]}, "rewards[1][1]", "True", "got `bool`"),
        ({"rewards": [1, 0]}, "rewards[0]", "1", "expected `array`"),
        ({"rewards": "1"}, "rewards", "'1'", "expected `object | array`"),
        ({"rewards": None}, "rewards", "None", "expected `object | array`"),
        ({"step": 0}, "step", "0", "expected `int` >= 1"),
        ({"step": 2**53 + 1}, "step", str(2**53 + 1), "<= 9007199254740992"),
        ({"step": "2"}, "step", "'2'", "got `str`"),
        ({"step": True}, "step", "True", "got `bool`"),
        ({"schema": 2}, "schema", "2", "invalid enum value"),
        ({"stepp": 2}, "stepp", "2", "is not a field of this version"),
        ({"scalars": {"kl2": 0.1}}, "scalars.kl2", "0.1", "is not a field of this version"),
        ({"scalars": {"kl": "low"}}, "scalars.kl", "'low'", "`float | null`"),
        ({"applied": {**APPLIED, "threshold": 7}}, "applied.threshold", "7", "<= 1.0"),
        ({"applied": {**APPLIED, "mode": "on"}}, "applied.mode", "'on'", "invalid enum value"),
        ({"applied": {}}, "applied.settings_version", "None", "is required"),
        ({"applied": APPLIED | {"stage": "hot"}}, "applied.stage", "'hot'", "invalid enum value"),
        ({"applied": APPLIED | {"mass_scale": 1.1}}, "applied.mass_scale", "1.1", "<= 1.0"),
        ({"applied": APPLIED | {"shadow": {"acr": 1}}}, "applied.shadow.acr", "1", "not a field"),
        (
            {"applied": APPLIED | {"shadow": {"injected_wrong": -1}}},
            *("applied.shadow.injected_wrong", "-1", ">= 0"),
        ),
        (
            {"applied": APPLIED | {"knobs": {"beta": {"status": "lost"}}}},
            *("applied.knobs[...].status", "{'beta'", "invalid enum value"),
        ),
        ({"applied": APPLIED | {"note": "a" * 501}}, "applied.note", "'aaaa", "length <= 500"),
        ({"applied": APPLIED | {"overrides": [0.5]}}, "applied.overrides[0]", "0.5", "`int`"),
        ({"scalars": {"non_finite": "kl"}}, "scalars.non_finite", "'kl'", "`array`"),
        ({"scalars": {"non_finite": [""]}}, "scalars.non_finite[0]", "''", "length >= 1"),
        ({"components": {"format": {"mean": []}}}, "components[...].mean", "{'format'", "`array`"),
        ({"components": {"": {}}}, "components", "{'': {}}", "every name in it"),
    ],
)
def test_a_bad_field_is_named_with_its_value_and_what_is_allowed(changes, field, value, words):
    error = refused(REPORT | changes)
    assert not isinstance(error, UnreadableInput)
    assert error.field == field
    assert error.value.startswith(value)
    assert words in error.allowed


def test_a_body_that_is_not_an_object_is_named_as_such():
    assert (refused([]).field, refused(7).field) == ("body", "body")  # type: ignore[arg-type]
    assert refused({"rewards": [[1]]}).field == "step"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"step": 1, "rewards": [[NaN]]}', JSON),
        (b'{"step": 1, "rewards": [[Infinity]]}', JSON),
        (b'{"step": 1, "rewards": [[1e999]]}', JSON),
        (b'{"step": 1, "rewards": [[1' + b"0" * 5000 + b"]]}", JSON),
        (b'{"step": 1, "rewards": [[1]]', JSON),
        (b'{"step": "\xff"}', JSON),
        (b"", JSON),
        (b"", MSGPACK),
        (b"[" * 100_000, JSON),
        (b"\x91" * 100_000, MSGPACK),
        (b"\x81\xa4step\xa1\xff", MSGPACK),
        (b"\x82\xa4step\xa1a\x81\x80\x01\x01", MSGPACK),
        (b'{"step": 1, "rewards": [[1]]}', MSGPACK),
    ],
)
def test_a_body_that_is_not_its_format_is_unreadable_and_quoted_in_part(body, media_type):
    with pytest.raises(UnreadableInput, match=f"^body: must be {media_type}: ") as caught:
        decode(body, media_type, StepReport)
    assert caught.value.field == "body"
    assert caught.value.value.startswith(repr(body[:5])[:-1])


@pytest.mark.parametrize(
    "body", [b"%b", b'{"step": %b}', b'{"id": "a", "settings": {"alpha": %b}}']
)
def test_nesting_near_the_recursion_limit_is_a_bad_input_like_any_other(body):
    # The limit counts from the frames that are there already, so the range is wide. Just below
    # it the body is read, and showing its value needs a few more frames than reading it did.
    for depth in range(700, 1005):
        for kind in (StepReport, CreateRun):
            with pytest.raises(InvalidInput):
                _create(body % (b"[" * depth + b"]" * depth), kind)


def _create(body: bytes, kind: type) -> None:
    from_profile("paper", decode(body, JSON, kind).settings)


@pytest.mark.parametrize(
    "name",
    [
        *("threshold", "acr", "virtual_mass_fraction", "advantage_abs_max", "mass_scale"),
        *("mass_fraction_pooled", "group_fraction_pooled", "effective_acr"),
    ],
)
@pytest.mark.parametrize("value", [NAN, INF, -INF, -0.1])
def test_figures_that_json_could_not_keep_are_refused(name, value):
    # msgpack can carry them; the record of the step is kept as JSON, which would turn them to null.
    body = msgspec.msgpack.encode(REPORT | {"applied": APPLIED | {name: value}})
    with pytest.raises(InvalidInput) as caught:
        decode(body, MSGPACK, StepReport)
    assert (caught.value.field, caught.value.value) == (f"applied.{name}", repr(value))


@pytest.mark.parametrize(
    ("rewards", "field", "value"),
    [
        ([], "rewards", "[]"),
        ([[1], []], "rewards[1]", "[]"),
        (packed(0, 3), "rewards", "(0, 3)"),
        (packed(3, 0), "rewards", "(3, 0)"),
        (packed(0, 2**53), "rewards", f"(0, {2**53})"),
        (packed(2, 2, data=bytes(31)), "rewards.data", "31"),
        (packed(2, 2, dtype="<f4", data=bytes(32)), "rewards.data", "32"),
    ],
)
def test_rewards_without_completions_or_with_the_wrong_number_of_bytes_are_refused(
    rewards, field, value
):
    for name in ("rewards", "primary"):
        matrices = {"rewards": [[1]]} | {name: rewards}
        with pytest.raises(InvalidInput) as caught:
            observation(StepReport(step=1, **matrices))
        assert caught.value.field == field.replace("rewards", name)
        assert caught.value.value == value


@pytest.mark.parametrize(
    "rewards",
    [
        packed(MAX_GROUPS + 1, 1),
        packed(1, MAX_COMPLETIONS + 1),
        packed(2**53, 2**53),
        [[1.0]] * (MAX_GROUPS + 1),
        [[1.0] * 2000] + [[1.0]] * 600,  # 601 * 2000 places once padded, though 2600 rewards
    ],
)
def test_more_groups_or_places_than_allowed_are_too_large_before_anything_is_built(rewards):
    with pytest.raises(InputTooLarge, match=f"^rewards: .* allowed are {MAX_GROUPS} and"):
        observation(StepReport(step=1, rewards=rewards))


def test_the_largest_allowed_report_is_taken():
    shape = (MAX_GROUPS, MAX_COMPLETIONS // MAX_GROUPS)
    assert observation(StepReport(step=1, rewards=pack(np.ones(shape)))).rewards.shape == shape


def test_the_accuracy_component_needs_the_shape_of_the_rewards():
    with pytest.raises(InvalidInput, match=r"^primary: .* rewards \(2, 2\); got \(2, 1\)$"):
        observation(report(primary=[[1], [0]]))


def test_infinite_rewards_are_taken_and_become_an_event_of_the_run():
    sent = StepReport(step=1, rewards=pack(np.array([[1, INF, 1], [0, -INF, NAN]])))
    state, figures, events = advance(RunState(settings=Settings()), observation(sent), now_s=0)
    assert (state.counters.invalid_rewards, figures.num_groups, figures.acr) == (2, 1, 1.0)
    assert "invalid_rewards" in [event.kind for event in events]


@pytest.mark.parametrize("run_id", ["a", "7", "qwen-1.5b_grpo.2", "A" * 128])
def test_a_run_id_of_safe_characters_is_taken(run_id):
    assert check_run_id(run_id) == run_id
    assert decode(json.dumps({"id": run_id}).encode(), JSON, CreateRun).id == run_id


@pytest.mark.parametrize(
    "run_id",
    [
        *("", "a/b", "../a", ".a", "-a", "_a", "a b", "a:b", "{a}", "a%2fb", "a" * 129),
        *("a\n", "\na", "a\n\n", "a\0", "a\N{ARABIC-INDIC DIGIT ONE}", "ä"),
    ],
)
def test_a_run_id_of_other_characters_is_refused_everywhere(run_id):
    with pytest.raises(InvalidInput, match=r"^id: ") as caught:
        check_run_id(run_id)
    error = refused({"id": run_id}, CreateRun)
    assert (error.field, error.value) == ("id", caught.value.value)
    assert caught.value.allowed == RUN_ID_WORDS
    assert error.allowed.endswith(RUN_ID_WORDS)


@given(st.text(max_size=5) | st.from_regex(r"[A-Za-z0-9._\-]{0,4}\s?"))
def test_both_checks_of_a_run_id_agree(run_id):
    def is_taken(check: Any, *arguments: Any) -> bool:
        try:
            check(*arguments)
        except InvalidInput:
            return False
        return True

    expected = (
        0 < len(run_id) <= 128
        and run_id.isascii()
        and run_id[0].isalnum()
        and all(character.isalnum() or character in "._-" for character in run_id)
    )
    assert is_taken(check_run_id, run_id) == expected
    body = msgspec.msgpack.encode({"id": run_id})
    assert is_taken(decode, body, MSGPACK, CreateRun) == expected
