"""Runs in Redis (or Valkey): one atomic script moves a run, everything else reads.

A run's tag names one state of it, and is new with every move. The script compares it, so
two replicas that take reports of one run never overwrite each other: the loser reads again. That is
also why a run may be moved from what this process remembers of it.
"""

import logging
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeVar, cast

import msgspec
from msgspec.structs import replace

from monitor_service.engine.events import ALARM_KINDS, AUDITED, Event
from monitor_service.engine.state import RunState
from monitor_service.errors import StoreCorrupt
from monitor_service.resources import Change, Deletion, Result, StepRecord
from monitor_service.retention import NOTHING_LEAVES, At, Leaving, newest_until, start_of
from monitor_service.store.driver import answer, connect, decoded, translated
from monitor_service.store.keys import (
    ALARMS,
    CHANGES_KEPT,
    EVENTS_KEPT,
    RUNS,
    RunKeys,
    read_field,
    step_field,
)
from monitor_service.store.pipeline import Pipeline, Script

CACHED_RUNS = 512
_MOST_BETWEEN = 1000
"""Steps that are looked for between two states that are kept."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run from its creation, and from its newest start."""

    created_at_s: float
    started_at_s: float = 0.0
    """When the newest attempt was announced; 0 for the first."""
    config: dict[str, Any]
    tags: dict[str, str]
    notes: str = ""
    deleted: Deletion | None = None
    """Who hid the run; everything of it is still there."""


class TimedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is stored."""

    at_s: float
    event: Event


class StoredRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands in the store."""

    run_id: str
    tag: str = ""
    """Names this state of it; "" until it is written."""
    state: RunState
    about: About
    changed: Change | None = None
    last: StepRecord | None = None
    result: Result | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A step to write together with the move it causes.

    Attributes:
        state: the run after the step.
        row: the record as a row of the series.
        rewards: the raw rewards, packed; None when they are not kept.
    """

    record: StepRecord
    state: RunState
    digest: bytes
    row: bytes
    rewards: bytes | None = None


class RedisStore:
    """All access to Redis."""

    def __init__(self, url: str) -> None:
        """Connects lazily; `url` is redis://, rediss:// or unix://."""
        self.url = url
        self.redis = connect(url)
        """For what is not on the hot path."""
        self._hot = Pipeline(url)
        script = files("monitor_service.store").joinpath("transition.lua").read_text()
        self._transition = Script(self._hot, script)
        self._cached: OrderedDict[str, StoredRun] = OrderedDict()

    async def close(self) -> None:
        """Close all connections."""
        await self._hot.close()
        await self.redis.aclose()

    async def ping(self) -> None:
        """Raises StoreUnavailable when Redis does not answer."""
        async with translated():
            await answer(self.redis.ping())

    async def load(self, run_id: str) -> StoredRun | None:
        """The run as it stands; None when there is none."""
        found = await self._hot.execute("HGETALL", RunKeys(run_id).run)
        return read_run(run_id, dict(zip(found[::2], found[1::2], strict=True))) if found else None

    def remembered(self, run_id: str) -> StoredRun | None:
        """The run as this process left it; another may have moved it since, so `commit` judges."""
        run = self._cached.get(run_id)
        # It may have been restored elsewhere: better look.
        return None if run and run.about.deleted else run

    async def num_runs(self) -> int:
        """How many runs there are, deleted ones included."""
        async with translated():
            return int(await answer(self.redis.zcard(RUNS)))

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
        recorded: Sequence[Recorded] = (),
        leaving: Leaving = NOTHING_LEAVES,
        events: Sequence[Event] = (),
    ) -> StoredRun | None:
        """Move a run from `before` (None: it does not exist) to `after`, or change nothing.

        Args:
            before: where the run is thought to stand.
            after: where it is to stand.
            at_s: Unix time of the events.
            recorded: the steps that lead there, in order.
            leaving: what is not kept any longer.
            events: what happened on the way.

        Returns:
            The run as it was written; None, with nothing changed: it is not at `before` any more.
        """
        keys, channel = _places(after.run_id)
        settings = msgspec.json.encode(after.state.settings)
        state = _encoded(after.state, settings)
        after = replace(after, tag=new_tag(after.state))
        fields: dict[str, bytes | str] = {"tag": after.tag}
        if not recorded:
            fields["state"] = state
        if before is None or after.about != before.about:
            fields["about"] = msgspec.json.encode(after.about)
        if after.changed and (before is None or after.changed != before.changed):
            fields["changed"] = msgspec.json.encode(after.changed)
        if after.result and (before is None or after.result != before.result):
            fields["result"] = msgspec.json.encode(after.result)
        steps: list[bytes | str] = []
        for one in recorded:
            record = msgspec.json.encode(one.record)
            moved = state if one.state is after.state else msgspec.json.encode(one.state)
            field = step_field(one.record.attempt, one.record.step)
            steps += (field, record, one.digest, moved, one.row, one.rewards or b"")
        # A run can be resumed from where it starts, too.
        start = () if before else (step_field(after.state.attempt, after.state.step), state)
        timed: list[bytes | str] = []
        for event in events:
            audited = "1" if event.kind in AUDITED else ""
            timed += (audited, msgspec.json.encode(TimedEvent(at_s=at_s, event=event)))
        has_alarm = any(event.kind in ALARM_KINDS for event in events)
        outcome = await self._transition.run(
            keys,
            [
                before.tag if before else "",
                settings,
                channel,
                ALARMS if has_alarm else "",
                after.run_id,
                EVENTS_KEPT,
                CHANGES_KEPT,
                *(len(recorded), *steps),
                *(len(start) // 2, *start),
                *_fields(leaving.records),
                *_fields(leaving.states),
                *_fields(leaving.rewards),
                *(len(events), *timed),
                *(2 * len(fields), *(part for pair in fields.items() for part in pair)),
            ],
        )
        if outcome != b"written":
            self._cached.pop(after.run_id, None)
            return None
        self._cached[after.run_id] = after
        self._cached.move_to_end(after.run_id)
        if len(self._cached) > CACHED_RUNS:
            self._cached.popitem(last=False)
        return after

    async def digest(self, run_id: str, attempt: int, step: int) -> bytes | None:
        """The digest a step was recorded with; None when it was not, or is not kept any longer."""
        (found,) = await self._read(RunKeys(run_id).digests, [(attempt, step)])
        return found

    async def steps(self, run_id: str, wanted: Sequence[tuple[int, int]]) -> list[StepRecord]:
        """The records of these (attempt, step) pairs, in order; missing ones are left out."""
        found = await self._read(RunKeys(run_id).steps, wanted)
        return [decoded(value, StepRecord, run_id) for value in found if value]

    async def state_at(self, run: StoredRun, step: int) -> RunState:
        """The run's state after the newest step, at most `step`, whose state is kept.

        It is moved to the newest step that is recorded up to there, so that steps between two
        states that are kept stay history. Before the first of them, it is the state the run started
        from, moved to `step`.
        """
        states = RunKeys(run.run_id).states
        async with translated():
            names = await answer(self.redis.hkeys(states))
        kept = [read_field(name) for name in names]
        found = newest_until(run.state, kept, min(step, run.state.step))
        at = found or start_of(run.state)
        (payload,) = await self._read(states, [at])
        if payload is None:
            raise StoreCorrupt(f"run {run.run_id!r}: the state it started from is missing in Redis")
        state = decoded(payload, RunState, run.run_id)
        if found is None:
            return replace(state, step=min(step, at[1]))
        between = range(min(step, run.state.step), state.step, -1)[:_MOST_BETWEEN]
        recorded = await self._read(
            RunKeys(run.run_id).digests, [(run.state.attempt_of(one), one) for one in between]
        )
        steps = (one for one, digest in zip(between, recorded, strict=True) if digest)
        return replace(state, step=next(steps, state.step))

    async def _read(self, key: str, wanted: Sequence[tuple[int, int]]) -> list[bytes | None]:
        if not wanted:
            return []
        names = [step_field(attempt, step) for attempt, step in wanted]
        async with translated():
            found: list[bytes | None] = await answer(self.redis.hmget(key, names))
        return found


def new_tag(state: RunState) -> str:
    """A name for this very state of a run.

    Life and version would not do: a store that lost its last writes goes through the same versions
    again, with other content.
    """
    return f"{state.settings.session}/{state.settings.version}/{secrets.token_hex(4)}"


def _encoded(state: RunState, settings: bytes) -> bytes:
    """The state as JSON, around its settings as they were encoded already."""
    around: Any = replace(state, settings=cast(Any, msgspec.Raw(settings)))
    return msgspec.json.encode(around)


@lru_cache(2 * CACHED_RUNS)
def _places(run_id: str) -> tuple[tuple[str, ...], str]:
    """The keys of the script, in its order, and the channel of the settings."""
    keys = RunKeys(run_id)
    return (
        *(keys.run, keys.settings, keys.steps, keys.states, keys.digests, keys.events),
        *(keys.series, keys.rewards, keys.changes),
    ), keys.settings_channel


def _fields(leaving: Sequence[At]) -> tuple[int | str, ...]:
    return (len(leaving), *(step_field(*at) for at in leaving))


def first_step(state: RunState) -> int:
    """The earliest step that a record can exist of; above 1 when the run started later."""
    return min(after for _, after in state.attempts) + 1


def read_run(run_id: str, stored: dict[bytes, bytes]) -> StoredRun:
    """A run from the fields of its hash; raises StoreCorrupt."""

    def part(name: bytes, kind: type[T]) -> T | None:
        return decoded(stored[name], kind, run_id) if name in stored else None

    state, about = part(b"state", RunState), part(b"about", About)
    if state is None or about is None:
        raise StoreCorrupt(f"run {run_id!r}: its state or description is missing in Redis")
    return StoredRun(
        run_id=run_id,
        tag=stored.get(b"tag", b"").decode(errors="replace"),
        state=state,
        about=about,
        changed=part(b"changed", Change),
        last=part(b"last", StepRecord),
        result=part(b"result", Result),
    )
