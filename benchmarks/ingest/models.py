"""The contract of `monitor_service.wire` and `resources` as pydantic models, for the baseline.

Rewards are lists; what is packed is for those who think of it later.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from monitor_service.engine.arming import Stage
from monitor_service.engine.orders import Kill
from monitor_service.engine.settings import AcrSource, ActingMode, Settings
from monitor_service.engine.state import StepFigures
from monitor_service.wire import MAX_NAME_CHARS, MAX_REASON_CHARS, RUN_ID_PATTERN

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Reason = Annotated[str, Field(max_length=MAX_REASON_CHARS)]
StepNumber = Annotated[int, Field(ge=1, le=2**53)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Rate = Annotated[float, Field(ge=0, le=1)]
Magnitude = Annotated[float, Field(ge=0)]
Rewards = list[list[float | None]]


class Model(BaseModel):
    """Nothing unknown, nothing converted, nothing infinite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Component(Model):
    """One reward function."""

    mean: float | None = None
    std: float | None = None


class Scalars(Model):
    """What the trainer measured."""

    entropy: float | None = None
    kl: float | None = None
    grad_norm: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    clip_fraction: float | None = None
    completion_length_mean: float | None = None
    completion_length_max: float | None = None
    truncated_fraction: float | None = None
    temperature: float | None = None
    num_tokens: float | None = None
    step_s: float | None = None
    non_finite: list[Name] = []


class Injection(Model):
    """What an intervention comes to."""

    injected_wrong: Count = 0
    injected_correct: Count = 0
    num_virtual: Count = 0
    advantage_abs_max: Magnitude = 0.0
    virtual_mass_fraction: Rate = 0.0
    mass_fraction_pooled: Rate = 0.0
    group_fraction_pooled: Rate = 0.0
    mass_scale: Rate = 1.0
    effective_acr: Rate | None = None


class Knob(Model):
    """What became of one of the trainer's parameters."""

    status: Literal["applied", "ignored"]
    value: float | bool | None = None
    reason: Reason | None = None


class Sampling(Model):
    """How dynamic sampling filled the batch."""

    tries: StepNumber
    sampled: StepNumber
    kept: Count
    filled: Count = 0
    surplus: Count = 0
    tokens: Count = 0
    stopped_by: Literal["tries", "tokens", "data"] | None = None


class Applied(Injection):
    """What the trainer did, and with which settings."""

    settings_version: Count
    through_step: Count
    mode: ActingMode
    threshold: Rate
    triggered: bool
    acr: Rate | None = None
    acr_source: AcrSource = "batch"
    stage: Stage = "off"
    decisions: dict[Name, Count] = {}
    shadow: Injection | None = None
    overrides: list[Count] = []
    sampling: Sampling | None = None
    knobs: dict[Name, Knob] = {}
    command: Count | None = None
    kill: Kill | None = None
    killed_after_rearms: Count | None = None
    note: Reason | None = None


class StepReport(Model):
    """One generation batch."""

    # `schema` is a method of every pydantic model.
    version: Literal[1] = Field(default=1, alias="schema")
    step: StepNumber
    attempt: StepNumber = 1
    optimizer_step: Count | None = None
    rewards: Rewards
    primary: Rewards | None = None
    components: dict[Name, Component] = {}
    scalars: Scalars = Scalars()
    applied: Applied | None = None


class StepRecord(BaseModel):
    """What is kept of a step."""

    step: int
    attempt: int
    optimizer_step: int | None
    at_s: float
    settings_version: int
    collapse: StepFigures
    components: dict[str, Component]
    scalars: Scalars
    applied: Applied | None


class StepResult(BaseModel):
    """What became of the report."""

    step: int
    status: Literal["recorded", "duplicate", "conflict"]
    detail: str | None = None


class Ack(BaseModel):
    """The answer to a report."""

    results: list[StepResult]
    settings: Settings


class CreateRun(Model):
    """A new run."""

    id: Annotated[str, Field(max_length=128, pattern=RUN_ID_PATTERN.partition("$")[0] + "$")]
    settings: dict[str, Any] = {}
