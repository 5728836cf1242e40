"""The driver's edge: a client that gives up in time, and its errors in the project's own words."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from redis import Redis as BlockingRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry as BlockingRetry

from monitor_service.errors import AcrError, StoreCorrupt, StoreUnavailable

MAX_CONNECTIONS = 32
"""Of one client; who needs a further one waits until one is free."""
CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 5.0
_CANCEL_EVERY_S = 0.2

T = TypeVar("T")


def connect(url: str) -> Redis:
    """A client that connects when it is first used; `url` is redis://, rediss:// or unix://."""
    # No silent retry: what we send is safe to repeat, but the caller decides when to give up.
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


def connect_blocking(url: str) -> BlockingRedis:
    """The same for threads; it is safe to share between them."""
    return BlockingRedis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        retry=BlockingRetry(NoBackoff(), 0),
    )


def decoded(payload: bytes, kind: type[T], run_id: str) -> T:
    """What is stored of a run, as a `kind`; raises StoreCorrupt."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.DecodeError as error:
        raise StoreCorrupt(
            f"run {run_id!r}: a {kind.__name__} in Redis is unreadable to this version: {error}"
        ) from error


async def answer(command: Awaitable[Any] | Any) -> Any:
    """redis-py types its commands for both worlds at once; this is the asynchronous one."""
    return await command


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Driver errors inside become StoreUnavailable or StoreCorrupt."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise as_ours(error) from error


def as_ours(error: Exception) -> AcrError:
    """An error of the driver's, or of the server's, in the project's own words."""
    if "WRONGTYPE" in str(error):
        return StoreCorrupt(f"a key of ours holds something else in Redis: {error}")
    return StoreUnavailable(f"Redis does not answer: {error}")


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks that ask Redis, and wait for their end.

    Once is not enough: the driver sends by `wait_for`, which on Python 3.11 may swallow it.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_EVERY_S)


def fields_of(found: Any) -> list[bytes | None]:
    """What one command of a pipeline found; an error in its place is raised as ours."""
    if isinstance(found, RedisError):
        raise as_ours(found) from found
    fields: list[bytes | None] = found
    return fields
