"""What is kept of a run's steps beside their records: the series, and raw rewards."""

from redis.asyncio import Redis

from monitor_service.store.driver import answer, translated
from monitor_service.store.keys import RunKeys, step_field

_PIECE_BYTES = 2**21
"""Read at once: neither Redis nor this process is held up by a long history."""


class HistoryStore:
    """Reads; every call raises StoreUnavailable when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def series(self, run_id: str, start: int = 0) -> bytearray:
        """Rows from the byte `start` on, those of replaced attempts included, as recorded."""
        key = RunKeys(run_id).series
        found = bytearray()
        async with translated():
            while piece := await answer(
                self._redis.getrange(key, start + len(found), start + len(found) + _PIECE_BYTES - 1)
            ):
                found += piece
                if len(piece) < _PIECE_BYTES:
                    break
        return found

    async def series_bytes(self, run_id: str) -> int:
        """How long the series is."""
        async with translated():
            return int(await answer(self._redis.strlen(RunKeys(run_id).series)))

    async def rewards(self, run_id: str, attempt: int, step: int) -> bytes | None:
        """The raw rewards of a step, packed; None when they are not kept."""
        async with translated():
            found: bytes | None = await answer(
                self._redis.hget(RunKeys(run_id).rewards, step_field(attempt, step))
            )
        return found
