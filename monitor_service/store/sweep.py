"""Dropping what of a run's steps nothing keeps any longer, where reports do not see to it.

Each report drops what leaves with it. What a long gap, a new attempt or another configuration
leaves behind is noticed by its number: a hash that holds more than it may is gone through.
"""

from collections.abc import Callable
from typing import Any

from monitor_service.retention import Retention, is_replaced, start_of
from monitor_service.store.driver import connect_blocking
from monitor_service.store.keys import RunKeys, read_field
from monitor_service.store.redis import StoredRun
from monitor_service.store.roster import Roster

_FIELDS_AT_ONCE = 500


class Sweep:
    """Goes through runs; raises StoreUnavailable when Redis does not answer."""

    def __init__(self, roster: Roster, url: str, retention: Retention) -> None:
        """Connects lazily; `url` is redis://, rediss:// or unix://."""
        self._roster = roster
        self._redis: Any = connect_blocking(url)
        self._retention = retention

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    async def all(self) -> int:
        """Go through every run; how many fields were dropped."""
        run_ids = [entry.run_id for entry in await self._roster.entries()]
        return sum(await self._roster.load(run_ids, self._swept))

    def _swept(self, run: StoredRun) -> int:
        keys, kept, newest = RunKeys(run.run_id), self._retention, run.state.step
        rules: list[tuple[str, int, Callable[[int, int], bool]]] = [
            (keys.rewards, kept.rewards_steps, kept.keeps_rewards),
            (keys.states, kept.most_states(newest), kept.keeps_state),
        ]
        if most := kept.records_steps:
            rules += ((key, most, kept.keeps_record) for key in (keys.steps, keys.digests))
        pipeline = self._redis.pipeline(transaction=False)
        for key, *_ in rules:
            pipeline.hlen(key)
        counts = pipeline.execute()
        return sum(
            self._dropped(key, run, keeps)
            for (key, most, keeps), count in zip(rules, counts, strict=True)
            if count > most
        )

    def _dropped(self, key: str, run: StoredRun, keeps: Callable[[int, int], bool]) -> int:
        state, names = run.state, []
        for name in self._redis.hkeys(key):
            at = read_field(name)
            # What is newer than the run as it was read is newer than anything that may go.
            is_gone = is_replaced(state, at) or not keeps(at[1], state.step)
            if is_gone and at != start_of(state):
                names.append(name)
        for first in range(0, len(names), _FIELDS_AT_ONCE):
            self._redis.hdel(key, *names[first : first + _FIELDS_AT_ONCE])
        return len(names)
