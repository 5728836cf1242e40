"""The monitor: engine and store, nothing else. No HTTP, no environment, no clock of its own."""

import logging
from collections.abc import Callable
from dataclasses import replace

import msgspec

from monitor_service.control import MAX_TRIES, Control
from monitor_service.engine.advance import advance
from monitor_service.engine.changes import resumed
from monitor_service.engine.events import Event
from monitor_service.engine.forecast import FinishedRun, forecast
from monitor_service.engine.health.alarms import told
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import AttemptConflict, Contention, StepConflict
from monitor_service.resources import (
    Diagnosis,
    EndOfRun,
    EventPage,
    ForecastView,
    Result,
    ResultRequest,
    Run,
    RunList,
    SettingsView,
    StepPage,
    StepRecord,
)
from monitor_service.store.redis import About, Recorded, RedisStore, StoredRun, first_step
from monitor_service.views import silent_verdict, stored_run, view
from monitor_service.wire import CreateRun, StepReport, check_run_id, digest, observation

log = logging.getLogger(__name__)


class Monitor:
    """Every operation on runs. All of them raise StoreUnavailable when Redis does not answer."""

    def __init__(self, store: RedisStore, clock: Callable[[], float]) -> None:
        """`clock` tells Unix time in seconds."""
        self._store = store
        self._clock = clock
        self.control = Control(store, clock)
        """What people order."""

    async def ping(self) -> None:
        """Whether the store answers."""
        await self._store.ping()

    async def create(self, wanted: CreateRun) -> tuple[Run, bool]:
        """Create a run, or find the one of this id; True when it is new.

        With `resume_from_step` a known run goes back to its state after that step and gets a new
        attempt, unless nothing was reported yet.
        """
        check_run_id(wanted.id)
        fresh = from_profile(wanted.profile, wanted.settings)
        for _ in range(MAX_TRIES):
            now = self._clock()
            stored = await self._store.load(wanted.id)
            if stored is None:
                after = _started(wanted, fresh, now)
                events = [_event("created", after.state, f"profile {wanted.profile}")]
                await self._store.announce(wanted.id, now)
            elif wanted.start_id and wanted.start_id in stored.state.start_ids:
                # The same start again, its first answer lost: it keeps its attempt, even replaced.
                return self._view(stored, 1 + stored.state.start_ids.index(wanted.start_id)), False
            elif wanted.resume_from_step is None or (
                stored.last is None
                and stored.state.step == wanted.resume_from_step
                and not wanted.start_id
            ):
                return self._view(stored), False
            else:
                earlier = await self._store.state_at(stored, wanted.resume_from_step)
                after = _addressed(
                    replace(
                        stored,
                        state=resumed(stored.state, earlier, wanted.start_id),
                        about=msgspec.structs.replace(stored.about, started_at_s=now),
                    )
                )
                events = [_resumption(stored.state, after.state)]
            if await self._store.commit(stored, after, at_s=now, events=events) == "written":
                return self._view(after), stored is None
        raise Contention(f"run {wanted.id!r} is being changed by too many writers")

    async def report(self, run_id: str, report: StepReport) -> tuple[bool, Settings]:
        """Take one step into account, exactly once.

        Returns:
            Whether it was new (False: the same report was recorded before), and the newest
            settings.

        Raises:
            StepConflict: the step is recorded with other content, or is older than the newest
                and was never reported.
            AttemptConflict: the report is of another attempt than the newest.
        """
        seen = observation(report)
        content = digest(report, seen)
        for _ in range(MAX_TRIES):
            stored = await self._stored(run_id)
            state = stored.state
            _check_attempt(report.attempt, state, f"step {report.step}")
            if report.step <= state.step:
                return await self._reported_before(stored, report, content)
            now = self._clock()
            moved, figures, events = advance(state, seen, now_s=now)
            record = StepRecord(
                step=report.step,
                attempt=report.attempt,
                optimizer_step=report.optimizer_step,
                at_s=now,
                settings_version=moved.settings.version,
                collapse=figures,
                components=report.components,
                scalars=report.scalars,
                applied=report.applied,
            )
            outcome = await self._store.commit(
                stored,
                replace(stored, state=moved, last=record),
                at_s=now,
                recorded=Recorded(record=record, digest=content),
                events=events,
            )
            if outcome == "written":
                for event in events:
                    if event.kind == "health_failed":
                        log.error("run %s, step %d: %s", run_id, report.step, event.message)
                return True, moved.settings
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    async def end(self, run_id: str, ended: EndOfRun) -> Run:
        """The trainer's training is over; silence is no alarm until it reports again.

        Raises:
            AttemptConflict: another start has taken the run over.
        """
        for _ in range(MAX_TRIES):
            stored = await self._stored(run_id)
            _check_attempt(ended.attempt, stored.state, "the end")
            if stored.state.ended == ended.how:
                return self._view(stored)
            settings = stored.state.settings
            settings = replace(settings, version=settings.version + 1)
            moved = replace(stored.state, settings=settings, ended=ended.how)
            after = replace(stored, state=moved)
            event = _event("ended", moved, ended.how)
            if (
                await self._store.commit(stored, after, at_s=self._clock(), events=[event])
                == "written"
            ):
                return self._view(after)
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    async def tell_silence(self) -> None:
        """Raise the alarm for every run whose reports have stopped, once; no report will."""
        for stored in await self._store.load_all():
            now_s = self._clock()
            found = silent_verdict(stored, now_s)
            if found is None or stored.state.is_silent:
                continue
            settings = stored.state.settings
            settings = replace(settings, version=settings.version + 1)
            silent = replace(stored.state, settings=settings, is_silent=True)
            # A writer that was faster has moved the run: the next round looks again.
            await self._store.commit(
                stored,
                replace(stored, state=silent),
                at_s=now_s,
                events=[told("alarm_raised", found)],
            )

    async def diagnosis(self, run_id: str) -> Diagnosis:
        """How the run is doing, and what became of every parameter that was asked for."""
        stored = await self._stored(run_id)
        view = self._view(stored)
        return Diagnosis(
            run_id=run_id,
            step=view.step,
            verdicts=view.verdicts,
            failure=stored.state.health_failure,
            knobs=view.knobs,
        )

    async def forecast(self, run_id: str) -> ForecastView:
        """The accuracy to expect at the end of the run."""
        stored = await self._stored(run_id)
        own = stored.result
        finished = [
            FinishedRun(
                acr_100=result.acr_100, accuracy=result.accuracy, benchmark=result.benchmark
            )
            for result in await self._store.results()
            if result.acr_100 is not None and result.run_id != run_id
        ]
        benchmark = own.benchmark if own else None
        found = forecast(stored.state.health.first_hundred, finished, benchmark=benchmark)
        return ForecastView(run_id=run_id, forecast=found, result=own)

    async def result(self, run_id: str, wanted: ResultRequest) -> Result:
        """Keep the final accuracy of a run; a later one replaces it."""
        for _ in range(MAX_TRIES):
            stored = await self._stored(run_id)
            result = Result(
                run_id=run_id,
                accuracy=wanted.accuracy,
                benchmark=wanted.benchmark,
                acr_100=stored.state.health.first_hundred.acr_100,
                at_s=self._clock(),
            )
            event = Event(
                kind="result",
                step=stored.state.step,
                message=f"{result.accuracy:.4g} on {result.benchmark}",
                data={"accuracy": result.accuracy, "benchmark": result.benchmark},
            )
            after = replace(stored, result=result)
            outcome = await self._store.commit(stored, after, at_s=result.at_s, events=[event])
            if outcome == "written":
                return result
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    async def run(self, run_id: str) -> Run:
        """One run as it stands."""
        return self._view(await self._stored(run_id))

    async def runs(self) -> RunList:
        """All runs, newest first."""
        return RunList(runs=[self._view(stored) for stored in await self._store.load_all()])

    async def settings(self, run_id: str) -> SettingsView:
        """The settings in force."""
        stored = await self._stored(run_id)
        return SettingsView(settings=stored.state.settings, changed=stored.changed)

    async def steps(self, run_id: str, first: int, last: int | None, limit: int) -> StepPage:
        """Records of the steps from `first` to `last` (default: the newest), `limit` a page."""
        state = (await self._stored(run_id)).state
        first = max(first, first_step(state))
        end = state.step if last is None else min(last, state.step)
        page_end = min(end, first + limit - 1)
        wanted = [(state.attempt_of(step), step) for step in range(first, page_end + 1)]
        return StepPage(
            steps=await self._store.steps(run_id, wanted),
            next_from=page_end + 1 if first <= page_end < end else None,
        )

    async def events(self, run_id: str, limit: int) -> EventPage:
        """The newest events, newest first."""
        await self._stored(run_id)
        return EventPage(events=await self._store.events(run_id, limit))

    def _view(self, stored: StoredRun, attempt: int | None = None) -> Run:
        return view(stored, self._clock(), attempt)

    async def _stored(self, run_id: str) -> StoredRun:
        return await stored_run(self._store, run_id)

    async def _reported_before(
        self, stored: StoredRun, report: StepReport, content: str
    ) -> tuple[bool, Settings]:
        recorded = await self._store.digest(stored.run_id, report.attempt, report.step)
        if recorded == content:
            return False, stored.state.settings
        if recorded is None:
            raise StepConflict(
                f"step {report.step} was never reported, and the run is at step "
                f"{stored.state.step}: history is not rewritten"
            )
        raise StepConflict(f"step {report.step} is recorded already, with other content")


