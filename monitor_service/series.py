"""A run's figures as columns: one row of fixed width a step, appended and never rewritten.

Float64, little-endian; NaN where the step has no such figure. 272 bytes a step, so the history of
100,000 steps is one string of 27 MB that NumPy reads as it is.
"""

import csv
import io
import math
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor_service.engine.collapse import Matrix
from monitor_service.engine.state import RunState
from monitor_service.resources import StepBins, StepRecord

COLUMNS = (
    *("step", "attempt", "at_s"),
    *("acr", "acr_wrong", "acr_correct", "acr_other", "acr_primary", "acr_smoothed"),
    *("acr_effective", "threshold", "threshold_next", "reward_mean"),
    *("entropy", "kl", "grad_norm", "loss", "learning_rate", "clip_fraction"),
    *("completion_length_mean", "completion_length_max", "truncated_fraction", "temperature"),
    *("step_s", "num_groups", "mixed", "all_correct", "all_wrong", "uniform_other", "unscored"),
    *("injected_wrong", "injected_correct", "settings_version", "applied_version"),
)
"""The order is the stored format."""
WHOLE = frozenset(
    {
        *("step", "attempt", "num_groups", "mixed", "all_correct", "all_wrong", "uniform_other"),
        *("unscored", "injected_wrong", "injected_correct", "settings_version"),
        "applied_version",
    }
)
"""Columns of whole numbers."""

_ROW = struct.Struct(f"<{len(COLUMNS)}d")
ROW_BYTES = _ROW.size

_NAN = math.nan
_INDEX = {name: index for index, name in enumerate(COLUMNS)}


def row(record: StepRecord) -> bytes:
    """One step as it is stored."""
    figures, scalars, applied = record.collapse, record.scalars, record.applied
    values = (
        record.step,
        record.attempt,
        record.at_s,
        figures.acr,
        figures.acr_wrong,
        figures.acr_correct,
        figures.acr_other,
        figures.acr_primary,
        figures.acr_smoothed,
        applied.effective_acr if applied else None,
        figures.threshold,
        figures.threshold_next,
        figures.reward_mean,
        scalars.entropy,
        scalars.kl,
        scalars.grad_norm,
        scalars.loss,
        scalars.learning_rate,
        scalars.clip_fraction,
        scalars.completion_length_mean,
        scalars.completion_length_max,
        scalars.truncated_fraction,
        scalars.temperature,
        scalars.step_s,
        figures.num_groups,
        figures.mixed,
        figures.all_correct,
        figures.all_wrong,
        figures.uniform_other,
        figures.unscored,
        applied.injected_wrong if applied else None,
        applied.injected_correct if applied else None,
        record.settings_version,
        applied.settings_version if applied else None,
    )
    return _ROW.pack(*[_NAN if value is None else value for value in values])


def row_of(figures: Mapping[str, float]) -> bytes:
    """The same from figures by their names; those that are missing are absent."""
    return _ROW.pack(*[figures.get(name, _NAN) for name in COLUMNS])


