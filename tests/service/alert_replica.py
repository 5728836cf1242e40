"""A replica that delivers alerts, as a process of its own: python -m tests.service.alert_replica.

Arguments: address of Redis, address of a webhook. Runs until it is killed.
"""

import asyncio
import sys

from tests.service.receiver import dispatching


async def main(redis_url: str, webhook_url: str) -> None:
    async with dispatching(redis_url, webhook_urls=(webhook_url,)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
