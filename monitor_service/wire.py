"""The contract between trainers and the service, and between the service and its clients.

JSON, or msgpack with rewards packed as little-endian floats. Versioned by `schema`; unknown
fields are refused, so that a setting or a figure is never dropped in silence.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from monitor_service.engine.arming import Stage
from monitor_service.engine.collapse import Matrix, matrix
from monitor_service.engine.orders import Kill
from monitor_service.engine.settings import AcrSource, ActingMode, Settings
from monitor_service.engine.state import Observation
from monitor_service.engine.state import Sampling as Sampled
from monitor_service.errors import InputTooLarge, InvalidInput, UnreadableInput
from monitor_service.explain import explained

DEFAULT_PORT = 8400
"""Where trainers and people look for a monitor on this machine."""
MSGPACK = "application/msgpack"
JSON = "application/json"
MAX_GROUPS = 65_536
MAX_COMPLETIONS = 1_048_576
MAX_REPORTS = 256
MAX_REASON_CHARS = 500
MAX_NAME_CHARS = 128
MAX_TAGS = 64
MAX_TAG_CHARS = 256
RUN_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)"
RUN_ID_WORDS = "1 to 128 of letters, digits, '.', '_', '-', starting with a letter or digit"

WATCHED_SCALARS = (
    *("entropy", "kl", "grad_norm", "clip_fraction", "completion_length_mean"),
    *("completion_length_max", "truncated_fraction", "learning_rate", "temperature"),
)
"""Figures of the trainer that the health rules look at."""

_SAMPLED = Sampled.__struct_fields__
T = TypeVar("T")
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
RunId = Annotated[str, Meta(pattern=RUN_ID_PATTERN)]
Reason = Annotated[str, Meta(max_length=MAX_REASON_CHARS)]
StepNumber = Annotated[int, Meta(ge=1, le=2**53)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Rate = Annotated[float, Meta(ge=0, le=1)]
Magnitude = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
"""Finite: what is kept is kept as JSON, which has no NaN and no infinity."""


class Packed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A matrix of rewards as raw bytes; NaN marks "not scored" and pads shorter groups."""

    shape: tuple[Count, Count]
    """(groups, completions of the largest group)."""
    dtype: Literal["<f8", "<f4"]
    data: memoryview


