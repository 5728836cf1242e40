"""Runs in Redis (or Valkey): one atomic script moves a run, everything else reads.

A run's version is the version of its settings. The script compares it, so two replicas that take
reports of one run never overwrite each other: the loser reads again. Driver errors end here.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal, TypeVar, cast

import msgspec

from monitor_service.engine.events import Event
from monitor_service.engine.state import RunState
from monitor_service.errors import StoreCorrupt
from monitor_service.resources import Change, EventView, Result, StepRecord
from monitor_service.store.driver import answer, connect, decoded, translated
from monitor_service.store.keys import EVENTS_KEPT, RUNS, RunKeys, step_field

_STATES_PER_LOOKUP = 256

log = logging.getLogger(__name__)

T = TypeVar("T")
Outcome = Literal["written", "duplicate", "conflict", "moved"]


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run from its creation, and from its newest start."""

    created_at_s: float
    started_at_s: float = 0.0
    """When the newest attempt was announced; 0 for the first."""
    config: dict[str, Any]
    tags: dict[str, str]


class TimedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is stored."""

    at_s: float
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as it stands in the store."""

    run_id: str
    state: RunState
    about: About
    changed: Change | None = None
    last: StepRecord | None = None
    result: Result | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A step to write together with the move it causes."""

    record: StepRecord
    digest: str


class RedisStore:
    """All access to Redis."""

    def __init__(self, url: str) -> None:
        """Connects lazily; `url` is redis://, rediss:// or unix://."""
        self.redis = connect(url)
        """For what is not on the hot path."""
        script = files("monitor_service.store").joinpath("transition.lua").read_text()
        self._transition = self.redis.register_script(script)

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()

    async def ping(self) -> None:
        """Raises StoreUnavailable when Redis does not answer."""
        async with translated():
            await answer(self.redis.ping())

    async def load(self, run_id: str) -> StoredRun | None:
        """The run as it stands; None when there is none."""
        async with translated():
            stored = await answer(self.redis.hgetall(RunKeys(run_id).run))
        return _run(run_id, stored) if stored else None

    async def load_all(self) -> list[StoredRun]:
        """Every run, newest first, in one round trip after the list of names.

        A run this version cannot read is left out and logged: the others are none the worse.
        """
        async with translated():
            names = [name.decode() for name in await answer(self.redis.zrevrange(RUNS, 0, -1))]
            pipeline = self.redis.pipeline(transaction=False)
            for name in names:
                pipeline.hgetall(RunKeys(name).run)
            found = await pipeline.execute()
        runs = []
        for name, stored in zip(names, found, strict=True):
            try:
                runs += [_run(name, stored)] if stored else []
            except StoreCorrupt as error:
                log.error("%s", error)
        return runs

    async def announce(self, run_id: str, created_at_s: float) -> None:
        """Put the name on the list of runs, before the run itself exists."""
        async with translated():
            await self.redis.zadd(RUNS, {run_id: created_at_s}, nx=True)

    async def commit(
        self,
        before: StoredRun | None,
        after: StoredRun,
        *,
        at_s: float,
        recorded: Recorded | None = None,
        events: Sequence[Event] = (),
    ) -> Outcome:
        """Move a run from `before` (None: it does not exist) to `after`, or change nothing.

        Returns:
            written; or, with nothing changed: duplicate (the step is recorded with the same
            content), conflict (with other content), moved (the run is not at `before` any more).
        """
        keys = RunKeys(after.run_id)
        state = msgspec.json.encode(after.state)
        settings = after.state.settings
        # The state after a step, and the one a run starts from, can be resumed from later.
        resumable = recorded or before is None
        field = step_field(after.state.attempt, after.state.step)
        fields: dict[str, bytes | str | float] = {"version": settings.version, "state": state}
        if before is None or after.about != before.about:
            fields["about"] = msgspec.json.encode(after.about)
        if after.changed:
            fields["changed"] = msgspec.json.encode(after.changed)
        # It moves no version, so a writer that did not see it must not write over it.
        if after.result and (before is None or after.result != before.result):
            fields["result"] = msgspec.json.encode(after.result)
        if recorded:
            fields["last"] = msgspec.json.encode(recorded.record)
        timed = [msgspec.json.encode(TimedEvent(at_s=at_s, event=event)) for event in events]
        async with translated():
            outcome = await self._transition(
                keys=[keys.run, keys.settings, keys.steps, keys.states, keys.digests, keys.events],
                args=[
                    before.state.settings.version if before else "",
                    field if recorded else "",
                    recorded.digest if recorded else "",
                    msgspec.json.encode(recorded.record) if recorded else "",
                    field if resumable else "",
                    state,
                    msgspec.json.encode(settings),
                    keys.settings_channel,
                    EVENTS_KEPT,
                    len(timed),
                    *timed,
                    *(part for pair in fields.items() for part in pair),
                ],
            )
        return cast(Outcome, outcome.decode())

    async def results(self) -> list[Result]:
        """The final accuracies of all runs that have one, in one round trip after their names.

        One that this version cannot read is left out and logged.
        """
        async with translated():
            names = [name.decode() for name in await answer(self.redis.zrange(RUNS, 0, -1))]
            pipeline = self.redis.pipeline(transaction=False)
            for name in names:
                pipeline.hget(RunKeys(name).run, "result")
            found = await pipeline.execute()
        results = []
        for name, value in zip(names, found, strict=True):
            try:
                results += [decoded(value, Result, name)] if value else []
            except StoreCorrupt as error:
                log.error("%s", error)
        return results

    async def digest(self, run_id: str, attempt: int, step: int) -> str | None:
        """The digest a step was recorded with; None when it was not."""
        (found,) = await self._read(RunKeys(run_id).digests, [(attempt, step)])
        return found.decode() if found else None

    async def steps(self, run_id: str, wanted: Sequence[tuple[int, int]]) -> list[StepRecord]:
        """The records of these (attempt, step) pairs, in order; missing ones are left out."""
        found = await self._read(RunKeys(run_id).steps, wanted)
        return [decoded(value, StepRecord, run_id) for value in found if value]

    async def state_at(self, run: StoredRun, step: int) -> RunState:
        """The run's state after the newest recorded step that is at most `step`.

        Before the first of them, it is the state the run started from, moved to `step`.
        """
        states = RunKeys(run.run_id).states
        newest = min(step, run.state.step)
        first = first_step(run.state)
        while newest >= first:
            oldest = max(first, newest - _STATES_PER_LOOKUP + 1)
            wanted = [(run.state.attempt_of(at), at) for at in range(newest, oldest - 1, -1)]
            found = await self._read(states, wanted)
            if state := next((value for value in found if value), None):
                return decoded(state, RunState, run.run_id)
            newest = oldest - 1
        (attempt, start), *_ = run.state.attempts
        (found_start,) = await self._read(states, [(attempt, start)])
        if found_start is None:
            raise StoreCorrupt(f"run {run.run_id!r}: the state it started from is missing in Redis")
        return replace(decoded(found_start, RunState, run.run_id), step=min(step, start))

    async def events(self, run_id: str, count: int) -> list[EventView]:
        """The newest events, newest first."""
        async with translated():
            entries = await answer(self.redis.xrevrange(RunKeys(run_id).events, count=count))
        views = []
        for key, values in entries:
            timed = decoded(values[b"event"], TimedEvent, run_id)
            views.append(EventView(id=key.decode(), at_s=timed.at_s, event=timed.event))
        return views

    async def _read(self, key: str, wanted: Sequence[tuple[int, int]]) -> list[bytes | None]:
        if not wanted:
            return []
        names = [step_field(attempt, step) for attempt, step in wanted]
        async with translated():
            found: list[bytes | None] = await answer(self.redis.hmget(key, names))
        return found


def first_step(state: RunState) -> int:
    """The earliest step that a record can exist of; above 1 when the run started later."""
    return min(after for _, after in state.attempts) + 1


def _run(run_id: str, stored: dict[bytes, bytes]) -> StoredRun:
    def part(name: bytes, kind: type[T]) -> T | None:
        return decoded(stored[name], kind, run_id) if name in stored else None

    state, about = part(b"state", RunState), part(b"about", About)
    if state is None or about is None:
        raise StoreCorrupt(f"run {run_id!r}: its state or description is missing in Redis")
    return StoredRun(
        run_id=run_id,
        state=state,
        about=about,
        changed=part(b"changed", Change),
        last=part(b"last", StepRecord),
        result=part(b"result", Result),
    )
