"""A monitor behind its door, in a thread of this process, and tokens for it."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import redis
import uvicorn
from starlette.types import ASGIApp

from monitor_service.api.app import create_app
from monitor_service.api.door import Door
from monitor_service.config import ServiceConfig
from monitor_service.monitor import Monitor
from monitor_service.server import http_server, listen
from monitor_service.store.driver import connect
from monitor_service.store.keys import TOKENS
from monitor_service.store.redis import RedisStore
from monitor_service.store.tokens import TokenStore
from monitor_service.tokens import new_token
from tests.servers import PATIENCE_S, eventually


@contextmanager
def guarded(
    redis_url: str, app: ASGIApp | None = None, *, host: str = "127.0.0.1", **limits: Any
) -> Iterator[str]:
    """Base URL of a monitor, or of another app, behind the door and on its connections."""
    config = ServiceConfig(host=host, port=0, **limits)
    listener = listen(config)
    servers: list[uvicorn.Server] = []

    async def run() -> None:
        store = RedisStore(redis_url)
        tokens = TokenStore(store.redis)
        await tokens.refresh()
        monitor = Monitor(store, time.time, max_runs=config.max_runs)
        door = Door(app or create_app(monitor), tokens, config)
        following = asyncio.create_task(tokens.follow())
        servers.append(http_server(door, config, monitor.live.close))
        try:
            await servers[0].serve(sockets=[listener])
        finally:
            following.cancel()
            monitor.close()
            await store.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="guarded-server")
    thread.start()
    try:
        eventually(lambda: bool(servers) and servers[0].started, "uvicorn serves")
        scheme = "https" if config.tls_cert else "http"
        yield f"{scheme}://{host}:{listener.getsockname()[1]}"
    finally:
        servers[0].should_exit = True
        thread.join(PATIENCE_S)
        listener.close()


def issued(
    redis_url: str,
    *scopes: str,
    name: str = "somebody",
    runs: str = "*",
    expires_in_s: float | None = None,
) -> str:
    """A new token."""
    kept, text = new_token(
        name,
        scopes=scopes or ("read",),
        runs=runs,
        now_s=time.time(),
        expires_in_s=expires_in_s,
    )
    with redis.Redis.from_url(redis_url) as client:
        client.hset(TOKENS, kept.id, msgspec.json.encode(kept))
    return text


def revoke(redis_url: str, token: str) -> None:
    """End a token."""

    async def ended() -> bool:
        async with connect(redis_url) as client:
            return await TokenStore(client).revoke(token.split("_")[1])

    assert asyncio.run(ended())


def with_token(token: str | None) -> dict[str, str]:
    """Headers that present it."""
    return {} if token is None else {"authorization": f"Bearer {token}"}


def routes(base_url: str, token: str) -> Sequence[tuple[str, str]]:
    """Method and path of everything that the OpenAPI document lists, of a run `some-run`."""
    reply = httpx.get(f"{base_url}/openapi.json", headers=with_token(token), trust_env=False)
    found = []
    for path, methods in reply.raise_for_status().json()["paths"].items():
        for name in ("run_id", "number", "step"):
            path = path.replace(f"{{{name}}}", "1" if name != "run_id" else "some-run")
        assert "{" not in path
        found += [(method.upper(), path) for method in methods]
    return found
