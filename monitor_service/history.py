"""What a run has been: records of its steps, their figures as columns, their rewards."""

import asyncio
from collections.abc import Sequence

from monitor_service.engine.collapse import Matrix, Outcome, judge
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import InvalidInput, StepNotKept, StoreCorrupt
from monitor_service.raw import unpacked
from monitor_service.resources import (
    Group,
    StepBins,
    StepColumns,
    StepGroups,
    StepPage,
    StepRecord,
)
from monitor_service.retention import Retention
from monitor_service.series import COLUMNS, ROW_BYTES, Table, ends, in_bins, least_points
from monitor_service.store.history import HistoryStore
from monitor_service.store.redis import RedisStore, first_step
from monitor_service.views import stored_run


class History:
    """Reads of the past; all of them raise RunNotFound, and StoreUnavailable without Redis."""

    def __init__(self, store: RedisStore, retention: Retention) -> None:
        self._store = store
        self._kept = HistoryStore(store.redis)
        self._retention = retention

    async def steps(self, run_id: str, first: int, last: int | None, limit: int) -> StepPage:
        """Records of the steps from `first` to `last` (default: the newest).

        A page spans `limit` step numbers, and holds those of them that were reported.
        """
        state = (await stored_run(self._store, run_id)).state
        earliest = first_step(state)
        records_from = _first_kept(state, self._retention.records_steps or state.step)
        first = max(first, earliest)
        end = state.step if last is None else min(last, state.step)
        page_end = min(end, first + limit - 1)
        wanted = [(state.attempt_of(step), step) for step in range(first, page_end + 1)]
        records = await self._store.steps(run_id, wanted)
        next_from = page_end + 1 if first <= page_end < end else None
        if next_from and not records:
            # A gap, or what was dropped, may be longer than any number of pages.
            table = await self._table(run_id, state)
            recorded = table.between(max(next_from, records_from), end).column("step")
            next_from = int(recorded[0]) if len(recorded) else None
        return StepPage(steps=records, next_from=next_from, records_from=records_from)

    async def step(self, run_id: str, step: int, attempt: int | None) -> StepRecord:
        """The record of one step, of the attempt that counts or of another.

        Raises:
            StepNotKept: it was never reported, or is dropped.
        """
        state = (await stored_run(self._store, run_id)).state
        wanted = (attempt or state.attempt_of(step), step)
        for record in await self._store.steps(run_id, [wanted]):
            return record
        first = _first_kept(state, self._retention.records_steps or state.step)
        raise StepNotKept("record", step, (first, state.step))

    async def groups(self, run_id: str, step: int, attempt: int | None) -> StepGroups:
        """The raw rewards of a step, and what they say by the reward range as it is now.

        Raises:
            StepNotKept: they were never reported, or are dropped.
        """
        state = (await stored_run(self._store, run_id)).state
        attempt = attempt or state.attempt_of(step)
        payload = await self._kept.rewards(run_id, attempt, step)
        if payload is None:
            first = _first_kept(state, self._retention.rewards_steps)
            raise StepNotKept("rewards", step, (first, state.step))
        try:
            rewards, primary = unpacked(payload)
        except ValueError as error:
            raise StoreCorrupt(f"run {run_id!r}: rewards of step {step}: {error}") from error
        settings = state.settings
        return StepGroups(
            run_id=run_id,
            step=step,
            attempt=attempt,
            reward_low=settings.reward_low,
            reward_high=settings.reward_high,
            groups=await asyncio.to_thread(_judged, rewards, primary, settings),
        )

    async def columns(
        self,
        run_id: str,
        names: Sequence[str],
        first: int,
        last: int | None,
        *,
        limit: int,
        points: int | None = None,
    ) -> StepColumns:
        """Figures of the steps from `first` to `last` (default: the newest).

        Args:
            run_id: the run.
            names: of COLUMNS, each once; `step` comes first whether named or not.
            first: where the range begins.
            last: where it ends.
            limit: most steps of an answer; the rest begins at `next_from`.
            points: instead, at most so many steps of the whole range, see `Table.thinned`.

        Raises:
            InvalidInput: an unknown name, or too few points for so many columns.
        """
        fields = _fields(names)
        if points is not None and points < (least := least_points(len(fields) - 1)):
            allowed = f"must be at least {least}, so that extremes of every field have a place"
            raise InvalidInput("points", points, allowed)
        state = (await stored_run(self._store, run_id)).state
        table = await self._table(run_id, state)

        def answer() -> StepColumns:
            asked = table.between(first, state.step if last is None else last)
            if points is not None:
                return _columns(run_id, fields, asked.thinned(fields[1:], points), len(asked))
            shown = asked.first(limit)
            following = asked.column("step")[limit : limit + 1]
            next_from = int(following[0]) if len(following) else None
            return _columns(run_id, fields, shown, len(asked), next_from)

        return await asyncio.to_thread(answer)

    async def newest(self, run_id: str, names: Sequence[str], count: int) -> StepColumns:
        """Figures of the newest `count` steps; the rest of a long history is not read.

        Raises:
            InvalidInput: an unknown name.
        """
        fields = _fields(names)
        state = (await stored_run(self._store, run_id)).state
        num_rows = await self._kept.series_bytes(run_id) // ROW_BYTES
        wanted = count
        while True:
            start = max(0, num_rows - wanted)
            table = await self._table(run_id, state, start)
            if len(table) >= count or start == 0:
                break
            # Rows of attempts that were replaced stand between: further back.
            wanted *= 4
        shown = table.last(count)
        return await asyncio.to_thread(_columns, run_id, fields, shown, len(shown))

    async def binned(
        self, run_id: str, names: Sequence[str], first: int, last: int | None, bins: int
    ) -> StepBins:
        """The steps from `first` to `last` (default: the newest) in at most so many bins.

        Raises:
            InvalidInput: an unknown name.
        """
        fields = _fields(names)
        state = (await stored_run(self._store, run_id)).state
        table = await self._table(run_id, state)

        def answer() -> StepBins:
            asked = table.between(first, state.step if last is None else last)
            return in_bins(run_id, asked, fields, bins)

        return await asyncio.to_thread(answer)

    async def _table(self, run_id: str, state: RunState, first_row: int = 0) -> Table:
        payload = await self._kept.series(run_id, first_row * ROW_BYTES)
        try:
            return await asyncio.to_thread(Table.read, payload, state)
        except ValueError as error:
            raise StoreCorrupt(f"run {run_id!r}: its series in Redis: {error}") from error


