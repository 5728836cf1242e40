"""A run as a file: JSON lines that hold all that is kept of it, and that another monitor takes in.

The first line says what the run is and where it started, then comes a line for each step that
counts, for each event and for each change, and in the end how the run stands. Without that last
line a file is not whole. Left out are steps that a later attempt has done over again.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from monitor_service.engine.events import Event
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import InvalidInput
from monitor_service.raw import unpacked
from monitor_service.resources import Change, Origin, Result, StepRecord
from monitor_service.series import COLUMNS, WHOLE, Table
from monitor_service.store.redis import About, StoredRun
from monitor_service.wire import JSON, Count, RunId, StepNumber, check_tags, decode

FORMAT = 1
"""Of the lines below; another one is refused."""

IMPORTED = "imported"
"""How a run ended that was still going on when it was exported."""

_STREAM_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

Attempts = Annotated[list[tuple[StepNumber, Count]], Meta(min_length=1, max_length=10_000)]
Digest = Annotated[bytes, Meta(min_length=1, max_length=64)]


class _Line(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """One object of the file."""


class Beginning(_Line, frozen=True, kw_only=True, tag="run"):
    """The first line: which run it is."""

    format: int = FORMAT
    acr: str
    """The version that wrote it, for people."""
    id: RunId
    about: About
    attempts: Attempts
    """As in `RunState.attempts`: which attempt's steps follow."""
    start: RunState
    """What the run started from."""


class Step(_Line, frozen=True, kw_only=True, omit_defaults=True, tag="step"):
    """A step, with what is kept of it besides its figures."""

    figures: dict[str, float]
    """By the names of `series.COLUMNS`, those it has."""
    digest: Digest | None = None
    record: StepRecord | None = None
    state: RunState | None = None
    """Of the run after it."""
    rewards: bytes | None = None
    """Packed as `raw` describes it."""

    @property
    def at(self) -> tuple[int, int]:
        """(attempt, step)."""
        return int(self.figures["attempt"]), int(self.figures["step"])


class Happening(_Line, frozen=True, kw_only=True, tag="event"):
    """Something of the run's events, with its id."""

    id: str
    at_s: float
    event: Event


class Ordered(Happening, frozen=True, kw_only=True, tag="change"):
    """The same of what people ordered."""


class End(_Line, frozen=True, kw_only=True, tag="end"):
    """The last line: how the run stands, and how many lines of each kind there are."""

    steps: int
    events: int
    changes: int
    state: RunState
    changed: Change | None
    last: StepRecord | None
    result: Result | None


Line = Beginning | Step | Happening | Ordered | End


class _OrderData(Struct):
    """What an order's event says besides, as far as it is read again."""

    actor: str
    reason: str
    origin: Origin | None = None
    version: int | None = None
    number: int | None = None
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}


class _EffectData(Struct):
    """The same of the event that tells when an order acted."""

    version: int
    ignored: dict[str, str]


class _Format(Struct):
    """What a first line of any version says."""

    format: int | None = None
    acr: str = "an unknown version"


def ended(state: RunState) -> RunState:
    """The state of an imported run: no trainer reports to it, so its silence is no news."""
    return replace(state, ended=state.ended or IMPORTED)


def figures_of(table: Table) -> Iterator[dict[str, float]]:
    """The figures of each step, those that it has."""
    columns = [table.values(name) for name in COLUMNS]
    for row in zip(*columns, strict=True):
        yield {name: value for name, value in zip(COLUMNS, row, strict=True) if value is not None}


