"""A run read whole: as it stood at one moment, however long the reading takes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from monitor_service.engine.state import RunState
from monitor_service.errors import RunNotFound, StoreCorrupt
from monitor_service.retention import At, start_of
from monitor_service.store.driver import answer, decoded, translated
from monitor_service.store.keys import RunKeys, step_field
from monitor_service.store.redis import StoredRun, TimedEvent, read_run

_ENTRIES_AT_ONCE = 200

Stream = Literal["events", "changes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run at one moment, and how far its history went then.

    Attributes:
        run: as it stood.
        start: the state it started from.
        series_bytes: length of its series.
        newest: id of the newest entry of each stream that has one.
    """

    run: StoredRun
    start: RunState
    series_bytes: int
    newest: Mapping[Stream, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStep:
    """What the store has of a step besides its row; None for what it does not keep."""

    record: bytes | None
    digest: bytes | None
    state: bytes | None
    rewards: bytes | None


class ArchiveStore:
    """Reads; every call raises StoreUnavailable when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def snapshot(self, run_id: str) -> Snapshot | None:
        """The run now; None when there is none."""
        keys = RunKeys(run_id)
        async with translated():
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.hgetall(keys.run)
            pipeline.strlen(keys.series)
            pipeline.xrevrange(keys.events, count=1)
            pipeline.xrevrange(keys.changes, count=1)
            stored, series_bytes, *ends = await pipeline.execute()
            if not stored:
                return None
            run = read_run(run_id, stored)
            start = await answer(self._redis.hget(keys.states, step_field(*start_of(run.state))))
        if start is None:
            raise StoreCorrupt(f"run {run_id!r}: the state it started from is missing in Redis")
        streams: tuple[Stream, ...] = ("events", "changes")
        return Snapshot(
            run=run,
            start=decoded(start, RunState, run_id),
            series_bytes=series_bytes,
            newest={name: end[0][0] for name, end in zip(streams, ends, strict=True) if end},
        )

    async def rows(self, run_id: str, first: int, size: int) -> bytes:
        """Part of the series: so many bytes from there on; raises RunNotFound once it is gone."""
        async with translated():
            found: bytes = await answer(
                self._redis.getrange(RunKeys(run_id).series, first, first + size - 1)
            )
        if len(found) < size:
            raise RunNotFound(run_id)
        return found

    async def steps(self, run_id: str, wanted: Sequence[At]) -> list[KeptStep]:
        """What is kept of each of these steps."""
        keys, names = RunKeys(run_id), [step_field(*at) for at in wanted]
        async with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for key in (keys.steps, keys.digests, keys.states, keys.rewards):
                pipeline.hmget(key, names)
            found = await pipeline.execute()
        return [
            KeptStep(record=record, digest=digest, state=state, rewards=rewards)
            for record, digest, state, rewards in zip(*found, strict=True)
        ]

    async def entries(
        self, snapshot: Snapshot, stream: Stream
    ) -> AsyncIterator[tuple[str, TimedEvent]]:
        """The entries of a stream up to the snapshot, the oldest first, with their ids."""
        run_id = snapshot.run.run_id
        if (newest := snapshot.newest.get(stream)) is None:
            return
        key: str = getattr(RunKeys(run_id), stream)
        after = b"-"
        while True:
            async with translated():
                page = await answer(self._redis.xrange(key, after, newest, _ENTRIES_AT_ONCE))
            for entry, values in page:
                yield entry.decode(), decoded(values[b"event"], TimedEvent, run_id)
            if len(page) < _ENTRIES_AT_ONCE:
                return
            after = b"(" + page[-1][0]
