"""Runs at a glance: what a list of them shows, read without reading all of each run."""

import logging
from collections.abc import Sequence

import msgspec
from redis.asyncio import Redis

from monitor_service.engine.health.alarms import HEALTH_UNKNOWN, SILENCE_RULE, Health
from monitor_service.errors import StoreCorrupt
from monitor_service.resources import Deletion, Glance
from monitor_service.store.driver import answer, decoded, fields_of, translated
from monitor_service.store.keys import RUNS, RunKeys

_AT_ONCE = 100
"""Runs of one reading, between which others get their turn."""

log = logging.getLogger(__name__)


class _State(msgspec.Struct):
    """The parts of a state that are shown; the rest is skipped, which is cheap."""

    step: int
    attempt: int
    ended: str | None = None
    is_silent: bool = False
    health: Health = HEALTH_UNKNOWN


class _Collapse(msgspec.Struct):
    acr: float | None


class _Last(msgspec.Struct):
    collapse: _Collapse


class _About(msgspec.Struct):
    deleted: Deletion | None = None


class Glances:
    """Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def run_ids(self) -> list[str]:
        """Of every run."""
        async with translated():
            return [name.decode() for name in await answer(self._redis.zrange(RUNS, 0, -1))]

    async def of(self, run_ids: Sequence[str]) -> dict[str, Glance | None]:
        """These runs; None for one that is not there, or not any more.

        One that this version cannot read is left out and logged.
        """
        glances = {}
        for first in range(0, len(run_ids), _AT_ONCE):
            batch = run_ids[first : first + _AT_ONCE]
            async with translated(), self._redis.pipeline(transaction=False) as pipeline:
                for run_id in batch:
                    pipeline.hmget(RunKeys(run_id).run, ["state", "last", "about"])
                found = await pipeline.execute(raise_on_error=False)
            for run_id, parts in zip(batch, found, strict=True):
                try:
                    glances[run_id] = _glance(run_id, fields_of(parts))
                except StoreCorrupt as error:
                    log.error("run %s is left out: %s", run_id, error)
        return glances


def _glance(run_id: str, parts: Sequence[bytes | None]) -> Glance | None:
    state_part, last_part, about_part = parts
    if state_part is None or about_part is None or decoded(about_part, _About, run_id).deleted:
        return None
    state = decoded(state_part, _State, run_id)
    worst = next(iter(state.health.verdicts), None)
    rule, severity = (worst.rule, worst.severity) if worst else (None, None)
    if state.is_silent:
        rule, severity = SILENCE_RULE, "critical"
    return Glance(
        run_id=run_id,
        step=state.step,
        attempt=state.attempt,
        ended=state.ended,
        acr=decoded(last_part, _Last, run_id).collapse.acr if last_part else None,
        verdict=rule,
        severity=severity,
    )
