"""The door: who may come in, how many at once, and what every reply says to browsers.

ASGI middleware around everything else. It knows methods and paths only, so what stands behind it
may answer without a framework; and it asks nobody: the tokens are a table in this process.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor_service.api import errors
from monitor_service.api.browsers import Names, is_address, marked
from monitor_service.api.limits import Buckets
from monitor_service.api.rights import check_rights
from monitor_service.config import ServiceConfig
from monitor_service.errors import (
    AcrError,
    Overloaded,
    StoreUnavailable,
    TooManyRequests,
    Unauthorized,
)
from monitor_service.tokens import CALLER, Caller, Token, presented
from monitor_service.web.page import is_page

FAILURES_PER_S = 10
FAILURES_BURST = 100
"""Refused tokens of one address that are answered and logged; more are turned away in silence."""
RECHECK_S = 1.0
"""How often the token of an open stream is looked at again."""
MAX_CLIENT_CHARS = 200

log = logging.getLogger(__name__)


class Tokens(Protocol):
    """Every token, as of a moment ago."""

    @property
    def known(self) -> Mapping[str, Token] | None:
        """The tokens by id; None while nobody could read them yet."""
        ...

    @property
    def is_needed(self) -> bool:
        """Whether there is a token, or was one."""
        ...


class Door:
    """Lets in who may come in; everybody else gets a problem and never reaches the app."""

    def __init__(self, app: ASGIApp, tokens: Tokens, config: ServiceConfig) -> None:
        """Starts nothing: whoever made `tokens` keeps them fresh."""
        self._app = app
        self._tokens = tokens
        self._config = config
        self._requests = Buckets(per_s=config.max_requests_per_s, burst=config.max_requests_burst)
        self._failures = Buckets(per_s=FAILURES_PER_S, burst=FAILURES_BURST)
        self._in_flight: Counter[str] = Counter()
        self._num_in_flight = 0
        self._names = Names(
            config.allowed_hosts, are_all_known=config.is_local or bool(config.allowed_hosts)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        send = marked(scope, send)
        if scope["path"] == "/healthz":
            await self._app(scope, receive, send)
            return
        is_stream = scope["path"].endswith("/stream")
        try:
            caller = scope[CALLER] = self._admitted(scope)
            key = caller.token_id or _network(caller.address)
            self._check_rate(key)
            if caller.token_id:
                check_rights(caller, scope["method"], scope["path"])
            if not is_stream:
                self._check_room(key)
        except AcrError as error:
            await errors.refusal(error)(scope, receive, send)
            return
        if is_stream:
            await self._watched(caller, scope, receive, send)
            return
        self._in_flight[key] += 1
        self._num_in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._num_in_flight -= 1
            self._in_flight[key] -= 1
            if not self._in_flight[key]:
                del self._in_flight[key]

    def _admitted(self, scope: Scope) -> Caller:
        """Who asks; raises what is to be answered to those who may not."""
        headers = dict(scope["headers"])
        peer = scope.get("client")
        address = peer[0] if peer else ""
        client = headers.get(b"user-agent", b"")[:MAX_CLIENT_CHARS].decode("latin-1")
        if is_page(scope["path"]):
            return Caller(scopes=frozenset(), address=address, client=client)
        known = self._tokens.known
        if known is None:
            raise StoreUnavailable("the tokens could not be read yet, so nobody is let in")
        if not self._tokens.is_needed and (self._config.is_local or self._config.insecure):
            self._names.check(headers)
            return Caller(address=address, client=client)
        if scope["path"] == "/readyz" and _is_loopback(address):
            return Caller(scopes=frozenset(), address=address, client=client)
        try:
            token = presented(headers.get(b"authorization"), known, time.time())
        except Unauthorized as error:
            self._note_failure(scope, address, error)
            raise
        return Caller(
            name=token.name,
            token_id=token.id,
            scopes=token.scopes,
            runs=token.runs,
            address=address,
            client=client,
        )

    def _note_failure(self, scope: Scope, address: str, error: Unauthorized) -> None:
        if wait_s := self._failures.wait_s(_network(address), time.monotonic()):
            raise TooManyRequests("too many requests without a valid token", retry_after_s=wait_s)
        # Quoted: a path, and what a proxy calls an address, may hold line breaks.
        log.warning("%r: %s %r refused: %s", address, scope["method"], scope["path"], error)

    def _check_rate(self, key: str) -> None:
        if wait_s := self._requests.wait_s(key, time.monotonic()):
            limit = self._config.max_requests_per_s
            raise TooManyRequests(f"more than {limit:g} requests a second", retry_after_s=wait_s)

    def _check_room(self, key: str) -> None:
        most = self._config.max_in_flight
        if self._num_in_flight >= most or self._in_flight[key] >= most // 2:
            raise Overloaded(f"{self._num_in_flight} requests are under way; try again")

    async def _watched(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream, for as long as its caller may have it."""
        is_begun = False

        async def noted(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        stream = asyncio.ensure_future(self._app(scope, receive, noted))
        try:
            while not stream.done() and self._is_valid(caller):
                await asyncio.wait({stream}, timeout=RECHECK_S)
            if stream.done():
                stream.result()
                return
            await _end(stream)
            if is_begun:
                await send({"type": "http.response.body"})
            else:
                await errors.refusal(Unauthorized("the token is not valid any more"))(
                    scope, receive, send
                )
        finally:
            await _end(stream)

    def _is_valid(self, caller: Caller) -> bool:
        if caller.token_id is None:
            return not self._tokens.is_needed
        token = (self._tokens.known or {}).get(caller.token_id)
        return token is not None and not token.has_expired(time.time())


async def _end(task: asyncio.Future[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait({task})


def _is_loopback(address: str) -> bool:
    return is_address(address) and ip_address(address).is_loopback


@lru_cache(4096)
def _network(address: str) -> str:
    """Whom a limit counts as one: an address, or a network of IPv6, where one host has 2**64."""
    if ":" not in address or not is_address(address):
        return address
    return str(ip_network((ip_address(address).packed, 64), strict=False))
