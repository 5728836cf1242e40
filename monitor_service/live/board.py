"""The list of all runs, as it moves: one light message for the transitions of a run."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from monitor_service.errors import StoreUnavailable
from monitor_service.live.watcher import Watcher, greeting, message
from monitor_service.store.glances import Glances

EVERY_S = 0.5
"""A run is told this often at most, whatever it does."""

log = logging.getLogger(__name__)


class Board:
    """Who watches the list."""

    def __init__(self, glances: Glances) -> None:
        self._glances = glances
        self.watchers: dict[Watcher, Callable[[str], bool]] = {}
        """With what says which runs each may see."""
        self._moved: set[str] = set()
        self._has_missed = False
        self._telling: asyncio.Task[None] | None = None

    def join(self, sees: Callable[[str], bool]) -> Watcher:
        """A new watcher, of the runs that it `sees`."""
        watcher = Watcher()
        watcher.offer([greeting()])
        self.watchers[watcher] = sees
        return watcher

    def stir(self, run_id: str | None) -> None:
        """A run has moved; None: any may have."""
        if run_id is None:
            self._has_missed = True
        else:
            self._moved.add(run_id)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self.watchers and (self._moved or self._has_missed):
            try:
                if self._has_missed:
                    self._moved.update(await self._glances.run_ids())
                    self._has_missed = False
                moved, self._moved = self._moved, set()
                found = await self._glances.of(sorted(moved))
            except StoreUnavailable as error:
                log.debug("the list of runs is not watched: %s", error)
                self._has_missed = True
            else:
                told = {
                    run_id: message("moved", msgspec.json.encode(glance))
                    if glance
                    else message("gone", msgspec.json.encode({"run_id": run_id}))
                    for run_id, glance in found.items()
                }
                for watcher, sees in self.watchers.items():
                    watcher.offer(said for run_id, said in told.items() if sees(run_id))
            await asyncio.sleep(EVERY_S)
        self._moved.clear()
