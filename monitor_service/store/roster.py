"""All runs at a glance, for what looks at every one of them: lists, `/metrics`, the silence watch.

A little is remembered of each run, by its version, so that a look costs a word for every run and
more only for those that moved. Reading and decoding happen in a thread, which hands the interpreter
to the event loop as often as it can. A run that this version cannot read is left out and logged,
once: the others are none the worse.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from monitor_service.engine.health.alarms import Verdict, silence
from monitor_service.errors import StoreCorrupt
from monitor_service.resources import Deletion, Result
from monitor_service.store.driver import connect_blocking, decoded, fields_of, translated
from monitor_service.store.keys import RUNS, RunKeys
from monitor_service.store.redis import StoredRun, read_run

_RUNS_AT_ONCE = 50
"""Runs read and decoded in one go: two milliseconds, after which others get their turn."""

_PARTS = ("tag", "state", "about", "changed", "last", "result")

log = logging.getLogger(__name__)

T = TypeVar("T")
Standing = Literal["waiting", "training", "silent", "ended", "deleted"]
"""waiting: nothing was reported yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is remembered of a run."""

    run_id: str
    created_at_s: float
    started_at_s: float
    last_report_at_s: float | None
    step: int
    step_s: float | None
    """Typical duration of a step."""
    ended: str | None
    is_silent: bool
    """Whether people were told that reports have stopped."""
    is_deleted: bool
    tags: dict[str, str]

    @property
    def newest_at_s(self) -> float:
        """When it last gave a sign of life: a report, a start, its creation."""
        return max(self.created_at_s, self.started_at_s, self.last_report_at_s or 0.0)

    def standing(self, now_s: float) -> Standing:
        """How the run is doing, in a word."""
        if self.is_deleted:
            return "deleted"
        if self.ended is not None:
            return "ended"
        if self.last_report_at_s is None:
            return "waiting"
        return "silent" if self.is_silent or self.silence(now_s) else "training"

    def silence(self, now_s: float) -> Verdict | None:
        """What to say about a run whose reports have stopped; None when they have not."""
        if self.last_report_at_s is None or self.ended is not None or self.is_deleted:
            return None
        return silence(
            # A trainer that has just started again is not silent.
            last_report_at_s=max(self.last_report_at_s, self.started_at_s),
            now_s=now_s,
            typical_step_s=self.step_s,
            step=self.step,
        )


class Roster:
    """Every run there is. All methods raise StoreUnavailable when Redis does not answer."""

    def __init__(self, url: str) -> None:
        """Connects lazily; `url` is redis://, rediss:// or unix://."""
        self._redis = connect_blocking(url)
        self._known: dict[str, tuple[bytes, Entry | None]] = {}
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[list[Entry]] | None = None

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    async def entries(self) -> list[Entry]:
        """Every run as it stands now, newest first.

        Whoever asks while others are being answered waits for the next look, together with all
        who do.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._looked())
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._next)

    async def load(self, run_ids: Sequence[str], make: Callable[[StoredRun], T]) -> list[T]:
        """What `make` makes of these runs, in their order; those that are gone are left out."""
        async with translated():
            return await asyncio.to_thread(self._load, run_ids, make)

    async def results(self) -> list[Result]:
        """The final accuracies of the runs that have one and are not deleted."""
        run_ids = [entry.run_id for entry in await self.entries() if not entry.is_deleted]
        async with translated():
            return await asyncio.to_thread(self._results, run_ids)

    async def _looked(self) -> list[Entry]:
        async with self._turn:
            self._next = None  # Whoever comes from now on wants to see what happens from now on.
            async with translated():
                return await asyncio.to_thread(self._look)

    def _look(self) -> list[Entry]:
        found: Any = self._redis.zrevrange(RUNS, 0, -1)
        names: list[str] = [name.decode() for name in found]
        known: dict[str, tuple[bytes, Entry | None]] = {}
        moved = []
        for name, found in self._read(names, "tag"):
            version = _version(found)
            if name in self._known and self._known[name][0] == version:
                known[name] = self._known[name]
            elif version:
                moved.append((name, version))
        versions = dict(moved)
        for name, found in self._read(list(versions), "tag", "state", "about", "last"):
            with _told():
                known[name] = (versions[name], None)
                known[name] = (versions[name], _entry(name, found))
        self._known = known
        return [entry for name in names if name in known and (entry := known[name][1])]

    def _load(self, run_ids: Sequence[str], make: Callable[[StoredRun], T]) -> list[T]:
        made = []
        for run_id, found in self._read(run_ids, *_PARTS):
            with _told():
                parts = zip(_PARTS, fields_of(found), strict=True)
                stored = {name.encode(): part for name, part in parts if part is not None}
                made += [make(read_run(run_id, stored))] if stored else []
        return made

    def _results(self, run_ids: Sequence[str]) -> list[Result]:
        results = []
        for run_id, found in self._read(run_ids, "result"):
            with _told():
                (part,) = fields_of(found)
                results += [decoded(part, Result, run_id)] if part else []
        return results

    def _read(self, run_ids: Sequence[str], *names: str) -> Iterator[tuple[str, Any]]:
        """(run id, these fields of its hash, or the error that Redis gave instead)."""
        for first in range(0, len(run_ids), _RUNS_AT_ONCE):
            batch = run_ids[first : first + _RUNS_AT_ONCE]
            pipeline = self._redis.pipeline(transaction=False)
            for run_id in batch:
                pipeline.hmget(RunKeys(run_id).run, names)
            yield from zip(batch, pipeline.execute(raise_on_error=False), strict=True)
            time.sleep(0)


def _version(found: Any) -> bytes | None:
    """What names the state of a run; of one whose hash is none, the error. None: it is gone."""
    version: bytes | None = found[0] if isinstance(found, list) else str(found).encode()
    return version


@contextmanager
def _told() -> Iterator[None]:
    """A run that cannot be read is logged, and nothing more."""
    try:
        yield
    except StoreCorrupt as error:
        log.error("%s", error)


class _State(msgspec.Struct):
    """The parts of what is stored that an entry is made of; the rest is skipped, which is cheap."""

    step: int
    ended: str | None = None
    is_silent: bool = False


class _About(msgspec.Struct):
    created_at_s: float
    tags: dict[str, str]
    started_at_s: float = 0.0
    deleted: Deletion | None = None


class _Scalars(msgspec.Struct):
    step_s: float | None = None


class _Last(msgspec.Struct):
    at_s: float
    scalars: _Scalars


def _entry(run_id: str, found: Any) -> Entry | None:
    version, *parts = fields_of(found)
    if version is None:
        return None  # Purged since.
    if parts[0] is None or parts[1] is None:
        raise StoreCorrupt(f"run {run_id!r}: its state or description is missing in Redis")
    state, about = decoded(parts[0], _State, run_id), decoded(parts[1], _About, run_id)
    last = decoded(parts[2], _Last, run_id) if parts[2] else None
    return Entry(
        run_id=run_id,
        created_at_s=about.created_at_s,
        started_at_s=about.started_at_s,
        last_report_at_s=last.at_s if last else None,
        step=state.step,
        step_s=last.scalars.step_s if last else None,
        ended=state.ended,
        is_silent=state.is_silent,
        is_deleted=about.deleted is not None,
        tags=about.tags,
    )
