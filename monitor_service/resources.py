"""What the service answers and what people order: the resources of the REST API."""

from typing import Any, Literal

from msgspec import Struct

from monitor_service.engine.events import Event
from monitor_service.engine.fields import Field
from monitor_service.engine.forecast import Forecast
from monitor_service.engine.health.alarms import Verdict
from monitor_service.engine.health.evidence import Severity
from monitor_service.engine.settings import ActingMode, ProfileName, Settings
from monitor_service.engine.state import Counters, StepFigures
from monitor_service.wire import Applied, Component, Knob, Scalars


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


class Origin(Struct, frozen=True, kw_only=True):
    """From where an order came."""

    address: str | None = None
    """Of the machine that sent it, as far as the monitor can tell."""
    token: str | None = None
    """Name of the token it came with; None without one."""
    client: str | None = None
    """What the program that sent it calls itself."""


class Change(Struct, frozen=True, kw_only=True):
    """The newest change of the settings by a person."""

    at_s: float
    actor: str
    reason: str
    changes: dict[str, Any]
    version: int
    origin: Origin | None = None
    """None for an order of before origins were kept."""


class Deletion(Struct, frozen=True, kw_only=True):
    """Who deleted a run, when and why."""

    at_s: float
    actor: str
    reason: str


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
    notes: str = ""
    deleted: Deletion | None = None
    """Set for a run that was deleted and not purged."""
    ended: str | None
    """How the newest attempt ended, when its trainer said so."""
    headline: str
    """One sentence: whether it learns, and if it does not, why."""
    controller: str
    """One sentence: what the controller does at the next step, and why."""
    baselines: dict[str, float]
    """What its figures are compared with, by the name of the column; those that are known."""
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
    """A page of runs, newest first."""

    runs: list[Run]
    total: int
    """Of the runs that were asked for, on all pages."""
    next_after: str | None
    """Ask again with this `after`; None at the end."""


class Defaults(Struct, frozen=True, kw_only=True):
    """What new runs start with, and who changed that last."""

    profile: ProfileName = "paper"
    """For runs that name none."""
    settings: dict[str, Any] = {}
    """On top of the profile, under what the run itself asks for."""
    revision: int = 1
    """Grows with every change; the ETag."""
    changed: "DefaultsChange | None" = None


class DefaultsChange(Struct, frozen=True, kw_only=True):
    """The newest change of the defaults."""

    at_s: float
    actor: str
    reason: str
    old: dict[str, Any]
    new: dict[str, Any]
    origin: Origin


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
    records_from: int
    """Records of earlier steps than this one are dropped; their figures stay, as columns."""


class StepColumns(Struct, frozen=True, kw_only=True):
    """Figures of a run's steps, in order, a column each."""

    run_id: str
    fields: list[str]
    """Names of the columns; `step` is always the first."""
    total: int
    """Steps in the range that was asked for; there may be fewer rows."""
    steps_from: int | None
    steps_to: int | None
    """The first and the last step here; None where there is none."""
    next_from: int | None
    """Ask again from here; None at the end."""
    columns: dict[str, list[float | None]]
    """None where a step has no such figure."""


class StepBins(Struct, frozen=True, kw_only=True):
    """Figures of a run's steps, in order, in bins of equal numbers of steps."""

    run_id: str
    fields: list[str]
    """Names of the columns; `step` is always the first."""
    total: int
    """Steps in the range that was asked for, all of them in a bin."""
    steps_per_bin: int
    """The last bin may have fewer."""
    steps_from: int | None
    steps_to: int | None
    """The first and the last step here; None where there is none."""
    columns: dict[str, list[float | None]]
    """The mean of each bin, and for `step` its last; None where no step of it has the figure."""
    low: dict[str, list[float | None]]
    """The least of each bin, and for `step` its first."""
    high: dict[str, list[float | None]]
    """The greatest of each bin, and for `step` its last."""


class Group(Struct, frozen=True, kw_only=True):
    """One group of a step, judged."""

    outcome: Literal["mixed", "all_correct", "all_wrong", "uniform_other", "unscored"]
    scored: int
    """Completions with a usable reward."""
    mean: float | None
    std: float | None
    """Of the population, in reward units; None where nothing was scored."""
    rewards: list[float | None]
    """None where a completion was not scored, or the group has fewer."""
    primary: list[float | None] | None
    """The accuracy component; None when the rewards are not a sum of several."""


class StepGroups(Struct, frozen=True, kw_only=True):
    """The groups of a step, as they were reported, judged by the run's present reward range."""

    run_id: str
    step: int
    attempt: int
    reward_low: float | None
    reward_high: float | None
    groups: list[Group]


class FieldList(Struct, frozen=True, kw_only=True):
    """Every setting that people may change."""

    fields: tuple[Field, ...]


class SettingsView(Struct, frozen=True, kw_only=True):
    """The settings in force and who changed them last."""

    settings: Settings
    changed: Change | None


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
    headline: str
    """One sentence: whether it learns, and if it does not, why."""
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
    """Events, newest first; oldest first when those after an event were asked for."""

    events: list[EventView]
    next: str | None
    """Ask again with this in place of `before` or `after`; None at the end."""


class OrderView(Struct, frozen=True, kw_only=True):
    """What a person ordered, and what came of it."""

    id: str
    at_s: float
    step: int
    """The newest step when it was given."""
    kind: str
    actor: str
    reason: str
    origin: Origin | None
    """None for what a file next to the trainer ordered."""
    version: int | None
    """Of the settings that the order made; None for what the trainer told us."""
    number: int | None
    """Of the override, where it is about one."""
    old: dict[str, Any]
    new: dict[str, Any]
    applied_step: int | None
    """The first step that was reported to be made with it; None while nobody has."""
    ignored: dict[str, str]
    """What of it the trainer did not apply at that step, and why."""


class OrderPage(Struct, frozen=True, kw_only=True):
    """What people ordered, newest first."""

    orders: list[OrderView]
    next: str | None
    """Ask again with this as `before`; None at the end."""


class Glance(Struct, frozen=True, kw_only=True):
    """A run after a transition, as a list of runs shows it."""

    run_id: str
    step: int
    attempt: int
    ended: str | None
    """How the newest attempt ended, when its trainer said so."""
    acr: float | None
    """Of the newest step; None when nothing of it was scored."""
    verdict: str | None
    """The rule of the most severe verdict; None: nothing found."""
    severity: Severity | None


class Health(Struct, frozen=True, kw_only=True):
    """The answer to a probe."""

    status: Literal["ok", "ready"]
    version: str
    """Of the monitor."""


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
