"""Runs out of the monitor as files, and in again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
from msgspec.structs import replace

from monitor_service.__about__ import __version__
from monitor_service.archive import (
    Beginning,
    End,
    Happening,
    Line,
    Ordered,
    Reader,
    Step,
    ended,
    figures_of,
)
from monitor_service.engine.state import RunState
from monitor_service.errors import InputTooLarge, RunConflict, RunNotFound
from monitor_service.resources import Run, StepRecord
from monitor_service.retention import At
from monitor_service.series import ROW_BYTES, Table, row_of
from monitor_service.store.archive import ArchiveStore, KeptStep, Snapshot, Stream
from monitor_service.store.drafts import Draft
from monitor_service.store.driver import decoded
from monitor_service.store.redis import RedisStore, TimedEvent
from monitor_service.views import alive, view
from monitor_service.wire import check_run_id

LINES_AT_ONCE = 100
BYTES_AT_ONCE = 2**20
"""Read, or written, before others get their turn."""

log = logging.getLogger(__name__)


class Transfer:
    """Export and import; both raise StoreUnavailable when Redis does not answer."""

    def __init__(
        self,
        store: RedisStore,
        clock: Callable[[], float],
        check_room: Callable[[], Awaitable[None]],
    ) -> None:
        """`clock` tells Unix time in seconds; `check_room` raises TooManyRuns."""
        self._store = store
        self._clock = clock
        self._check_room = check_room
        self._kept = ArchiveStore(store.redis)

    async def exported(self, run_id: str) -> AsyncIterator[bytes]:
        """The run as it stands now, in pieces of whole lines, see `archive`.

        Raises:
            RunNotFound, RunDeleted: before the first piece.
        """
        snapshot = await self._kept.snapshot(check_run_id(run_id))
        if snapshot is None:
            raise RunNotFound(run_id)
        alive(snapshot.run)
        return self._lines(snapshot)

    async def imported(
        self, run_id: str, body: AsyncIterator[bytes], *, max_line_bytes: int, max_bytes: int
    ) -> tuple[Run, bool]:
        """Take a run in from a file, whole or not at all; False when it was there already.

        Raises:
            InvalidInput: a line that no export writes, or a file that breaks off.
            InputTooLarge: the file, or a line of it.
            RunConflict: a run of this id exists, and it is another, or stands elsewhere.
            TooManyRuns: there may be no further run.
        """
        known = await self._store.load(check_run_id(run_id))
        if known is None:
            await self._check_room()
        reader, draft = Reader(), Draft(self._store.redis, run_id)
        try:
            async for payloads in _batches(body, max_line_bytes, max_bytes):
                lines = await asyncio.to_thread(lambda some: [*map(reader.take, some)], payloads)
                if known is None:
                    await _drafted(draft, lines)
            run = reader.run(run_id)
            if known is None:
                await self._store.announce(run_id, run.about.created_at_s)
                if await draft.adopt(run) == "written":
                    log.info("run %s was imported, at step %d", run_id, run.state.step)
                    return view(run, self._clock()), True
                known = await self._store.load(run_id)
        finally:
            await draft.discard()
        if known is None or replace(known, tag="", state=ended(known.state)) != run:
            raise RunConflict(f"another run has the id {run_id!r}, or this one has moved on")
        return view(known, self._clock()), False

    async def _lines(self, snapshot: Snapshot) -> AsyncIterator[bytes]:
        run, counts = snapshot.run, {"steps": 0, "events": 0, "changes": 0}
        yield _encoded(
            Beginning(
                acr=__version__,
                id=run.run_id,
                about=run.about,
                attempts=list(run.state.attempts),
                start=snapshot.start,
            )
        )
        size = LINES_AT_ONCE * ROW_BYTES
        for first in range(0, snapshot.series_bytes, size):
            size = min(size, snapshot.series_bytes - first)
            table = Table.read(await self._kept.rows(run.run_id, first, size), run.state)
            if len(table):
                wanted = list(zip(*map(table.values, ("attempt", "step")), strict=True))
                kept = await self._kept.steps(run.run_id, wanted)
                yield await asyncio.to_thread(_steps, run.run_id, table, kept)
            counts["steps"] += len(table)
        streams: tuple[tuple[Stream, type[Happening]], ...] = (
            ("events", Happening),
            ("changes", Ordered),
        )
        for stream, kind in streams:
            async for entry, timed in self._kept.entries(snapshot, stream):
                counts[stream] += 1
                yield _encoded(kind(id=entry, at_s=timed.at_s, event=timed.event))
        yield _encoded(
            End(**counts, state=run.state, changed=run.changed, last=run.last, result=run.result)
        )


def _steps(run_id: str, table: Table, kept: Sequence[KeptStep]) -> bytes:
    """The lines of steps whose figures are in the table."""
    lines = [
        Step(
            figures=figures,
            digest=own.digest,
            record=decoded(own.record, StepRecord, run_id) if own.record else None,
            state=decoded(own.state, RunState, run_id) if own.state else None,
            rewards=own.rewards,
        )
        for figures, own in zip(figures_of(table), kept, strict=True)
    ]
    return b"".join(map(_encoded, lines))


def _encoded(line: Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"


async def _drafted(draft: Draft, lines: Sequence[Line]) -> None:
    """Write lines that were read."""
    steps: list[tuple[At, bytes, KeptStep]] = []
    entries: dict[Stream, list[tuple[str, TimedEvent]]] = {"events": [], "changes": []}
    for line in lines:
        if isinstance(line, Beginning):
            await draft.begin(line.start)
        elif isinstance(line, Step):
            steps.append((line.at, row_of(line.figures), _kept(line)))
        elif isinstance(line, Happening):
            stream: Stream = "changes" if isinstance(line, Ordered) else "events"
            entries[stream].append((line.id, TimedEvent(at_s=line.at_s, event=line.event)))
    await draft.add(steps, entries)


def _kept(line: Step) -> KeptStep:
    return KeptStep(
        record=msgspec.json.encode(line.record) if line.record else None,
        digest=line.digest,
        state=msgspec.json.encode(line.state) if line.state else None,
        rewards=line.rewards,
    )


async def _batches(
    body: AsyncIterator[bytes], max_line_bytes: int, max_bytes: int
) -> AsyncIterator[list[bytes]]:
    """The lines of a file, some at a time; raises InputTooLarge."""
    rest, lines, waiting = bytearray(), [], 0
    number, size = 1, 0
    async for chunk in body:
        size += len(chunk)
        if size > max_bytes:
            raise InputTooLarge(f"body: more than the {max_bytes} bytes allowed")
        searched = len(rest)
        rest += chunk
        while (end := rest.find(b"\n", searched)) >= 0:
            _check_length(number, end, max_line_bytes)
            lines.append(bytes(rest[:end]))
            del rest[: end + 1]
            searched = 0
            number += 1
            waiting += end
            if len(lines) >= LINES_AT_ONCE or waiting >= BYTES_AT_ONCE:
                yield lines
                lines, waiting = [], 0
        _check_length(number, len(rest), max_line_bytes)
    if lines := lines + [bytes(rest)] * bool(rest):
        yield lines


def _check_length(number: int, size: int, most: int) -> None:
    if size > most:
        raise InputTooLarge(f"line {number}: more than the {most} bytes allowed")
