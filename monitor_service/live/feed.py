"""A run that is watched: each transition is read once and told to all who watch it.

Whoever comes reads from the store what they have missed, and joins the others once that is nothing.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence

import msgspec

from monitor_service.errors import (
    Contention,
    RunDeleted,
    RunNotFound,
    StoreCorrupt,
    StoreUnavailable,
)
from monitor_service.live.watcher import Watcher, greeting, message
from monitor_service.store.news import Item, News, Place, PlaceLost
from monitor_service.store.redis import RedisStore, StoredRun
from monitor_service.views import stored_run, view

MAX_TRIES = 50
READ_AGAIN_S = 0.5
"""After Redis did not answer."""

log = logging.getLogger(__name__)


class Feed:
    """One run, and who watches it."""

    def __init__(
        self, run_id: str, store: RedisStore, news: News, clock: Callable[[], float]
    ) -> None:
        """`clock` tells Unix time in seconds."""
        self._run_id = run_id
        self._store = store
        self._news = news
        self._clock = clock
        self.watchers: set[RunWatcher] = set()
        self._place: Place | None = None
        """Where those have got to who miss nothing."""
        self._is_behind = False
        self._reading: asyncio.Task[None] | None = None

    async def welcome(self, watcher: "RunWatcher") -> None:
        """Let a new watcher begin.

        Raises:
            RunNotFound, RunDeleted: there is no such run.
        """
        stored, now = await self.snapshot()
        watcher.begin(stored, now)
        self._place = self._place or now
        self.stir()

    def stir(self) -> None:
        """Something may be new."""
        self._is_behind = True
        if self._place and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read_on())

    async def snapshot(self) -> tuple[StoredRun, Place]:
        """The run as it stands, and the place of who has seen that.

        Raises:
            RunNotFound, RunDeleted: there is no such run.
        """
        for _ in range(MAX_TRIES):
            event = await self._news.newest_event(self._run_id)
            stored = await stored_run(self._store, self._run_id)
            # Then no event lies between the two readings, and the one belongs to the other.
            if await self._news.newest_event(self._run_id) == event:
                state = stored.state
                return stored, Place(
                    attempt=state.attempt,
                    step=state.step,
                    event=event,
                    version=state.settings.version,
                )
        raise Contention(f"run {self._run_id!r} moves too fast to be looked at")

    def shown(self, stored: StoredRun, place: Place) -> bytes:
        """The message that shows the run as it stands."""
        return message("run", msgspec.json.encode(view(stored, self._clock())), place)

    @property
    def gone(self) -> bytes:
        """The last message to those who watch a run that is no more."""
        return message("gone", msgspec.json.encode({"run_id": self._run_id}))

    async def since(self, place: Place) -> tuple[list[Item], bool]:
        """What is new, and whether that is all.

        Raises:
            RunNotFound, RunDeleted: there is no such run any more.
            PlaceLost: it cannot be told.
        """
        return await self._news.since(self._run_id, place)

    async def _read_on(self) -> None:
        """Tell all who watch what is new, until nothing is."""
        while self._is_behind and self.watchers and self._place:
            self._is_behind = False
            try:
                items, is_all = await self.since(self._place)
            except StoreUnavailable:
                self._is_behind = True
                await asyncio.sleep(READ_AGAIN_S)
            except (RunNotFound, RunDeleted):
                self._end([self.gone])
            except (PlaceLost, StoreCorrupt) as error:
                # They come back with their ids, and are told what is wrong.
                log.warning("run %s cannot be watched on: %r", self._run_id, error)
                self._end([])
            else:
                self._is_behind |= not is_all
                if items:
                    self._place = items[-1].place
                told = [(item, message(item.kind, item.data, item.place)) for item in items]
                for watcher in self.watchers:
                    watcher.take(told)

    def _end(self, messages: list[bytes]) -> None:
        self._place = None
        for watcher in self.watchers:
            watcher.offer(messages)
            watcher.end()


class RunWatcher(Watcher):
    """One client that watches a run."""

    def __init__(self, feed: Feed, place: Place | None) -> None:
        super().__init__()
        self._feed = feed
        self._place = place
        self._first = greeting()
        self._is_live = False
        """Whether it gets what the others get; before, it reads by itself."""
        self._has_missed = False

    def begin(self, stored: StoredRun, place: Place) -> None:
        """Show the run as it stands and go on from there, unless it goes on from elsewhere."""
        if self._place is None:
            self._place = place
            self._first += self._feed.shown(stored, place)

    def take(self, told: Sequence[tuple[Item, bytes]]) -> None:
        """What all get who have missed nothing: items and their messages."""
        if not self._is_live:
            self._has_missed = True
            return
        for item, its_message in told:
            assert self._place is not None
            if item.is_new_at(self._place):
                self.offer([its_message])
                self._place = self._place.past(item.place)

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """What was missed, then what comes."""
        yield self._first
        while not (self._is_live or self.is_over):
            try:
                async for missed in self._missed():
                    yield missed
            except StoreUnavailable:
                await asyncio.sleep(READ_AGAIN_S)
            except (RunNotFound, RunDeleted):
                self.offer([self._feed.gone])
                self.end()
            except (StoreCorrupt, Contention) as error:
                log.error("%s", error)
                self.end()
        async for waiting in super().messages():
            yield waiting

    async def _missed(self) -> AsyncGenerator[bytes, None]:
        """What is to be read before the others are caught up with."""
        self._has_missed = False
        if self._place is None:
            stored, self._place = await self._feed.snapshot()
            yield self._feed.shown(stored, self._place)
        try:
            items, is_all = await self._feed.since(self._place)
        except PlaceLost:
            self._place = None
            yield message("reset", b"{}")
            return
        if items:
            self._place = items[-1].place
            yield b"".join(message(item.kind, item.data, item.place) for item in items)
        self._is_live = is_all and not self._has_missed