def _started(wanted: CreateRun, settings: Settings, now_s: float) -> StoredRun:
    # A trainer that resumes a run this store has never seen has no gap before its first step.
    after = wanted.resume_from_step or 0
    state = RunState(
        settings=replace(settings, through_step=after),
        step=after,
        attempts=((1, after),),
        start_ids=(wanted.start_id,),
    )
    about = About(created_at_s=now_s, config=wanted.config, tags=wanted.tags)
    return _addressed(StoredRun(run_id=wanted.id, state=state, about=about))


def _addressed(run: StoredRun) -> StoredRun:
    """Name the life and the attempt of the run in its settings: trainers heed no others."""
    session = f"{run.about.created_at_s:.6f}-{run.state.attempt}"
    settings = replace(run.state.settings, session=session)
    return replace(run, state=replace(run.state, settings=settings))


def _resumption(before: RunState, after: RunState) -> Event:
    """A new attempt, and what went away with the old one."""
    text = f"attempt {after.attempt} continues after step {after.step}"
    if dropped := before.settings.command:
        text += f"; command {dropped.number}, {dropped.kind}, was for the one before"
    return Event(
        kind="resumed",
        step=after.step,
        message=text,
        data={
            "attempt": after.attempt,
            "command_dropped": dropped,
            "alarms": sorted(after.health.raised),
        },
    )


def _event(kind: str, state: RunState, message: str) -> Event:
    return Event(kind=kind, step=state.step, message=message, data={"attempt": state.attempt})


def _check_attempt(attempt: int, state: RunState, what: str) -> None:
    if attempt != state.attempt:
        raise AttemptConflict(
            f"{what} is of attempt {attempt}; the run is at attempt {state.attempt}"
        )
