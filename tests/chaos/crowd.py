"""Far more people watch than may: who is too much is told so, and trainers notice nothing.

    python -m tests.chaos.crowd [--clients N]

Every client is a socket of its own that asks for the stream of one run and keeps it open, while a
trainer reports to the same monitor.
"""

import argparse
import asyncio
import resource
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from rich.console import Console

from tests.servers import acr_serve, short_folder
from tests.service.reports import body

RUN = "watched"
ARRIVING_AT_ONCE = 200
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What became of the clients."""

    answers: Counter[str]
    """Status line to number of clients; "" for those who were not answered."""
    reports: int
    """Of the trainer, all of them recorded, while the crowd was there."""
    longest_report_s: float


class Reporter:
    """A trainer that reports one step after the other until it is stopped."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.reports = 0
        self.longest_s = 0.0
        self.is_stopped = False

    async def run(self) -> None:
        while not self.is_stopped:
            began = time.perf_counter()
            reply = await self._http.post(f"/v1/runs/{RUN}/steps", json=body(self.reports + 1))
            reply.raise_for_status()
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            self.reports += 1
            await asyncio.sleep(0.02)


async def crowd(url: str, clients: int) -> Crowd:
    """Let so many come and stay, and report until the last one was answered."""
    address = urlsplit(url)
    request = f"GET /v1/runs/{RUN}/stream HTTP/1.1\r\nhost: {address.netloc}\r\n\r\n".encode()
    arriving = asyncio.Semaphore(ARRIVING_AT_ONCE)
    async with AsyncExitStack() as stack, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        (await http.post("/v1/runs", json={"id": RUN})).raise_for_status()

        async def watch() -> str:
            async with arriving, asyncio.timeout(ANSWER_S):
                try:
                    reader, writer = await asyncio.open_connection(address.hostname, address.port)
                    stack.callback(writer.close)
                    writer.write(request)
                    return (await reader.readline()).decode().strip()
                except OSError:
                    return ""

        reporter = Reporter(http)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reporter.run())
            answers = Counter(await asyncio.gather(*(watch() for _ in range(clients))))
            reporter.is_stopped = True
    return Crowd(answers=answers, reports=reporter.reports, longest_report_s=reporter.longest_s)


def main(argv: Sequence[str] | None = None) -> None:
    """Let the crowd come and say what became of it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.crowd", description="Far more people watch than may."
    )
    parser.add_argument("--clients", type=int, default=10_000, help="that come at once")
    options = parser.parse_args(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with short_folder() as folder, acr_serve(folder) as monitor:
        found = asyncio.run(crowd(monitor.url, options.clients))
    console = Console()
    for answer, count in found.answers.most_common():
        console.print(f"{count:>9,}  {answer or 'not answered'}")
    longest = f"{1000 * found.longest_report_s:.0f} ms"
    console.print(f"{found.reports:>9,}  reports recorded meanwhile; the longest took {longest}")


if __name__ == "__main__":
    main()