class Reader:
    """Takes the lines of a file in order, and refuses what no export writes."""

    def __init__(self) -> None:
        self.beginning: Beginning | None = None
        self.end: End | None = None
        self._attempts = RunState(settings=Settings())
        self.counts = {Step: 0, Happening: 0, Ordered: 0}
        self._number = 0
        self._step = 0
        self._ids = {Happening: (0, 0), Ordered: (0, 0)}

    def take(self, payload: bytes) -> Line:
        """The next line; raises InvalidInput with its number."""
        self._number += 1
        try:
            if self._number == 1:
                _check_format(payload)
            line: Line = decode(payload, JSON, Line)  # type: ignore[arg-type]
            self._check(line)
        except InvalidInput as error:
            raise error.within(f"line {self._number}") from error
        return line

    def run(self, run_id: str) -> StoredRun:
        """What all lines come to, under this id; raises InvalidInput when lines are missing."""
        if self.beginning is None or self.end is None:
            after = f"line {self._number + 1}"
            raise InvalidInput(after, None, "the file breaks off before its line of kind end")
        end = self.end
        return StoredRun(
            run_id=run_id,
            state=ended(end.state),
            about=self.beginning.about,
            changed=end.changed,
            last=end.last,
            result=replace(end.result, run_id=run_id) if end.result else None,
        )

    def _check(self, line: Line) -> None:
        if (self._number == 1) != isinstance(line, Beginning):
            kind = type(line).__struct_config__.tag
            raise InvalidInput("kind", kind, "must be run in the first line, and in no other")
        if self.end is not None:
            raise InvalidInput("body", "more lines", "nothing may follow the line of kind end")
        if isinstance(line, Beginning):
            self._check_beginning(line)
            self.beginning = line
        elif isinstance(line, Step):
            self._check_step(line)
        elif isinstance(line, Happening):
            if isinstance(line, Ordered):
                _check_order(line.event)
            self._check_id(type(line), line.id)
        else:
            self._check_end(line)
            self.end = line

    def _check_beginning(self, line: Beginning) -> None:
        check_tags(line.about.tags)
        numbers = [number for number, _ in line.attempts]
        if numbers != list(range(1, len(numbers) + 1)):
            raise InvalidInput("attempts", numbers, "must be 1, 2, ... in order")
        self._attempts = replace(line.start, attempts=tuple(line.attempts))

    def _check_step(self, line: Step) -> None:
        _check_figures(line.figures)
        attempt, step = line.at
        if step <= self._step:
            raise InvalidInput("figures.step", step, f"must be above {self._step}, the step before")
        if attempt != (counts := self._attempts.attempt_of(step)):
            raise InvalidInput("figures.attempt", attempt, f"must be {counts}, by the attempts")
        for name, part in (("record", line.record), ("state", line.state)):
            if part is not None and (part.attempt, part.step) != (attempt, step):
                found = (part.attempt, part.step)
                raise InvalidInput(name, found, f"must be of attempt {attempt}, step {step}")
        if line.rewards is not None:
            try:
                unpacked(line.rewards)
            except ValueError as error:
                raise InvalidInput("rewards", line.rewards, str(error)) from error
        self._step = step
        self.counts[Step] += 1

    def _check_id(self, kind: type[Happening], text: str) -> None:
        found = tuple(map(int, text.split("-"))) if _STREAM_ID.fullmatch(text) else (0, 0)
        if not self._ids[kind] < found or max(found) >= 2**63:
            raise InvalidInput("id", text, "must be the id of an event, above those before it")
        self._ids[kind] = found  # type: ignore[assignment]
        self.counts[kind] += 1

    def _check_end(self, line: End) -> None:
        for name, kind in (("steps", Step), ("events", Happening), ("changes", Ordered)):
            told = getattr(line, name)
            if told != self.counts[kind]:
                raise InvalidInput(name, told, f"must be {self.counts[kind]}, the lines there are")
        if line.state.attempts != self._attempts.attempts:
            allowed = "must be the attempts of the first line"
            raise InvalidInput("state.attempts", line.state.attempts, allowed)
        if line.state.step < self._step:
            raise InvalidInput("state.step", line.state.step, f"must be at least {self._step}")


def _check_order(event: Event) -> None:
    kind = _EffectData if event.kind == "change_applied" else _OrderData
    try:
        msgspec.convert(event.data, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput("event.data", event.data, str(error)) from error


def _check_format(payload: bytes) -> None:
    found = decode(payload, JSON, _Format)
    if found.format != FORMAT:
        allowed = f"must be {FORMAT}, the one that is read here; the file is of acr {found.acr}"
        raise InvalidInput("format", found.format, allowed)


def _check_figures(figures: Mapping[str, float]) -> None:
    if unknown := figures.keys() - set(COLUMNS):
        raise InvalidInput("figures", min(unknown), f"must be of {', '.join(COLUMNS)}")
    for name in ("step", "attempt", "at_s"):
        if name not in figures:
            raise InvalidInput(f"figures.{name}", None, "is required")
    for name, value in figures.items():
        is_whole = name not in WHOLE or (value.is_integer() and 0 <= value <= 2**53)
        if not math.isfinite(value) or not is_whole:
            allowed = "must be a whole number" if name in WHOLE else "must be finite"
            raise InvalidInput(f"figures.{name}", value, allowed)
