"""What new runs start with, as one value that is replaced whole."""

from typing import Any

import msgspec
from redis.asyncio import Redis

from monitor_service.errors import StoreCorrupt
from monitor_service.resources import Defaults
from monitor_service.store.driver import answer, translated
from monitor_service.store.keys import DEFAULTS

_SCRIPT = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class DefaultsStore:
    """The defaults; all methods raise StoreUnavailable when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script: Any = redis.register_script(_SCRIPT)

    async def load(self) -> tuple[Defaults, bytes]:
        """The defaults, and how they are stored, which `replace` wants to see again."""
        async with translated():
            stored: bytes = await answer(self._redis.get(DEFAULTS)) or b""
        if not stored:
            return Defaults(), stored
        try:
            return msgspec.json.decode(stored, type=Defaults), stored
        except msgspec.DecodeError as error:
            text = f"the defaults in Redis are unreadable to this version: {error}"
            raise StoreCorrupt(text) from error

    async def replace(self, stored: bytes, after: Defaults) -> bool:
        """Put others in their place; False when they are not as they were `stored` any more."""
        async with translated():
            arguments = [stored, msgspec.json.encode(after)]
            return bool(await self._script(keys=[DEFAULTS], args=arguments))
