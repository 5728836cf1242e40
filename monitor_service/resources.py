"""What the service answers and what people order: the resources of the REST API."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from monitor_service.engine.events import Event
from monitor_service.engine.forecast import Forecast
from monitor_service.engine.health.alarms import Verdict
from monitor_service.engine.settings import ActingMode, Settings
from monitor_service.engine.state import Counters, StepFigures
from monitor_service.wire import Applied, Component, Knob, Name, Rate, Scalars, StepNumber


class StepRecord(Struct, frozen=True, kw_only=True):
    """What is kept of a step."""

    step: int
    attempt: int
    optimizer_step: int | None
    at_s: float
    """Unix time at which the report was recorded."""
    settings_version: int
    """Version of the settings published in answer to this step."""
    collapse: StepFigures
    components: dict[str, Component]
    scalars: Scalars
    applied: Applied | None


class Change(Struct, frozen=True, kw_only=True):
    """The newest change of the settings by a person."""

    at_s: float
    actor: str
    reason: str
    changes: dict[str, Any]
    version: int


class Requested(Struct, frozen=True, kw_only=True):
    """One of the trainer's parameters: what is asked for beside what is in force."""

    name: str
    requested: float | bool | None
    """For the next step. None: the trainer's own value, as it was configured."""
    applied: Knob | None
    """By the newest report; None when it has not been reported on."""


class Run(Struct, frozen=True, kw_only=True):
    """A run as it stands."""

    id: str
    created_at_s: float
    last_report_at_s: float | None
    step: int
    attempt: int
    """The newest; in the answer to a start, the one that this start was given."""
    config: dict[str, Any]
    tags: dict[str, str]
    ended: str | None
    """How the newest attempt ended, when its trainer said so."""
    counters: Counters
    settings: Settings
    """As configured; what acts at the next step is this under overrides and a kill."""
    acting_mode: ActingMode
    """The mode at the next step."""
    acting_overrides: list[int]
    """Numbers of the overrides that act at the next step."""
    knobs: list[Requested]
    """The trainer's parameters that are asked for, or were reported on."""
    changed: Change | None
    last: StepRecord | None
    verdicts: list[Verdict]
    """What the health rules say, the most severe first."""


class RunList(Struct, frozen=True, kw_only=True):
    """All runs, newest first."""

    runs: list[Run]


class StepResult(Struct, frozen=True, kw_only=True):
    """What became of one report."""

    step: int
    status: Literal["recorded", "duplicate", "conflict"]
    detail: str | None = None


class Ack(Struct, frozen=True, kw_only=True):
    """The answer to reports: what became of each, and the newest settings."""

    results: list[StepResult]
    settings: Settings


class StepPage(Struct, frozen=True, kw_only=True):
    """Part of a run's history, in order."""

    steps: list[StepRecord]
    next_from: int | None
    """Ask again from here; None at the end."""


class SettingsView(Struct, frozen=True, kw_only=True):
    """The settings in force and who changed them last."""

    settings: Settings
    changed: Change | None


class OverrideRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that return by themselves; both ends are required, the first one counts."""

    settings: dict[str, Any]
    reason: Any = None
    actor: Any = "api"
    expires_in_steps: Any = None
    expires_in_s: Any = None


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who orders a kill or a re-arming, and why."""

    reason: Any = None
    actor: Any = "api"


class CommandRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something for the trainer to do once, at the end of its optimizer step."""

    command: Literal["save", "stop"]
    reason: Any = None
    actor: Any = "api"


class EndOfRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The trainer says that its training is over."""

    attempt: StepNumber
    how: Annotated[str, Meta(min_length=1, max_length=64)] = "finished"


class ResultRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The final accuracy of a run, measured elsewhere."""

    accuracy: Rate
    benchmark: Name
    """What it was measured on; only results on the same one are compared."""


class Result(Struct, frozen=True, kw_only=True):
    """A final accuracy as it is kept."""

    run_id: str
    accuracy: float
    benchmark: str
    acr_100: float | None
    """Mean ACR of the run's first 100 steps; None when it had fewer."""
    at_s: float


class Diagnosis(Struct, frozen=True, kw_only=True):
    """How a run is doing, as far as its reports tell."""

    run_id: str
    step: int
    verdicts: list[Verdict]
    """The most severe first; empty: nothing found."""
    failure: str
    """Where the health rules failed at the newest step, so that `verdicts` are older; "" when they
    did not."""
    knobs: list[Requested]


class ForecastView(Struct, frozen=True, kw_only=True):
    """The accuracy to expect, and what it rests on."""

    run_id: str
    forecast: Forecast
    result: Result | None


class EventView(Struct, frozen=True, kw_only=True):
    """One event of a run."""

    id: str
    at_s: float
    event: Event


class EventPage(Struct, frozen=True, kw_only=True):
    """The newest events, newest first."""

    events: list[EventView]


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error, as RFC 9457 describes it, with the field at fault where there is one."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    value: str | None = None
    allowed: str | None = None
    results: list[StepResult] | None = None
    settings: Settings | None = None
