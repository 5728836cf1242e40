"""The monitor: engine and store, nothing else. No HTTP, no environment, no clock of its own."""

from collections.abc import Callable, Collection
from dataclasses import replace

import msgspec

from monitor_service.control import MAX_TRIES, Control
from monitor_service.engine.changes import resumed
from monitor_service.engine.events import Event
from monitor_service.engine.forecast import FinishedRun, forecast
from monitor_service.engine.health.alarms import told
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import Contention
from monitor_service.history import History
from monitor_service.recorder import Recorder, wrong_attempt
from monitor_service.resources import (
    Diagnosis,
    EndOfRun,
    EventPage,
    ForecastView,
    OrderPage,
    Result,
    ResultRequest,
    Run,
    RunList,
    SettingsView,
)
from monitor_service.retention import DEFAULT, Retention
from monitor_service.store.events import EventLog
from monitor_service.store.redis import About, RedisStore, StoredRun
from monitor_service.views import silent_verdict, stored_run, view
from monitor_service.wire import CreateRun, check_run_id


class Monitor:
    """Every operation on runs. All of them raise StoreUnavailable when Redis does not answer."""

    def __init__(
        self, store: RedisStore, clock: Callable[[], float], retention: Retention = DEFAULT
    ) -> None:
        """`clock` tells Unix time in seconds."""
        self._store = store
        self._clock = clock
        self._log = EventLog(store.redis)
        self.recorder = Recorder(store, clock, retention)
        """What trainers report."""
        self.control = Control(store, clock)
        """What people order."""
        self.history = History(store, retention)
        """What was reported."""

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

    async def end(self, run_id: str, ended: EndOfRun) -> Run:
        """The trainer's training is over; silence is no alarm until it reports again.

        Raises:
            AttemptConflict: another start has taken the run over.
        """
        for _ in range(MAX_TRIES):
            stored = await self._stored(run_id)
            if ended.attempt != stored.state.attempt:
                raise wrong_attempt(ended.attempt, stored.state, "the end")
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

    async def events(
        self,
        run_id: str,
        limit: int,
        *,
        before: str | None = None,
        after: str | None = None,
        kinds: Collection[str] = (),
    ) -> EventPage:
        """Events, newest first, a page at a time; with `after` the newer ones, oldest first."""
        await self._stored(run_id)
        return await self._log.page(run_id, limit, before=before, after=after, kinds=kinds)

    async def orders(
        self, run_id: str, limit: int, *, before: str | None = None
    ) -> OrderPage:
        """What people ordered, newest first, a page at a time, and the step from which it acted."""
        await self._stored(run_id)
        return await self._log.orders(run_id, limit, before=before)

    def _view(self, stored: StoredRun, attempt: int | None = None) -> Run:
        return view(stored, self._clock(), attempt)

    async def _stored(self, run_id: str) -> StoredRun:
        return await stored_run(self._store, run_id)


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
            "from_step": before.step,
            "command_dropped": dropped,
            "alarms": sorted(after.health.raised),
        },
    )


def _event(kind: str, state: RunState, message: str) -> Event:
    return Event(kind=kind, step=state.step, message=message, data={"attempt": state.attempt})
