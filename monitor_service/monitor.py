"""The monitor: engine and store, nothing else. No HTTP, no environment, no clock of its own."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from monitor_service.engine.advance import RunState, advance, resumed, with_changes
from monitor_service.engine.events import Event
from monitor_service.engine.settings import TUNABLE, Settings, from_profile
from monitor_service.errors import (
    AttemptConflict,
    Contention,
    InvalidInput,
    RevisionConflict,
    RunNotFound,
    StepConflict,
)
from monitor_service.store.redis import About, Recorded, RedisStore, StoredRun, first_step
from monitor_service.wire import (
    Change,
    CreateRun,
    EventPage,
    Run,
    RunList,
    SettingsView,
    StepPage,
    StepRecord,
    StepReport,
    check_run_id,
    digest,
    observation,
)

MAX_TRIES = 50
"""Lost races after which a writer gives up; each loss means that another writer won."""
MAX_REASON_CHARS = 500
MAX_ACTOR_CHARS = 128


class Monitor:
    """Every operation on runs. All of them raise StoreUnavailable when Redis does not answer."""

    def __init__(self, store: RedisStore, clock: Callable[[], float]) -> None:
        """`clock` tells Unix time in seconds."""
        self._store = store
        self._clock = clock

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
                return _view(stored, 1 + stored.state.start_ids.index(wanted.start_id)), False
            elif wanted.resume_from_step is None or (
                stored.last is None
                and stored.state.step == wanted.resume_from_step
                and not wanted.start_id
            ):
                return _view(stored), False
            else:
                earlier = await self._store.state_at(stored, wanted.resume_from_step)
                after = replace(stored, state=resumed(stored.state, earlier, wanted.start_id))
                after = _addressed(after)
                message = f"attempt {after.state.attempt} continues after step {earlier.step}"
                events = [_event("resumed", after.state, message)]
            if await self._store.commit(stored, after, at_s=now, events=events) == "written":
                return _view(after), stored is None
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
            if report.attempt != state.attempt:
                raise AttemptConflict(
                    f"step {report.step} is of attempt {report.attempt}; the run is at attempt "
                    f"{state.attempt}"
                )
            if report.step <= state.step:
                return await self._reported_before(stored, report, content)
            now = self._clock()
            moved, figures, events = advance(state, seen)
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
                return True, moved.settings
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    async def change(
        self,
        run_id: str,
        changes: Mapping[str, Any],
        *,
        actor: str,
        reason: str,
        if_revision: int | None = None,
    ) -> SettingsView:
        """Change settings on behalf of a person; in force from the trainer's next batch on.

        Raises:
            InvalidInput: an unknown field, a value out of range, no reason, nothing to change.
            RevisionConflict: the revision is not `if_revision` any more.
        """
        _check_text("reason", reason, MAX_REASON_CHARS)
        _check_text("actor", actor, MAX_ACTOR_CHARS)
        if not changes:
            raise InvalidInput("settings", {}, f"at least one of {', '.join(TUNABLE)}")
        for _ in range(MAX_TRIES):
            stored = await self._stored(run_id)
            current = stored.state.settings
            if if_revision is not None and if_revision != current.revision:
                raise RevisionConflict(_since(stored, if_revision), settings=current)
            now = self._clock()
            moved = with_changes(stored.state, changes)
            change = Change(
                at_s=now,
                actor=actor,
                reason=reason,
                changes=dict(changes),
                version=moved.settings.version,
            )
            old = {name: getattr(current, name) for name in changes}
            event = Event(
                kind="settings_changed",
                step=moved.step,
                message=f"{actor}: {reason}",
                data={"old": old, "new": dict(changes), "version": moved.settings.version},
            )
            after = replace(stored, state=moved, changed=change)
            if await self._store.commit(stored, after, at_s=now, events=[event]) == "written":
                return SettingsView(settings=moved.settings, changed=change)
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    async def run(self, run_id: str) -> Run:
        """One run as it stands."""
        return _view(await self._stored(run_id))

    async def runs(self) -> RunList:
        """All runs, newest first."""
        return RunList(runs=[_view(stored) for stored in await self._store.load_all()])

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

    async def _stored(self, run_id: str) -> StoredRun:
        stored = await self._store.load(check_run_id(run_id))
        if stored is None:
            raise RunNotFound(run_id)
        return stored

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


def _event(kind: str, state: RunState, message: str) -> Event:
    return Event(kind=kind, step=state.step, message=message, data={"attempt": state.attempt})


def _view(stored: StoredRun, attempt: int | None = None) -> Run:
    state, about = stored.state, stored.about
    return Run(
        id=stored.run_id,
        created_at_s=about.created_at_s,
        last_report_at_s=stored.last.at_s if stored.last else None,
        step=state.step,
        attempt=attempt or state.attempt,
        config=about.config,
        tags=about.tags,
        counters=state.counters,
        settings=state.settings,
        changed=stored.changed,
        last=stored.last,
    )


def _since(stored: StoredRun, revision: int) -> str:
    text = f"you saw revision {revision}, the settings are at {stored.state.settings.revision}"
    if change := stored.changed:
        text += f"; {change.actor} changed {', '.join(change.changes)}: {change.reason}"
    return text


def _check_text(field: str, text: Any, most: int) -> None:
    if not isinstance(text, str) or not text.strip() or len(text) > most:
        raise InvalidInput(field, text, f"must be a text of 1 to {most} characters")