class Component(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One reward function over the step's completions it scored, in reward units."""

    mean: float | None = None
    std: float | None = None


class Scalars(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the trainer measured last, when it scored the batch; absent where it has nothing."""

    entropy: float | None = None
    """Nats per token, of the newest finished optimizer step; so is `kl`."""
    kl: float | None = None
    """Nats per token, against the reference policy."""
    grad_norm: float | None = None
    """Of the trainer's newest log line, a mean over its logging interval; so are the next two."""
    loss: float | None = None
    learning_rate: float | None = None
    clip_fraction: float | None = None
    completion_length_mean: float | None = None
    """Tokens; of this step's completions, like the next four."""
    completion_length_max: float | None = None
    truncated_fraction: float | None = None
    temperature: float | None = None
    num_tokens: float | None = None
    step_s: float | None = None
    non_finite: list[Name] = []
    """Figures of this step that were NaN or infinite, by their names here."""


class Injection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an intervention comes to in one step."""

    injected_wrong: Count = 0
    injected_correct: Count = 0
    num_virtual: Count = 0
    """Largest K of the step."""
    advantage_abs_max: Magnitude = 0.0
    """Largest |A| that was injected."""
    virtual_mass_fraction: Rate = 0.0
    """Share of the batch's sum of |A|."""
    mass_fraction_pooled: Rate = 0.0
    group_fraction_pooled: Rate = 0.0
    """Shares of the sum of |A| and of the groups, pooled over the last groups: what the caps hold
    for when batches are small."""
    mass_scale: Rate = 1.0
    """Factor that the cap on the mass put on the advantages; 1 when it did not bind."""
    effective_acr: Rate | None = None
    """Share of scored groups without a signal after injection; never a sign of health."""


class Knob(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one of the trainer's parameters that the settings ask for."""

    status: Literal["applied", "ignored"]
    value: float | bool | None = None
    """In force at this step."""
    reason: Reason | None = None
    """Why it was ignored."""


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How dynamic sampling filled the batch; the report's rewards are of all groups sampled."""

    tries: Annotated[int, Meta(ge=1, le=2**53)]
    """Batches of prompts that were sampled."""
    sampled: Annotated[int, Meta(ge=1, le=2**53)]
    """Groups sampled: those of the report."""
    kept: Count
    """Groups that differ, in the batch that is trained on."""
    filled: Count = 0
    """Collapsed groups that fill that batch."""
    surplus: Count = 0
    """Groups that differ and are left over."""
    tokens: Count = 0
    """Tokens of all completions sampled."""
    stopped_by: Literal["tries", "tokens", "data"] | None = None
    """The limit that ended it; None when enough groups differed."""


class Applied(Injection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the trainer did at this step, and with which settings: the proof of the loop."""

    settings_version: Count
    through_step: Count
    """The step the settings had taken into account."""
    mode: ActingMode
    threshold: Rate
    triggered: bool
    acr: Rate | None = None
    """The rate that decided; None when nothing could be decided."""
    acr_source: AcrSource = "batch"
    stage: Stage = "off"
    """Where the guarded controller stood, by the settings."""
    decisions: dict[Name, Count] = {}
    """Groups by what was decided about them, and why."""
    shadow: Injection | None = None
    """In shadow mode: what would have been injected."""
    overrides: list[Count] = []
    """Numbers of the overrides that acted."""
    sampling: Sampling | None = None
    """None without dynamic sampling."""
    knobs: dict[Name, Knob] = {}
    """The trainer's parameters that the settings ask for."""
    command: Count | None = None
    """Number of the command that is being carried out."""
    kill: Kill | None = None
    """That kill: of its kill file, or of before the monitor lost its data."""
    killed_after_rearms: Count | None = None
    """The trainer is killed by what the settings do not say, when it knew of so many re-armings."""
    note: Reason | None = None
    """Why the settings held were not followed, when they were not."""


class StepReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One generation batch, as the trainer saw it."""

    schema: Literal[1] = 1
    step: StepNumber
    """Number of the generation batch, from 1."""
    attempt: StepNumber = 1
    """As answered when the run was created or resumed."""
    optimizer_step: Count | None = None
    """Optimizer steps finished when the batch was scored; `scalars` describe the newest."""
    rewards: list[list[float | None]] | Packed
    """One list of rewards for each group; null where a completion was not scored."""
    primary: list[list[float | None]] | Packed | None = None
    """The accuracy component, same shape, when `rewards` is a sum of several."""
    components: dict[Name, Component] = {}
    scalars: Scalars = Scalars()
    applied: Applied | None = None


class CreateRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new run, or the announcement that a known one starts again."""

    id: RunId
    profile: str | None = None
    """None: that of the monitor's defaults."""
    settings: dict[str, Any] = {}
    """Changes on top of the profile; any tunable field."""
    config: dict[Name, str | int | float | bool | None] = {}
    """What the trainer runs with, for people to read."""
    tags: dict[Name, Annotated[str, Meta(max_length=MAX_TAG_CHARS)]] = {}
    resume_from_step: Count | None = None
    """The trainer continues after this step; a known run gets a new attempt."""
    start_id: Annotated[str, Meta(max_length=64)] = ""
    """Names this start of the trainer, so that a repeated request opens no second attempt."""


def decode(body: bytes, media_type: str, kind: type[T]) -> T:
    """Read a request body.

    Raises:
        UnreadableInput: not valid JSON or msgpack.
        InvalidInput: valid, but not a `kind`; names the field, its value and what is allowed.
    """
    codec: Any = msgspec.msgpack if media_type == MSGPACK else msgspec.json
    try:
        try:
            return codec.decode(body, type=kind)  # type: ignore[no-any-return]
        except msgspec.ValidationError as error:
            raise explained(error, codec.decode(body), RUN_ID_WORDS) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableInput("body", body[:60], f"must be {media_type}: {error}") from error


def decode_settings(payload: bytes) -> Settings:
    """Read published settings; a field this version does not know is an error, not ignored.

    Raises:
        InvalidInput: unreadable, unknown fields, or values out of range.
    """
    found = decode(payload, JSON, dict[str, Any])
    try:
        settings = msgspec.convert(found, Settings)
    except msgspec.ValidationError as error:
        raise InvalidInput("settings", found, str(error)) from error
    if unknown := list(_unknown(found, settings)):
        raise InvalidInput("settings", sorted(unknown), "only fields this version knows")
    return settings


def _unknown(found: Any, understood: Any) -> Iterator[str]:
    """Names in `found` that no field of what was understood from it stands for."""
    if isinstance(understood, tuple):
        for one, its in zip(found, understood, strict=True):
            yield from _unknown(one, its)
    if isinstance(understood, Struct):
        known = set(understood.__struct_fields__)
        yield from found.keys() - known
        for name in known & found.keys():
            yield from _unknown(found[name], getattr(understood, name))


RUN_DELETED = "urn:acr:error:run-deleted"
"""Problem type of whatever is asked of a run that was deleted."""
ATTEMPT_CONFLICT = "urn:acr:error:attempt-conflict"
"""Problem type of a report whose attempt another start has replaced."""


def settings_key(run_id: str) -> str:
    """The Redis key of a run's newest settings. The braces keep a run in one Cluster slot."""
    return f"acr:{{{run_id}}}:settings"


def settings_channel(run_id: str) -> str:
    """The Redis channel on which every version of a run's settings is published."""
    return f"acr:{{{run_id}}}:settings-published"


def check_run_id(run_id: str) -> str:
    """The id itself; raises InvalidInput naming what is allowed."""
    if not re.fullmatch(RUN_ID_PATTERN, run_id):
        raise InvalidInput("id", run_id, RUN_ID_WORDS)
    return run_id


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises InvalidInput at too many of them, or at characters that nobody can see."""
    if len(tags) > MAX_TAGS:
        raise InvalidInput("tags", len(tags), f"must be at most {MAX_TAGS}")
    for name, text in tags.items():
        if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
            allowed = f"every name in it: must be 1 to {MAX_NAME_CHARS} characters of one line"
            raise InvalidInput("tags", name, allowed)
        if len(text) > MAX_TAG_CHARS or not text.isprintable():
            allowed = f"must be a text of one line, of up to {MAX_TAG_CHARS} characters"
            raise InvalidInput(f"tags.{name}", text, allowed)


def pack(rewards: Matrix) -> Packed:
    """Rewards `[N, G]` for a msgpack report, float64."""
    contiguous = np.ascontiguousarray(rewards, dtype="<f8")
    return Packed(shape=contiguous.shape, dtype="<f8", data=memoryview(contiguous.tobytes()))


def observation(report: StepReport) -> Observation:
    """The engine's view of a report.

    Raises:
        InvalidInput: no groups, a group without completions, or shapes that do not match.
        InputTooLarge: more groups or completions than a report may have.
    """
    rewards = _unpacked(report.rewards, "rewards")
    primary = None if report.primary is None else _unpacked(report.primary, "primary")
    if primary is not None and primary.shape != rewards.shape:
        raise InvalidInput(
            "primary", primary.shape, f"must have the shape of rewards {rewards.shape}"
        )
    applied = report.applied
    if applied:
        _check_injection("applied", applied, len(rewards))
        if applied.shadow:
            _check_injection("applied.shadow", applied.shadow, len(rewards))
        sampling = applied.sampling
        if sampling and sampling.sampled != len(rewards):
            allowed = f"{len(rewards)}, the groups of the report"
            raise InvalidInput("applied.sampling.sampled", sampling.sampled, allowed)
    return Observation(
        step=report.step,
        rewards=rewards,
        primary=primary,
        scalars=_watched(report.scalars),
        non_finite=tuple(report.scalars.non_finite),
        components={name: (one.mean, one.std) for name, one in report.components.items()},
        **_heard(report, applied) if applied else {},
    )


def _heard(report: StepReport, applied: Applied) -> dict[str, Any]:
    """What the trainer says about its half of the loop."""
    ignored = {
        name: knob.reason or "" for name, knob in applied.knobs.items() if knob.status == "ignored"
    }
    shadow, sampling = applied.shadow or Injection(), applied.sampling
    return {
        "injected_wrong": applied.injected_wrong,
        "injected_correct": applied.injected_correct,
        "shadow_wrong": shadow.injected_wrong,
        "shadow_correct": shadow.injected_correct,
        "applied_version": applied.settings_version,
        "settings_lag_steps": max(0, report.step - 1 - applied.through_step),
        "not_applied": {**ignored, **({"settings": applied.note} if applied.note else {})},
        "kill": applied.kill,
        "killed_after_rearms": applied.killed_after_rearms,
        "command": applied.command,
        "sampling": sampling and Sampled(**{name: getattr(sampling, name) for name in _SAMPLED}),
    }


def _watched(scalars: Scalars) -> dict[str, float]:
    """The figures that the health rules look at, where the trainer has them."""
    return {
        name: value for name in WATCHED_SCALARS if (value := getattr(scalars, name)) is not None
    }


def _check_injection(field: str, injection: Injection, num_groups: int) -> None:
    injected = (injection.injected_wrong, injection.injected_correct)
    if sum(injected) > num_groups:
        allowed = f"at most {num_groups} together, the groups of the report"
        raise InvalidInput(f"{field}.injected_wrong, {field}.injected_correct", injected, allowed)


def _unpacked(rewards: list[list[float | None]] | Packed, field: str) -> Matrix:
    if isinstance(rewards, Packed):
        num_groups, width = rewards.shape
        _check_size(field, num_groups, num_groups * width)
        if num_groups * width == 0:
            raise InvalidInput(field, rewards.shape, "must have at least one group and completion")
        expected = num_groups * width * int(rewards.dtype[-1])
        if len(rewards.data) != expected:
            raise InvalidInput(f"{field}.data", len(rewards.data), f"must have {expected} bytes")
        values = np.frombuffer(rewards.data, dtype=rewards.dtype)
        with np.errstate(invalid="ignore"):  # A signalling NaN becomes a quiet one.
            return values.astype(np.float64).reshape(num_groups, width)
    if not rewards:
        raise InvalidInput(field, rewards, "must have at least one group")
    width = max(map(len, rewards))
    # The padded matrix is what costs memory, so its size is what is limited.
    _check_size(field, len(rewards), len(rewards) * width)
    for index, group in enumerate(rewards):
        if not group:
            raise InvalidInput(f"{field}[{index}]", group, "must have at least one completion")
    return matrix(rewards)


def _check_size(field: str, num_groups: int, num_completions: int) -> None:
    if num_groups > MAX_GROUPS or num_completions > MAX_COMPLETIONS:
        raise InputTooLarge(
            f"{field}: {num_groups} groups and {num_completions} places for completions; allowed "
            f"are {MAX_GROUPS} and {MAX_COMPLETIONS}"
        )
