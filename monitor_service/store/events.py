"""A run's events, and the orders among them: two streams of the same form, read in pages."""

import re
from collections.abc import AsyncIterator, Collection

import msgspec
from redis.asyncio import Redis

from monitor_service.errors import InvalidInput
from monitor_service.resources import EventPage, EventView, OrderPage, OrderView, Origin
from monitor_service.store.driver import answer, decoded, translated
from monitor_service.store.keys import RunKeys
from monitor_service.store.redis import TimedEvent

_AT_ONCE = 500
"""Entries of one round trip."""
_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

Entry = tuple[bytes, dict[bytes, bytes]]
"""Of a stream: id, fields."""


class EventLog:
    """What happened to runs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def page(
        self,
        run_id: str,
        limit: int,
        *,
        before: str | None = None,
        after: str | None = None,
        kinds: Collection[str] = (),
    ) -> EventPage:
        """Events older than `before`, newest first; or those newer than `after`, oldest first.

        Args:
            run_id: the run; one that does not exist has no events.
            limit: most events.
            before: id of an event; None: begin with the newest.
            after: id of an event, instead of `before`.
            kinds: only these; empty: all.

        Raises:
            InvalidInput: no such ids can be.
        """
        if before is not None and after is not None:
            raise InvalidInput("after", after, "not together with before")
        key = RunKeys(run_id).events
        found = []
        async for view in self._read(key, run_id, before=before, after=after):
            if not kinds or view.event.kind in kinds:
                found.append(view)
            if len(found) > limit:
                break
        rest = found[limit:]
        return EventPage(events=found[:limit], next=found[limit - 1].id if rest else None)

    async def orders(self, run_id: str, limit: int, *, before: str | None = None) -> OrderPage:
        """What people ordered before `before`, newest first, and the step from which it acted.

        Raises:
            InvalidInput: no such id can be.
        """
        key = RunKeys(run_id).changes
        orders: list[EventView] = []
        effects: dict[int, EventView] = {}
        async for view in self._read(key, run_id, before=before):
            if view.event.kind == "change_applied":
                effects[view.event.data["version"]] = view
            else:
                orders.append(view)
            if len(orders) > limit:
                break
        rest, orders = orders[limit:], orders[:limit]
        if before and orders:
            # What acted later than `before` was ordered. Effects come in the order of versions.
            newest = max(one.event.data.get("version", 0) for one in orders)
            async for view in self._read(key, run_id, after=before):
                if view.event.kind == "change_applied":
                    version = view.event.data["version"]
                    effects.setdefault(version, view)
                    if version >= newest:
                        break
        return OrderPage(
            orders=[_order(one, effects) for one in orders], next=orders[-1].id if rest else None
        )

    async def _read(
        self, key: str, run_id: str, *, before: str | None = None, after: str | None = None
    ) -> AsyncIterator[EventView]:
        """Newest first; those after an id oldest first."""
        _check("before", before)
        _check("after", after)
        while True:
            async with translated():
                if after is not None:
                    query = self._redis.xrange(key, min=f"({after}", count=_AT_ONCE)
                else:
                    newest = f"({before}" if before else "+"
                    query = self._redis.xrevrange(key, max=newest, count=_AT_ONCE)
                entries = await answer(query)
            for entry in entries:
                yield event_view(entry, run_id)
            if len(entries) < _AT_ONCE:
                return
            last = entries[-1][0].decode()
            before, after = (None, last) if after is not None else (last, None)


def _check(field: str, given: str | None) -> None:
    if given is None:
        return
    parts = [int(part) for part in given.split("-")] if _ID.fullmatch(given) else []
    # Nothing is before 0-0, which Redis calls an error; everything is after it.
    if not parts or max(parts) >= 2**63 or not (any(parts) or field == "after"):
        raise InvalidInput(field, given, "must be the id of an event, such as 1769000000000-0")


def event_view(entry: Entry, run_id: str) -> EventView:
    """An entry of a stream as people see it; raises StoreCorrupt."""
    key, values = entry
    timed = decoded(values[b"event"], TimedEvent, run_id)
    return EventView(id=key.decode(), at_s=timed.at_s, event=timed.event)


def _order(view: EventView, effects: dict[int, EventView]) -> OrderView:
    event, data = view.event, view.event.data
    version, new, origin = data.get("version"), data.get("new", {}), data.get("origin")
    effect = effects.get(version) if version is not None else None
    ignored = effect.event.data["ignored"] if effect else {}
    # A kill file acts before it is told.
    applied_step = event.step if version is None else effect.event.step if effect else None
    return OrderView(
        id=view.id,
        at_s=view.at_s,
        step=event.step,
        kind=event.kind,
        actor=data["actor"],
        reason=data["reason"],
        origin=msgspec.convert(origin, Origin) if origin else None,
        version=version,
        number=data.get("number"),
        old=data.get("old", {}),
        new=new,
        applied_step=applied_step,
        ignored={name: why for name, why in ignored.items() if name in new or name == "settings"},
    )
