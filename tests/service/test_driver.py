"""The driver's edge: what asks Redis again and again can be ended."""

import asyncio

from monitor_service.store.driver import connect, ended
from tests.servers import PATIENCE_S


async def test_tasks_that_ask_redis_all_the_time_end_when_they_are_told_to(redis_url):
    redis = connect(redis_url)

    async def ask() -> None:
        while True:
            await redis.get("acr:tokens:of-nobody")
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(ask()) for _ in range(8)]
    # Alone, one `cancel()` ends a part of them only, on Python 3.11.
    await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE_S):
        await ended(*tasks)
    assert all(task.cancelled() for task in tasks)
    await redis.aclose()
