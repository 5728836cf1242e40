"""Ours: `MonitorClient.submit` to `acr serve` with its embedded store."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.peer import Logger
from benchmarks.peers.step import Step
from tests.servers import acr_serve
from trainer.client import MonitorClient

PATIENCE_S = 120.0


@dataclass(slots=True)
class _Ours:
    client: MonitorClient
    submitted: int = 0

    def log(self, step: Step) -> None:
        self.client.submit(step.report)
        self.submitted += 1

    def finish(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.client.stats().results.get("recorded", 0) < self.submitted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.submitted} steps: {self.client.stats()}")
            time.sleep(0.002)


@contextmanager
def opened(folder: Path) -> Iterator[Logger]:
    """A run whose reports may wait on disk, with a monitor of its own."""
    with acr_serve(folder / "monitor") as server:
        client = MonitorClient(
            server.url,
            run_id="bench",
            redis_url=server.redis_url,
            when_unreachable="fail",
            spool_dir=folder / "spool",
        )
        with closing(client):
            client.start()
            yield _Ours(client)
