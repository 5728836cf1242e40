"""All who watch, in this process, and the one connection on which transitions are heard."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from monitor_service.errors import Overloaded, TooManyStreams
from monitor_service.live.board import Board
from monitor_service.live.feed import Feed, RunWatcher
from monitor_service.live.watcher import DEFAULT_MAX_STREAMS, Watcher
from monitor_service.store.channels import Channels
from monitor_service.store.glances import Glances
from monitor_service.store.keys import SETTINGS_CHANNELS, run_of_channel
from monitor_service.store.news import News, read_place
from monitor_service.store.redis import RedisStore
from monitor_service.wire import check_run_id, settings_channel


class Live:
    """Streams of what happens, while it happens."""

    def __init__(
        self, store: RedisStore, clock: Callable[[], float], max_streams: int = DEFAULT_MAX_STREAMS
    ) -> None:
        """`clock` tells Unix time in seconds; `max_streams` clients may watch at once."""
        self._store = store
        self._clock = clock
        self._max_streams = max_streams
        self._news = News(store.redis)
        self._channels = Channels(store.redis, self._heard)
        self._feeds: dict[str, Feed] = {}
        """By channel."""
        self._board = Board(Glances(store.redis))
        self._num_streams = 0
        self._is_closing = False

    @asynccontextmanager
    async def run(self, run_id: str, last_id: str | None = None) -> AsyncIterator[Watcher]:
        """Watch a run: from now on, or on from the message with `last_id`.

        Raises:
            InvalidInput: no message can have that id.
            RunNotFound, RunDeleted: there is no such run.
            TooManyStreams: as many watch as may.
        """
        channel = settings_channel(check_run_id(run_id))
        place = read_place(last_id) if last_id else None
        with self._counted():
            feed = self._feeds.get(channel)
            if feed is None:
                feed = self._feeds[channel] = Feed(run_id, self._store, self._news, self._clock)
            watcher = RunWatcher(feed, place)
            feed.watchers.add(watcher)
            try:
                await self._channels.add(channel)
                await feed.welcome(watcher)
                yield watcher
            finally:
                feed.watchers.discard(watcher)
                if not feed.watchers:
                    del self._feeds[channel]
                    await self._channels.drop(channel)

    @asynccontextmanager
    async def runs(self, sees: Callable[[str], bool]) -> AsyncIterator[Watcher]:
        """Watch the list of all runs, as far as somebody `sees` them; raises TooManyStreams."""
        with self._counted():
            watcher = self._board.join(sees)
            try:
                await self._channels.add(SETTINGS_CHANNELS)
                yield watcher
            finally:
                del self._board.watchers[watcher]
                if not self._board.watchers:
                    await self._channels.drop(SETTINGS_CHANNELS)

    def close(self) -> None:
        """End all streams and begin no more."""
        self._is_closing = True
        for feed in self._feeds.values():
            for of_run in feed.watchers:
                of_run.end()
        for of_list in self._board.watchers:
            of_list.end()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._is_closing:
            raise Overloaded("this monitor is being stopped")
        if self._num_streams >= self._max_streams:
            raise TooManyStreams(f"{self._max_streams} streams are open, as many as may be")
        self._num_streams += 1
        try:
            yield
        finally:
            self._num_streams -= 1

    def _heard(self, name: str, channel: str) -> None:
        if name == SETTINGS_CHANNELS:
            self._board.stir(None if channel == name else run_of_channel(channel))
        elif name in self._feeds:
            self._feeds[name].stir()
