"""The monitor: engine and store, nothing else. No HTTP, no environment, no clock of its own."""

import asyncio
import logging
from collections.abc import Callable, Collection

import msgspec
from msgspec.structs import replace

from monitor_service.control import MAX_TRIES, Control
from monitor_service.defaults import StartingPoint
from monitor_service.engine.changes import resumed
from monitor_service.engine.events import Event
from monitor_service.engine.forecast import FinishedRun, forecast
from monitor_service.engine.health.alarms import told
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import Contention, TooManyRuns
from monitor_service.history import History
from monitor_service.lifecycle import Lifecycle
from monitor_service.listing import Wanted, listed, reporting, standings
from monitor_service.live.hub import Live
from monitor_service.live.watcher import DEFAULT_MAX_STREAMS
from monitor_service.recorder import Recorder, wrong_attempt
from monitor_service.requests import EndOfRun, ResultRequest
from monitor_service.resources import (
    Defaults,
    Diagnosis,
    EventPage,
    ForecastView,
    OrderPage,
    Result,
    Run,
    RunList,
    SettingsView,
)
from monitor_service.retention import DEFAULT, DEFAULT_MAX_RUNS, Retention
from monitor_service.store.events import EventLog
from monitor_service.store.redis import About, RedisStore, StoredRun
from monitor_service.store.roster import Roster, Standing
from monitor_service.store.sweep import Sweep
from monitor_service.transfer import Transfer
from monitor_service.views import alive, any_run, silent_verdict, stored_run, view
from monitor_service.wire import CreateRun, check_run_id, check_tags

log = logging.getLogger(__name__)


class Monitor:
    """Every operation on runs. All of them raise StoreUnavailable when Redis does not answer."""

    def __init__(
        self,
        store: RedisStore,
        clock: Callable[[], float],
        retention: Retention = DEFAULT,
        max_runs: int = DEFAULT_MAX_RUNS,
        max_streams: int = DEFAULT_MAX_STREAMS,
    ) -> None:
        """`clock` tells Unix time in seconds."""
        self._store = store
        self._clock = clock
        self._log = EventLog(store.redis)
        self.recorder = Recorder(store, clock, retention)
        """What trainers report."""
        self.control = Control(store, clock)
        """What people order."""
        self.live = Live(store, clock, max_streams)
        """What happens, while it happens."""
        self.lifecycle = Lifecycle(store, clock)
        """What becomes of runs as a whole."""
        self.defaults = StartingPoint(store, clock)
        """What new runs start with."""
        self.roster = Roster(store.url)
        """All runs at a glance."""
        self._sweep = Sweep(self.roster, store.url, retention)
        self._max_runs = max_runs
        self._idle_s = retention.metrics_idle_s
        self.history = History(store, retention)
        """What was reported."""
        self.transfer = Transfer(store, clock, self._check_room)
        """Runs as files."""

    async def ping(self) -> None:
        """Whether the store answers."""
        await self._store.ping()

    async def create(self, wanted: CreateRun) -> tuple[Run, bool]:
        """Create a run, or find the one of this id; True when it is new.

        With `resume_from_step` a known run goes back to its state after that step and gets a new
        attempt, unless nothing was reported yet.
        """
        check_run_id(wanted.id)
        check_tags(wanted.tags)
        from_profile(wanted.profile or Defaults().profile, wanted.settings)
        for _ in range(MAX_TRIES):
            now = self._clock()
            stored = await self._store.load(wanted.id)
            if stored is not None:
                alive(stored)
            if stored is None:
                await self._check_room()
                settings = await self.defaults.settings_of(wanted)
                after = _started(wanted, settings, now)
                events = [_event("created", after.state, f"profile {settings.profile}")]
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
            if await self._store.commit(stored, after, at_s=now, events=events) is not None:
                if stored is None:  # A purge may have taken the name off the list meanwhile.
                    await self._store.announce(wanted.id, now)
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
                is not None
            ):
                return self._view(after)
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    async def tell_silence(self) -> None:
        """Raise the alarm for every run whose reports have stopped, once; no report will."""
        now_s = self._clock()
        run_ids = [
            entry.run_id
            for entry in await self.roster.entries()
            if not entry.is_silent and entry.silence(now_s)
        ]
        for stored in await self.roster.load(run_ids, lambda run: run):
            found = silent_verdict(stored, now_s)
            if found is None or stored.state.is_silent or stored.about.deleted:
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

    async def sweep(self) -> None:
        """Drop what nothing keeps any longer and no report drops."""
        if dropped := await self._sweep.all():
            log.info("dropped %d old fields of runs' steps", dropped)

    def close(self) -> None:
        """Close what the monitor itself has opened; the store is its owner's."""
        self.roster.close()
        self._sweep.close()

    async def diagnosis(self, run_id: str) -> Diagnosis:
        """How the run is doing, and what became of every parameter that was asked for."""
        stored = await self._stored(run_id)
        view = self._view(stored)
        return Diagnosis(
            run_id=run_id,
            step=view.step,
            headline=view.headline,
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
            for result in await self.roster.results()
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
            if outcome is not None:
                return result
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    async def run(self, run_id: str, *, is_deleted: bool = False) -> Run:
        """One run as it stands; `is_deleted`: even if it was deleted."""
        stored = await any_run(self._store, run_id)
        return self._view(stored if is_deleted else alive(stored))

    async def runs(self, wanted: Wanted = Wanted()) -> RunList:
        """A page of runs, newest first."""
        entries = await self.roster.entries()
        page = await asyncio.to_thread(listed, entries, wanted, self._clock())
        runs = await self.roster.load(page.run_ids, self._view)
        return RunList(runs=runs, total=page.total, next_after=page.next_after)

    async def reporting(self) -> tuple[list[Run], dict[Standing, int]]:
        """The runs that `/metrics` shows, and how all there are stand."""
        entries, now_s = await self.roster.entries(), self._clock()

        def chosen() -> tuple[list[str], dict[Standing, int]]:
            shown = reporting(entries, idle_s=self._idle_s, now_s=now_s)
            return shown, standings(entries, now_s)

        run_ids, counts = await asyncio.to_thread(chosen)
        return await self.roster.load(run_ids, self._view), counts

    async def _check_room(self) -> None:
        if await self._store.num_runs() >= self._max_runs:
            raise TooManyRuns(
                f"there are {self._max_runs} runs, as many as this monitor keeps: delete and purge "
                "some that nobody needs, or have ACR_MAX_RUNS raised"
            )

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

    async def orders(self, run_id: str, limit: int, *, before: str | None = None) -> OrderPage:
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
