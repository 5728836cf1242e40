"""Removing what is kept: a whole run for good, and what of a run's steps nothing keeps any longer.

No half of a run may come back. A report under way compares the tag it started from, and a run
that is gone has none. A creation under way has put its name on the list before; it does so again
once the run exists, so that a name taken off in between is back.
"""

from typing import Any

from redis.asyncio import Redis

from monitor_service.store.driver import answer, translated
from monitor_service.store.keys import RUNS, RunKeys
from monitor_service.store.redis import StoredRun

_SCRIPT = """
local tag = redis.call('HGET', KEYS[1], 'tag')
if not tag then return 'gone' end
if tag ~= ARGV[1] then return 'moved' end
redis.call('UNLINK', unpack(KEYS))
return 'gone'
"""


class Purge:
    """Removes runs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script: Any = redis.register_script(_SCRIPT)

    async def everything(self, run: StoredRun) -> bool:
        """Remove this very run; False when somebody has moved it, which leaves it as it is."""
        async with translated():
            await answer(self._redis.zrem(RUNS, run.run_id))
            keys = RunKeys(run.run_id).all
            outcome = await self._script(keys=keys, args=[run.tag])
            if outcome == b"moved":
                name = {run.run_id: run.about.created_at_s}
                await answer(self._redis.zadd(RUNS, name, nx=True))
        return bool(outcome == b"gone")