def _first_kept(state: RunState, num_kept: int) -> int:
    """The first of the newest steps that are kept; above the newest when there are none."""
    return max(first_step(state), state.step - num_kept + 1)


def _fields(names: Sequence[str]) -> list[str]:
    """The columns of an answer, each once; `step` comes first whether named or not."""
    fields = ["step", *(name for name in dict.fromkeys(names) if name != "step")]
    if unknown := [name for name in fields if name not in COLUMNS]:
        raise InvalidInput("fields", unknown[0], f"must be of {', '.join(COLUMNS)}")
    return fields


def _columns(
    run_id: str, fields: list[str], shown: Table, total: int, next_from: int | None = None
) -> StepColumns:
    return StepColumns(
        run_id=run_id,
        fields=fields,
        total=total,
        **ends(shown),
        next_from=next_from,
        columns={name: shown.values(name) for name in fields},
    )


def _judged(rewards: Matrix, primary: Matrix | None, settings: Settings) -> list[Group]:
    found = judge(rewards, reward_range=settings.reward_range, primary=primary)
    names = [outcome.name.lower() for outcome in Outcome]
    return [
        Group(
            outcome=names[outcome],
            scored=scored,
            mean=_known(mean),
            std=_known(std),
            rewards=[_known(reward) for reward in own],
            primary=None if judged is None else [_known(reward) for reward in judged],
        )
        for outcome, scored, mean, std, own, judged in zip(
            found.outcomes.tolist(),
            found.sizes.tolist(),
            found.means.tolist(),
            found.stds.tolist(),
            found.rewards.tolist(),
            [None] * len(rewards) if primary is None else found.judged.tolist(),
            strict=True,
        )
    ]


def _known(value: float) -> float | None:
    """None for NaN."""
    return value if value == value else None
