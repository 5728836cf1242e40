"""Reports become history: each step exactly once, however often and wherever it is reported.

A run is moved from what this process remembers of it, and read again only when somebody else has
moved it meanwhile: the store compares. Reports that come together are folded, and written at once.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from monitor_service.control import MAX_TRIES
from monitor_service.digest import digest
from monitor_service.engine.advance import advance
from monitor_service.engine.events import Event
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import Observation, RunState
from monitor_service.errors import AttemptConflict, Conflict, Contention, StepConflict
from monitor_service.raw import packed
from monitor_service.resources import StepRecord, StepResult
from monitor_service.retention import At, Leaving, Retention
from monitor_service.series import row
from monitor_service.store.redis import Recorded, RedisStore, StoredRun
from monitor_service.views import stored_run
from monitor_service.wire import StepReport, check_run_id, observation

MOST_AT_ONCE = 32
"""Reports folded before others get their turn, and written together."""

log = logging.getLogger(__name__)


class Answer(Struct, frozen=True, kw_only=True):
    """What became of reports.

    Attributes:
        results: of each, in order.
        settings: the newest.
        conflict: the first contradiction to what is recorded; None when there is none.
    """

    results: list[StepResult]
    settings: Settings
    conflict: Conflict | None


class _News(Struct, frozen=True):
    report: StepReport
    seen: Observation
    digest: bytes


@dataclass(slots=True)
class _Fold:
    """A run with reports taken into account, before anything is written.

    Attributes:
        state: where they lead.
        recorded: the new steps.
        fates: by place among the reports: None where only the store can tell.
    """

    state: RunState
    recorded: list[Recorded] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    rewards: list[At] = field(default_factory=list)
    records: list[At] = field(default_factory=list)
    states: list[At] = field(default_factory=list)
    fates: list[StepResult | Conflict | None] = field(default_factory=list)

    @property
    def leaving(self) -> Leaving:
        return Leaving(
            rewards=tuple(self.rewards), records=tuple(self.records), states=tuple(self.states)
        )

    @property
    def is_behind(self) -> bool:
        """Whether a report is of what the run has passed already."""
        return not all(isinstance(fate, StepResult) for fate in self.fates)


class Recorder:
    """Takes reports; raises StoreUnavailable when Redis does not answer."""

    def __init__(self, store: RedisStore, clock: Callable[[], float], retention: Retention) -> None:
        """`clock` tells Unix time in seconds."""
        self._store = store
        self._clock = clock
        self._retention = retention

    async def record(self, run_id: str, reports: Sequence[StepReport]) -> Answer:
        """Take steps into account, in order; a step that contradicts the record changes nothing.

        Raises:
            InvalidInput: one of them is not valid; nothing is written then.
            RunNotFound: no such run.
        """
        check_run_id(run_id)
        seen = [observation(report) for report in reports]
        news = [_News(one, its, digest(one, its)) for one, its in zip(reports, seen, strict=True)]
        fates, settings = await self._together(run_id, news[:MOST_AT_ONCE])
        for start in range(MOST_AT_ONCE, len(news), MOST_AT_ONCE):
            more, settings = await self._together(run_id, news[start : start + MOST_AT_ONCE])
            fates += more
        results = [
            StepResult(step=one.step, status="conflict", detail=str(fate))
            if isinstance(fate, Conflict)
            else fate
            for one, fate in zip(reports, fates, strict=True)
        ]
        conflict = next((fate for fate in fates if isinstance(fate, Conflict)), None)
        return Answer(results=results, settings=settings, conflict=conflict)

    async def _together(
        self, run_id: str, news: Sequence[_News]
    ) -> tuple[list[StepResult | Conflict], Settings]:
        stored = self._store.remembered(run_id)
        is_fresh = False
        for _ in range(MAX_TRIES):
            if stored is None:
                stored, is_fresh = await stored_run(self._store, run_id), True
            now_s = self._clock()
            fold = self._folded(stored.state, news, now_s)
            if fold.is_behind and not is_fresh:
                stored = None
                continue
            if await self._is_written(stored, fold, now_s):
                fates = [
                    await self._known(run_id, stored.state, one) if fate is None else fate
                    for one, fate in zip(news, fold.fates, strict=True)
                ]
                return fates, fold.state.settings
            stored = None
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    def _folded(self, state: RunState, news: Sequence[_News], now_s: float) -> _Fold:
        fold = _Fold(state)
        here: dict[int, bytes] = {}
        for one in news:
            report = one.report
            if report.attempt != fold.state.attempt:
                fold.fates.append(wrong_attempt(report.attempt, fold.state, f"step {report.step}"))
            elif report.step in here:
                fold.fates.append(_same_or_not(report.step, here[report.step] == one.digest))
            elif report.step <= state.step:
                fold.fates.append(None)
            elif report.step <= fold.state.step:
                fold.fates.append(_never_reported(report.step, fold.state))
            else:
                self._advance(fold, one, now_s)
                here[report.step] = one.digest
                fold.fates.append(StepResult(step=report.step, status="recorded"))
        return fold

    def _advance(self, fold: _Fold, one: _News, now_s: float) -> None:
        report = one.report
        leaving = self._retention.leaving(fold.state, report.step)
        fold.state, figures, events = advance(fold.state, one.seen, now_s=now_s)
        record = StepRecord(
            step=report.step,
            attempt=report.attempt,
            optimizer_step=report.optimizer_step,
            at_s=now_s,
            settings_version=fold.state.settings.version,
            collapse=figures,
            components=report.components,
            scalars=report.scalars,
            applied=report.applied,
        )
        is_kept = self._retention.rewards_steps > 0
        fold.recorded.append(
            Recorded(
                record=record,
                state=fold.state,
                digest=one.digest,
                row=row(record),
                rewards=packed(one.seen.rewards, one.seen.primary) if is_kept else None,
            )
        )
        fold.events += events
        fold.rewards += leaving.rewards
        fold.records += leaving.records
        fold.states += leaving.states

    async def _is_written(self, stored: StoredRun, fold: _Fold, now_s: float) -> bool:
        if not fold.recorded:
            return True
        outcome = await self._store.commit(
            stored,
            replace(stored, state=fold.state, last=fold.recorded[-1].record),
            at_s=now_s,
            recorded=fold.recorded,
            leaving=fold.leaving,
            events=fold.events,
        )
        if outcome is None:
            return False
        for event in fold.events:
            if event.kind == "health_failed":
                log.error("run %s, step %d: %s", stored.run_id, event.step, event.message)
        return True

    async def _known(self, run_id: str, state: RunState, one: _News) -> StepResult | Conflict:
        """What became of a step that the run has passed."""
        step = one.report.step
        recorded = await self._store.digest(run_id, one.report.attempt, step)
        if recorded is not None:
            return _same_or_not(step, recorded == one.digest)
        if not self._retention.keeps_record(step, state.step):
            return StepConflict(
                f"step {step} is too old to tell whether it was recorded: of a run at step "
                f"{state.step} the newest {self._retention.records_steps} are kept"
            )
        return _never_reported(step, state)


def wrong_attempt(attempt: int, state: RunState, what: str) -> AttemptConflict:
    """Why something that a trainer says does not count."""
    return AttemptConflict(f"{what} is of attempt {attempt}; the run is at attempt {state.attempt}")


def _same_or_not(step: int, is_same: bool) -> StepResult | Conflict:
    if is_same:
        return StepResult(step=step, status="duplicate")
    return StepConflict(f"step {step} is recorded already, with other content")


def _never_reported(step: int, state: RunState) -> Conflict:
    return StepConflict(
        f"step {step} was never reported, and the run is at step {state.step}: history is not "
        "rewritten"
    )
