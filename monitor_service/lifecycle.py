"""What people do with a run as a whole: describe it, delete it, bring it back, purge it.

Deleting hides a run and stops it from taking reports; its trainer goes on training, and keeps what
it has to say until the run is restored. Only purging removes anything.
"""

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from monitor_service.control import MAX_TRIES, checked_order
from monitor_service.engine.events import Event
from monitor_service.errors import Contention, InvalidInput, RunNotDeleted
from monitor_service.requests import Description, Order
from monitor_service.resources import Deletion, Origin, Run
from monitor_service.store.purge import Purge
from monitor_service.store.redis import About, RedisStore, StoredRun
from monitor_service.views import alive, any_run, view
from monitor_service.wire import check_tags

MAX_NOTES_CHARS = 10_000

Rewriting = Callable[[StoredRun, float], About]
"""(run, Unix time) -> what is known of it from now on; the same when nothing changes."""


class Lifecycle:
    """Every such order; all of them raise StoreUnavailable when Redis does not answer."""

    def __init__(
        self, store: RedisStore, clock: Callable[[], float], origin: Origin = Origin()
    ) -> None:
        """`clock` tells Unix time in seconds."""
        self._store = store
        self._clock = clock
        self._origin = origin
        self._purge = Purge(store.redis)

    def by(self, origin: Origin) -> "Lifecycle":
        """The same, for orders that come from there."""
        return Lifecycle(self._store, self._clock, origin)

    async def describe(self, run_id: str, wanted: Description) -> Run:
        """Merge tags into those of a run, and replace its notes.

        Raises:
            InvalidInput: characters that nobody can see, or too many of them.
        """
        if wanted.notes is not None:
            _check_notes(wanted.notes)

        def rewriting(stored: StoredRun, now_s: float) -> About:
            about = alive(stored).about
            merged = {**about.tags, **wanted.tags}
            tags = {name: text for name, text in merged.items() if text is not None}
            check_tags(tags)
            notes = about.notes if wanted.notes is None else wanted.notes
            return replace(about, tags=tags, notes=notes)

        order = Order(reason=wanted.reason, actor=wanted.actor)
        return await self._rewritten(run_id, "described", rewriting, order)

    async def delete(self, run_id: str, order: Order) -> Run:
        """Hide a run, with all that belongs to it; of one that is hidden already, the run."""
        actor, reason = checked_order(order, self._origin)

        def rewriting(stored: StoredRun, now_s: float) -> About:
            deletion = Deletion(at_s=now_s, actor=actor, reason=reason)
            deletion = stored.about.deleted or deletion
            return replace(stored.about, deleted=deletion)

        return await self._rewritten(run_id, "deleted", rewriting, order)

    async def restore(self, run_id: str, order: Order) -> Run:
        """Bring a deleted run back as it was; of one that is not deleted, the run."""

        def rewriting(stored: StoredRun, now_s: float) -> About:
            return replace(stored.about, deleted=None)

        return await self._rewritten(run_id, "restored", rewriting, order)

    async def purge(self, run_id: str) -> None:
        """Remove everything that is kept of a deleted run, for good.

        Raises:
            RunNotDeleted: it has to be deleted first.
        """
        for _ in range(MAX_TRIES):
            stored = await any_run(self._store, run_id)
            if stored.about.deleted is None:
                text = f"run {run_id!r} is not deleted; only a deleted run can be purged"
                raise RunNotDeleted(text)
            if await self._purge.everything(stored):
                return
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    async def _rewritten(self, run_id: str, kind: str, rewriting: Rewriting, order: Order) -> Run:
        """The run with this done to it, as one transition: a report under way loses, or waits."""
        actor, reason = checked_order(order, self._origin)
        for _ in range(MAX_TRIES):
            stored = await any_run(self._store, run_id)
            now_s = self._clock()
            about = rewriting(stored, now_s)
            if about == stored.about:
                return view(stored, now_s)
            settings = stored.state.settings
            settings = replace(settings, version=settings.version + 1)
            after = replace(stored, about=about, state=replace(stored.state, settings=settings))
            event = Event(
                kind=kind,
                step=stored.state.step,
                message=f"{actor}: {reason}",
                data={
                    "actor": actor,
                    "reason": reason,
                    "version": settings.version,
                    "origin": self._origin,
                    **_difference(stored.about, about),
                },
            )
            if await self._store.commit(stored, after, at_s=now_s, events=[event]) is not None:
                return view(after, now_s)
        raise Contention(f"run {run_id!r} is being changed by too many writers")


def _difference(before: About, after: About) -> Mapping[str, Any]:
    """What became other, where there is something to tell: `old` and `new`."""
    names = [name for name in ("tags", "notes") if getattr(before, name) != getattr(after, name)]
    return {
        "old": {name: getattr(before, name) for name in names},
        "new": {name: getattr(after, name) for name in names},
    }


def _check_notes(notes: str) -> None:
    is_plain = all(char in "\n\t" or unicodedata.category(char) != "Cc" for char in notes)
    if len(notes) > MAX_NOTES_CHARS or not is_plain:
        allowed = (
            f"must be a text of up to {MAX_NOTES_CHARS} characters, without control characters "
            "other than line feeds and tabs"
        )
        raise InvalidInput("notes", notes, allowed)
