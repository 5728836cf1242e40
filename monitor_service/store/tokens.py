"""Tokens in Redis, and a copy of them in this process that is never much older than a second."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
from redis.asyncio import Redis

from monitor_service.errors import AcrError
from monitor_service.store.driver import answer, translated
from monitor_service.store.keys import TOKENS
from monitor_service.tokens import Token

REFRESH_S = 1.0
"""What is revoked is refused by every replica within this and the time of one answer."""

log = logging.getLogger(__name__)


class TokenStore:
    """Every token there is."""

    def __init__(self, redis: Redis) -> None:
        """`redis` belongs to the caller, who closes it."""
        self._redis = redis
        self._stored: dict[bytes, bytes] = {}
        self.known: Mapping[str, Token] | None = None
        """The tokens by id as they were read last; None before they ever were."""
        self.is_needed = False
        """Whether there was a token since this process began: from then on nobody enters without
        one, not even when all of them are gone, since a store that lost its data looks like that.
        """

    async def list(self) -> list[Token]:
        """All tokens, oldest first, those that have expired included."""
        await self.refresh()
        assert self.known is not None
        return sorted(self.known.values(), key=lambda token: token.created_at_s)

    async def put(self, token: Token) -> bool:
        """Keep a new token; False when there is one of its id."""
        async with translated():
            kept = self._redis.hsetnx(TOKENS, token.id, msgspec.json.encode(token).decode())
            return bool(await answer(kept))

    async def revoke(self, token_id: str) -> bool:
        """Forget a token; False when there is none of this id."""
        async with translated():
            return bool(await answer(self._redis.hdel(TOKENS, token_id)))

    async def refresh(self) -> None:
        """Read the tokens; what is known stays as it is when Redis does not answer.

        A token this version cannot read is left out and logged: the others are none the worse.
        """
        async with translated():
            stored = await answer(self._redis.hgetall(TOKENS))
        if self.known is None or stored != self._stored:
            self.known = MappingProxyType(dict(_readable(stored)))
            self._stored = stored
        self.is_needed = self.is_needed or bool(stored)

    async def follow(self) -> None:
        """Refresh for ever; while Redis is away what was read last stays in force."""
        is_told = False
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
            except AcrError as error:
                if not is_told:
                    log.warning("revoked tokens are not noticed for now: %s", error)
                is_told = True
            else:
                is_told = False


def _readable(stored: Mapping[bytes, bytes]) -> Iterator[tuple[str, Token]]:
    for token_id, text in stored.items():
        try:
            yield token_id.decode(), msgspec.json.decode(text, type=Token)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("a token in Redis is unreadable to this version: %s", error)
