"""What a reader hands on: one log, step by step, in our words; and a place for every problem.

Memory is bounded by steps for metrics, and is 8 bytes a completion for rollouts: text is never
kept.
"""

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from monitor_service.diagnose.vocabulary import (
    component_of,
    figure_of,
    is_evaluation,
    normalised,
)

MAX_EXAMPLES = 3
"""Places that are named for one kind of problem; the others are counted."""

MAX_UNKNOWN_KEYS = 60
"""Keys outside our vocabulary that are remembered for the report."""

LARGEST_STEP = 2**53
"""Steps beyond this are no step numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a file.

    Attributes:
        path: as the person wrote it, or found below it.
        line: from 1; None when the format has no lines.
        column: from 1.
    """

    path: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(
            str(part) for part in (self.path, self.line, self.column) if part is not None
        )


@dataclass(slots=True)
class Problem:
    """One kind of problem in a file, and where it was seen first."""

    text: str
    count: int = 0
    places: list[Place] = field(default_factory=list)

    def seen(self, place: Place) -> None:
        """Count one more."""
        self.count += 1
        if len(self.places) < MAX_EXAMPLES:
            self.places.append(place)


@dataclass(slots=True)
class Cell:
    """What the rows of one step say under one key."""

    visit: int
    count: int = 0
    total: float = 0.0
    largest: float = 0.0
    last: float = 0.0
    is_non_finite: bool = False

    def add(self, value: float) -> None:
        """Take one more row into account; NaN and infinity are only remembered as such."""
        if not math.isfinite(value):
            self.is_non_finite = True
            return
        self.count += 1
        self.total += value
        self.last = value
        if self.count == 1 or abs(value) > abs(self.largest):
            self.largest = value

    def value(self, merge: str) -> float | None:
        """The rows as one number; None when none of them held a finite one."""
        if not self.count:
            return None
        if merge == "mean":
            mean = self.total / self.count
            return mean if math.isfinite(mean) else self.last
        return self.largest if merge == "largest" else self.last


@dataclass(slots=True)
class Log:
    """One log as read; filled by a reader, row by row.

    Attributes:
        path: for people.
        format: what it was recognised as.
        num_rows: rows that went into it.
        cells: step -> normalised key -> what its rows say.
        groups: step -> group -> rewards of its completions.
        problems: by text.
        unknown: keys that are none of ours, up to `MAX_UNKNOWN_KEYS`.
        no_numbers: keys of ours that held something else than a number somewhere.
        caveats: what a reader had to assume, as sentences.
        group_share: share of a step's groups that the file holds, when a reader knows.
    """

    path: str
    format: str
    num_rows: int = 0
    num_evaluation_rows: int = 0
    step_key: str | None = None
    group_key: str | None = None
    reward_key: str | None = None
    cells: dict[int, dict[str, Cell]] = field(default_factory=dict)
    groups: dict[int, dict[str, "array[float]"]] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    no_numbers: dict[str, None] = field(default_factory=dict)
    evaluation_keys: dict[str, None] = field(default_factory=dict)
    caveats: list[str] = field(default_factory=list)
    _step: int | None = None
    _visit: int = 0

    def place(self, line: int | None = None, column: int | None = None) -> Place:
        """A place in this file."""
        return Place(path=self.path, line=line, column=column)

    def problem(self, text: str, place: Place | None = None) -> None:
        """Note a problem; the same text is counted, not repeated."""
        self.problems.setdefault(text, Problem(text)).seen(place or self.place())

    def row(self, step: int, figures: Mapping[str, float], line: int | None = None) -> None:
        """Add one row of metrics: normalised key -> number, NaN and infinity included."""
        self._turn_to(step, line)
        self.num_rows += 1
        cells = self.cells.setdefault(step, {})
        for key, value in figures.items():
            cell = cells.get(key)
            if cell is None or cell.visit != self._visit:
                if cell is not None:
                    self.problem(
                        "a step comes again later; its later values count", self.place(line)
                    )
                cell = cells[key] = Cell(self._visit)
            cell.add(value)
            if not math.isfinite(value):
                self.problem(f"{key} is NaN or infinite", self.place(line))

    def rewards(
        self, step: int, group: str, values: Iterable[float], line: int | None = None
    ) -> None:
        """Add rewards to a group of a step; NaN marks "not scored"."""
        self._turn_to(step, line)
        self.num_rows += 1
        self.groups.setdefault(step, {}).setdefault(group, array("d")).extend(values)

    def length(self, step: int, value: float) -> None:
        """Add the length of one completion, in tokens."""
        cells = self.cells.setdefault(step, {})
        cells.setdefault("completion_length", Cell(0)).add(value)

    def _turn_to(self, step: int, line: int | None) -> None:
        if self._step is not None and step < self._step:
            self.problem("steps are not in order; sorted", self.place(line))
        if step != self._step:
            self._step = step
            self._visit += 1


def split(row: Mapping[str, Any], log: Log) -> dict[str, float]:
    """The figures of a row, by normalised key; what is not ours goes into `log.unknown`."""
    figures: dict[str, float] = {}
    for key, raw in row.items():
        name = normalised(key)
        if is_evaluation(name):
            if len(log.evaluation_keys) < MAX_UNKNOWN_KEYS:
                log.evaluation_keys.setdefault(name)
            continue
        if figure_of(name) is None and component_of(name) is None:
            if len(log.unknown) < MAX_UNKNOWN_KEYS and key != log.step_key:
                log.unknown.setdefault(str(key)[:80])
            continue
        value = number(raw)
        if value is not None:
            figures[name] = value
        elif raw not in (None, "") and len(log.no_numbers) < MAX_UNKNOWN_KEYS:
            log.no_numbers.setdefault(name)
    return figures


def number(raw: Any) -> float | None:
    """A number as logs write it: also as text, as 62.5%, NaN and Infinity; None for all else.

    >>> number("62.5%"), number(" -0.5 "), number("tensor(2.)"), number("n/a"), number(True)
    (0.625, -0.5, 2.0, None, 1.0)
    """
    if isinstance(raw, str):
        text = raw.strip()
        if text.startswith(("np.float", "tensor(", "np.int")) and "(" in text:
            text = text[text.index("(") + 1 :].split(",")[0].rstrip(") ")
        scale = 1.0
        if text.endswith("%"):
            text, scale = text[:-1], 0.01
        try:
            return float(text) * scale if len(text) < 64 and "_" not in text else None
        except ValueError:
            return None
    if isinstance(raw, int | float):
        try:
            return float(raw)
        except OverflowError:
            return math.inf if raw > 0 else -math.inf
    return None


def whole(raw: Any) -> int | None:
    """A step number; None when it is none."""
    value = number(raw)
    if value is None or not math.isfinite(value) or abs(value) > LARGEST_STEP:
        return None
    return int(value) if value == int(value) else None
