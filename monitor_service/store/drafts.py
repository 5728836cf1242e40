"""A run written whole: as a draft that nobody sees, which becomes a run in one go or never."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Literal
from uuid import uuid4

import msgspec
from redis.asyncio import Redis

from monitor_service.engine.state import RunState
from monitor_service.errors import StoreUnavailable
from monitor_service.retention import At, start_of
from monitor_service.store.archive import KeptStep, Stream
from monitor_service.store.driver import translated
from monitor_service.store.keys import CHANGES_KEPT, EVENTS_KEPT, RunKeys, step_field
from monitor_service.store.redis import StoredRun, TimedEvent, new_tag

DRAFT_S = 3600
"""Lifetime of a draft that nobody writes to any longer."""

_PARTS = ("series", "states", "steps", "digests", "rewards", "events", "changes")
_KEPT: Mapping[Stream, int] = {"events": EVENTS_KEPT, "changes": CHANGES_KEPT}


class Draft:
    """A run that does not exist yet; calls raise StoreUnavailable when Redis does not answer."""

    def __init__(self, redis: Redis, run_id: str) -> None:
        self._redis = redis
        self._own = RunKeys(run_id)
        self._keys = RunKeys(run_id, draft=f"draft-{uuid4().hex}")
        self._series_bytes = 0

    async def begin(self, start: RunState) -> None:
        """Write the state that the run starts from."""
        async with translated():
            await self._redis.hset(
                self._keys.states, step_field(*start_of(start)), msgspec.json.encode(start)
            )
        await self.add([], {})

    async def add(
        self,
        steps: Sequence[tuple[At, bytes, KeptStep]],
        entries: Mapping[Stream, Sequence[tuple[str, TimedEvent]]],
    ) -> None:
        """Write more of its steps, each with its row of the series, and of its streams."""
        keys = self._keys
        hashes = {"steps": "record", "digests": "digest", "states": "state", "rewards": "rewards"}
        async with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for part, name in hashes.items():
                pairs = ((step_field(*at), getattr(kept, name)) for at, _, kept in steps)
                if items := [one for pair in pairs if pair[1] is not None for one in pair]:
                    pipeline.hset(getattr(keys, part), items=items)
            rows = b"".join(row for _, row, _ in steps)
            if rows:
                pipeline.append(keys.series, rows)
            for stream, some in entries.items():
                for entry, timed in some:
                    pipeline.xadd(
                        getattr(keys, stream),
                        {"event": msgspec.json.encode(timed)},
                        id=entry,
                        maxlen=_KEPT[stream],
                    )
            for part in _PARTS:
                pipeline.expire(getattr(keys, part), DRAFT_S)
            await pipeline.execute()
        self._series_bytes += len(rows)

    async def adopt(self, run: StoredRun) -> Literal["written", "exists"]:
        """Make it the run, unless there is one of this id by now."""
        settings = msgspec.json.encode(run.state.settings)
        fields: dict[str, bytes | str] = {"tag": new_tag(run.state)}
        for name in ("state", "about", "changed", "last", "result"):
            if (value := getattr(run, name)) is not None:
                fields[name] = msgspec.json.encode(value)
        script = files("monitor_service.store").joinpath("adopt.lua").read_text()
        keys = [getattr(of, part) for of in (self._keys, self._own) for part in _PARTS]
        async with translated():
            outcome = await self._redis.register_script(script)(
                keys=[self._own.run, self._own.settings, *keys],
                args=[
                    *(settings, self._series_bytes),
                    *(part for pair in fields.items() for part in pair),
                ],
            )
        if outcome == b"lost":
            raise StoreUnavailable("Redis has lost what was written of the import; try it again")
        return "exists" if outcome == b"exists" else "written"

    async def discard(self) -> None:
        """Remove what was written; without Redis it removes itself, later."""
        with suppress(StoreUnavailable):
            async with translated():
                await self._redis.delete(*(getattr(self._keys, part) for part in _PARTS))