@dataclass(frozen=True, slots=True)
class Table:
    """Steps in order, each once.

    Attributes:
        rows: `[steps, len(COLUMNS)]`; NaN where a step has no such figure.
    """

    rows: Matrix

    @classmethod
    def read(cls, payload: bytes | bytearray, state: RunState) -> "Table":
        """The rows that count: those of steps up to `state.step`, by `RunState.attempt_of`.

        `payload` is a series, or the end of one.

        Raises ValueError when the payload is not a whole number of rows.
        """
        rows = np.frombuffer(payload, dtype="<f8").reshape(-1, len(COLUMNS))
        steps, attempts = rows[:, _INDEX["step"]], rows[:, _INDEX["attempt"]]
        counts = (attempts == _attempts_of(steps, state.attempts)) & (steps <= state.step)
        # Attempts follow each other, and what counts of each ends where the next one begins.
        return cls(rows if counts.all() else rows[counts])

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Matrix:
        """`[steps]`; `name` is one of COLUMNS."""
        return self.rows[:, _INDEX[name]]

    def values(self, name: str) -> list[float | None]:
        """The same as numbers, whole ones as int; None where a step has no such figure."""
        return numbers(self.column(name), int if name in WHOLE else float)

    def between(self, first: int, last: int) -> "Table":
        """Steps from `first` to `last`, both included."""
        steps = self.column("step")
        start, end = np.searchsorted(steps, [first, last + 1])
        return Table(self.rows[start:end])

    def first(self, count: int) -> "Table":
        """The first so many steps, or all."""
        return Table(self.rows[:count])

    def last(self, count: int) -> "Table":
        """The newest so many steps, or all."""
        return Table(self.rows[-count:])

    def thinned(self, names: Iterable[str], points: int) -> "Table":
        """At most so many of the steps, chosen so that spikes survive.

        The first and the last stay. Of each column named, the steps that have a figure are cut into
        parts of equal length, and each part's least and greatest stay: among them are those of the
        whole. `points` must be at least `least_points` of the names.
        """
        if len(self) <= points:
            return self
        columns = [self.column(name) for name in names]
        known = [np.flatnonzero(np.isfinite(column)) for column in columns]
        some = [(column, at) for column, at in zip(columns, known, strict=True) if len(at)]
        parts = (points - 2) // (2 * max(1, len(some)))
        chosen = [np.array([0, len(self) - 1])]
        chosen += [at[_extremes(column[at], parts)] for column, at in some]
        return Table(self.rows[np.unique(np.concatenate(chosen))])

    def binned(self, name: str, size: int) -> "Bins":
        """A column in bins of `size` steps each; the last one may have fewer."""
        column = self.column(name)
        padded = np.full(size * math.ceil(len(column) / size), np.nan)
        padded[: len(column)] = column
        parts = padded.reshape(-1, size)
        is_known = np.isfinite(parts)
        parts[~is_known] = np.nan
        low, high = np.fmin.reduce(parts, axis=1), np.fmax.reduce(parts, axis=1)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = parts.sum(axis=1, where=is_known) / is_known.sum(axis=1)
        # Rounding, and a sum that overflows, would take it out of its bounds.
        return Bins(low=low, mean=np.clip(mean, low, high), high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Least, mean and greatest of each bin, `[bins]`; NaN where no step of it has the figure."""

    low: Matrix
    mean: Matrix
    high: Matrix


def in_bins(
    run_id: str,
    table: Table,
    fields: Sequence[str],
    most: int,
    *,
    whole: Collection[str] = WHOLE,
) -> StepBins:
    """The fields of these steps, `step` among them, in at most so many bins of as many steps.

    `whole` names columns of whole numbers, `step` among them.
    """
    size = max(1, math.ceil(len(table) / most))
    columns = dict[str, list[float | None]]
    mean, low, high = columns(), columns(), columns()
    for name in fields:
        found, kind = table.binned(name, size), int if name in whole else float
        low[name], high[name] = numbers(found.low, kind), numbers(found.high, kind)
        mean[name] = high[name] if name == "step" else numbers(found.mean)
    return StepBins(
        run_id=run_id,
        fields=list(fields),
        total=len(table),
        steps_per_bin=size,
        **ends(table),
        columns=mean,
        low=low,
        high=high,
    )


def ends(table: Table) -> dict[str, int | None]:
    """The first and the last step; None without one."""
    steps = table.column("step")
    return {
        "steps_from": int(steps[0]) if len(steps) else None,
        "steps_to": int(steps[-1]) if len(steps) else None,
    }


def numbers(values: Matrix, kind: type[int] | type[float] = float) -> list[float | None]:
    """Figures as Python's numbers; None where one is absent."""
    if kind is float and np.isfinite(values).all():
        found: list[float | None] = values.tolist()
        return found
    return [kind(value) if math.isfinite(value) else None for value in values.tolist()]


def least_points(num_columns: int) -> int:
    """The first and the last step, and two extremes of each column."""
    return 2 + 2 * num_columns


def comma_separated(columns: Mapping[str, Sequence[float | None]], *, header: bool = True) -> str:
    """Columns of equal length as CSV (RFC 4180); an empty cell stands for None."""
    text = io.StringIO()
    writer = csv.writer(text)
    if header:
        writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _extremes(values: Matrix, parts: int) -> npt.NDArray[np.int64]:
    """Places of the least and of the greatest of `values` in each of so many equal parts."""
    size = math.ceil(len(values) / parts)
    padded = np.pad(values, (0, parts * size - len(values)), mode="edge").reshape(parts, size)
    starts = np.arange(parts) * size
    found = np.concatenate([starts + padded.argmin(axis=1), starts + padded.argmax(axis=1)])
    # What is found in the padding is the last value.
    places: npt.NDArray[np.int64] = np.minimum(found, len(values) - 1)
    return places


def _attempts_of(steps: Matrix, attempts: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """`RunState.attempt_of` for many steps."""
    # An attempt that a newer one goes back behind counts for nothing.
    covering: list[tuple[int, int]] = []
    for attempt, after in reversed(attempts):
        if not covering or after < covering[-1][1]:
            covering.append((attempt, after))
    covering.reverse()
    numbers = np.array([attempts[0][0], *(attempt for attempt, _ in covering)])
    return numbers[np.searchsorted([after for _, after in covering], steps)]
