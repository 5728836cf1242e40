"""What alert sinks were told, in Redis: written by the one replica that holds the lease.

The queue of a sink is the runs' own streams of events; here is only how far it got in each.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

import msgspec
from redis.asyncio import Redis

from monitor_service.alert import Alert
from monitor_service.engine.health.evidence import Severity
from monitor_service.errors import StoreCorrupt
from monitor_service.store.driver import answer, decoded, translated
from monitor_service.store.keys import (
    ALARMS,
    ALERTS_LEASE,
    ALERTS_OUTCOMES,
    ALERTS_STANDINGS,
    RUNS,
    RunKeys,
    alerts_told,
)
from monitor_service.store.redis import TimedEvent

PAGE_EVENTS = 50
"""Events read of a run at a time."""
TOLD_LIFE_S = 7 * 86_400
"""A sink that nobody delivers to for this long is forgotten."""
SINCE = ""
"""Field of the id from which a sink listens; no run has this name."""
LISTEN_S = 1.0

log = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that a sink was told of."""

    severity: Severity
    since_step: int | None
    over: Alert | None = None
    """Its end, to be told once the alarm stayed away."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """How far a sink got with one run."""

    cursor: str
    """Id of the newest event taken into account."""
    alarms: dict[str, Told] = {}
    """By rule."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the deliveries of a sink go; as `SinkView` tells it."""

    delivered_at_s: float | None = None
    failed_at_s: float | None = None
    error: str = ""
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in the stream of a run; None when this version cannot read it."""

    id: str
    timed: TimedEvent | None


class AlertStore:
    """The lease, what each sink was told, and how its deliveries go."""

    def __init__(self, redis: Redis) -> None:
        """On a client that others share."""
        self._redis = redis
        script = files("monitor_service.store").joinpath("alerts.lua").read_text()
        self._keep = redis.register_script(script)

    async def acquire(self, holder: str, lease_s: float) -> bool:
        """Take the lease if nobody has it."""
        async with translated():
            taken = await self._redis.set(ALERTS_LEASE, holder, nx=True, px=_ms(lease_s))
        return bool(taken)

    async def renew(self, holder: str, lease_s: float) -> bool:
        """Hold the lease for another `lease_s`, 0 to give it up; False when it was lost."""
        async with translated():
            return bool(await self._keep(keys=[ALERTS_LEASE], args=[holder, _ms(lease_s)]))

    async def is_held(self) -> bool:
        """Whether some replica holds the lease."""
        async with translated():
            return bool(await answer(self._redis.exists(ALERTS_LEASE)))

    async def begin(self, sink: str) -> tuple[str, dict[str, Place]]:
        """From which event on the sink listens, and its places by run; a new sink begins now."""
        key = alerts_told(sink)
        async with translated():
            seconds, microseconds = await answer(self._redis.time())
            now = f"{1000 * seconds + microseconds // 1000}-0"
            await answer(self._redis.hsetnx(key, SINCE, now))
            stored = await answer(self._redis.hgetall(key))
        since = stored.pop(SINCE.encode()).decode()
        places = {}
        for name, value in stored.items():
            run_id = name.decode()
            try:
                places[run_id] = decoded(value, Place, run_id)
            except StoreCorrupt as error:
                log.error("alert sink %s goes on from now: %s", sink, error)
                places[run_id] = Place(cursor=now)
        return since, places

    async def keep(
        self,
        holder: str,
        lease_s: float,
        sink: str,
        standing: Standing,
        *,
        outcomes: Mapping[str, int],
        places: Mapping[str, Place],
    ) -> bool:
        """Write what a sink was told; False, and nothing written, when the lease was lost."""
        async with translated():
            kept = await self._keep(
                keys=[ALERTS_LEASE, alerts_told(sink), ALERTS_STANDINGS, ALERTS_OUTCOMES],
                args=[
                    *(holder, _ms(lease_s), _ms(TOLD_LIFE_S), sink, msgspec.json.encode(standing)),
                    len(outcomes),
                    *(part for pair in outcomes.items() for part in pair),
                    *(
                        part
                        for run_id, place in places.items()
                        for part in (run_id, msgspec.json.encode(place))
                    ),
                ],
            )
        return bool(kept)

    async def forget_deleted(self, sink: str, run_ids: Iterable[str]) -> set[str]:
        """Drop the places of those of these runs whose events are gone; their names."""
        names = list(run_ids)
        async with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for name in names:
                pipeline.exists(RunKeys(name).events)
            there = await pipeline.execute()
            gone = {name for name, is_there in zip(names, there, strict=True) if not is_there}
            if gone:
                await answer(self._redis.hdel(alerts_told(sink), *gone))
        return gone

    async def runs(self) -> list[str]:
        """The names of all runs."""
        async with translated():
            return [name.decode() for name in await answer(self._redis.zrange(RUNS, 0, -1))]

    async def events(self, cursors: Mapping[str, str]) -> dict[str, list[Entry]]:
        """The next events of each run after its cursor, `PAGE_EVENTS` at most."""
        async with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for run_id, cursor in cursors.items():
                pipeline.xrange(RunKeys(run_id).events, min=f"({cursor}", count=PAGE_EVENTS)
            pages = await pipeline.execute()
        return {
            run_id: [_entry(run_id, *entry) for entry in page]
            for run_id, page in zip(cursors, pages, strict=True)
        }

    async def alarms(self) -> AsyncIterator[str]:
        """The id of every run whose alarms change, from now on; some may be missed."""
        async with (
            translated(),
            self._redis.pubsub(ignore_subscribe_messages=True) as subscription,
        ):
            await subscription.subscribe(ALARMS)
            while True:
                if message := await subscription.get_message(timeout=LISTEN_S):
                    yield message["data"].decode()

    async def standings(self) -> dict[str, Standing]:
        """By sink; those never delivered to are missing."""
        async with translated():
            stored = await answer(self._redis.hgetall(ALERTS_STANDINGS))
        return {name.decode(): decoded(value, Standing, "alerts") for name, value in stored.items()}

    async def outcomes(self) -> dict[tuple[str, str], int]:
        """How many deliveries ended how: (sink, outcome) -> count."""
        async with translated():
            stored = await answer(self._redis.hgetall(ALERTS_OUTCOMES))
        pairs = ((name.decode().partition(" "), int(count)) for name, count in stored.items())
        return {(sink, outcome): count for (sink, _, outcome), count in pairs}


def _entry(run_id: str, key: bytes, values: dict[bytes, bytes]) -> Entry:
    try:
        return Entry(key.decode(), decoded(values[b"event"], TimedEvent, run_id))
    except StoreCorrupt as error:
        log.error("an event is left out of the alerts: %s", error)
        return Entry(key.decode(), None)


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
