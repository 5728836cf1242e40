"""What happened to a run since somebody last looked: steps, events and settings, in order.

Where somebody has got to is a place, made of what the store holds and of nothing that a process
remembers: whoever loses a connection goes on at any replica, misses nothing and gets nothing twice.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import msgspec
from redis.asyncio import Redis

from monitor_service.errors import InvalidInput, RunDeleted, RunNotFound
from monitor_service.resources import Deletion, EventView, StepRecord
from monitor_service.store.driver import answer, decoded, translated
from monitor_service.store.events import event_view
from monitor_service.store.keys import RunKeys, step_field

AT_ONCE = 200
"""Most items of one reading."""
_PLACE = re.compile(r"(\d{1,16})\.(\d{1,16})\.(\d{1,18})-(\d{1,18})\.(\d{1,18})", re.ASCII)

EventId = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far somebody has got: everything up to here was seen.

    Attributes:
        attempt: attempt of the newest step seen.
        step: that step; the one the attempt continues after, before its first.
        event: id of the newest event seen.
        version: of the newest settings seen.
    """

    attempt: int
    step: int
    event: EventId
    version: int

    def past(self, other: "Place") -> "Place":
        """Where somebody stands who has been at both."""
        attempt, step = max((self.attempt, self.step), (other.attempt, other.step))
        return Place(
            attempt=attempt,
            step=step,
            event=max(self.event, other.event),
            version=max(self.version, other.version),
        )

    def __str__(self) -> str:
        return f"{self.attempt}.{self.step}.{_text(self.event)}.{self.version}"


class PlaceLost(Exception):
    """The store does not hold everything since a place, or is of another life of the run."""


def read_place(text: str) -> Place:
    """The place that was written so; raises InvalidInput."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise InvalidInput("last_event_id", text, "must be the id of a message of this stream")
    attempt, step, at_ms, number, version = map(int, found.groups())
    return Place(attempt=attempt, step=step, event=(at_ms, number), version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One piece of news; `place` is where its reader stands after it."""

    kind: Literal["step", "event", "settings"]
    place: Place
    data: bytes
    """JSON."""

    def is_new_at(self, place: Place) -> bool:
        """Whether somebody who has got to `place` has not seen it."""
        if self.kind == "step":
            return (self.place.attempt, self.place.step) > (place.attempt, place.step)
        if self.kind == "event":
            return self.place.event > place.event
        return self.place.version > place.version


class _Head(msgspec.Struct):
    """What the newest settings say of where the run stands."""

    version: int
    through_step: int


class _About(msgspec.Struct):
    deleted: Deletion | None = None


class News:
    """Reads what is new; every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def newest_event(self, run_id: str) -> EventId:
        """Id of the run's newest event; (0, 0) when it has none."""
        async with translated():
            entries = await answer(self._redis.xrevrange(RunKeys(run_id).events, count=1))
        return _id(entries[0][0].decode()) if entries else (0, 0)

    async def since(self, run_id: str, place: Place) -> tuple[list[Item], bool]:
        """What is new, oldest first, and whether that is all of it.

        Raises:
            RunNotFound, RunDeleted: there is no such run any more.
            PlaceLost: it cannot be told.
        """
        keys = RunKeys(run_id)
        async with translated(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.get(keys.settings)
            pipeline.hget(keys.run, "about")
            pipeline.xrange(keys.events, min=_text(place.event), count=AT_ONCE + 1)
            settings, about, entries = await pipeline.execute()
        if settings is None or about is None:
            raise RunNotFound(run_id)
        if decoded(about, _About, run_id).deleted:
            raise RunDeleted(f"run {run_id!r} was deleted")
        head = decoded(settings, _Head, run_id)
        events = [event_view(entry, run_id) for entry in entries]
        if place.event != (0, 0):
            # The newest event that was seen has to be there still, or others may be gone, too.
            if not events or _id(events[0].id) != place.event:
                raise PlaceLost
            del events[0]
        if head.version < place.version:
            raise PlaceLost
        has_all_events = len(entries) <= AT_ONCE
        path = _path(place, events, head.through_step if has_all_events else None)
        stops = list(islice(path, AT_ONCE))
        items = await self._items(run_id, stops)
        is_all = has_all_events and next(path, None) is None
        if is_all and head.version > place.version:
            place = replace(items[-1].place if items else place, version=head.version)
            items.append(Item(kind="settings", place=place, data=settings))
        return items, is_all

    async def _items(self, run_id: str, stops: list["_Stop"]) -> list[Item]:
        names = [step_field(at.attempt, at.step) for at, event in stops if event is None]
        records: Iterator[bytes | None] = iter(())
        if names:
            async with translated():
                records = iter(await answer(self._redis.hmget(RunKeys(run_id).steps, names)))
        items = []
        for place, event in stops:
            if event is not None:
                items.append(Item(kind="event", place=place, data=msgspec.json.encode(event)))
                continue
            record = next(records)
            if record is None:
                raise PlaceLost
            found = decoded(record, StepRecord, run_id)
            items.append(Item(kind="step", place=place, data=msgspec.json.encode(found)))
        return items


_Stop = tuple[Place, EventView | None]
"""A place on the way, and the event that leads there; None: the step that does."""


def _path(place: Place, events: Iterable[EventView], newest: int | None) -> Iterator[_Stop]:
    """The way from a place over these events, to the newest step if that is known.

    An event comes after the step it was told at. Steps that were never reported are passed over,
    since the event of their gap says how many they are; steps of an attempt that was replaced are
    told up to its end, which the event of the resumption names.
    """
    for view in events:
        event, data = view.event, view.event.data
        if event.kind == "resumed":
            yield from _steps(place, data.get("from_step", place.step))
            place = replace(place, attempt=data["attempt"], step=event.step)
        elif event.kind == "gap" and place.step < event.step:
            yield from _steps(place, event.step - data["missing"] - 1)
            place = replace(place, step=event.step)
            yield place, None
        else:
            yield from _steps(place, event.step)
            place = replace(place, step=max(place.step, event.step))
        place = replace(place, event=_id(view.id))
        yield place, view
    if newest is not None:
        yield from _steps(place, newest)


def _steps(place: Place, last: int) -> Iterator[_Stop]:
    for step in range(place.step + 1, last + 1):
        yield replace(place, step=step), None


def _id(text: str) -> EventId:
    at_ms, number = text.split("-")
    return int(at_ms), int(number)


def _text(event: EventId) -> str:
    return f"{event[0]}-{event[1]}"
