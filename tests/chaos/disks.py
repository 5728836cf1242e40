"""A data directory on a disk that can be full."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Protocol

import redis

from tests.servers import AcrServe, stock_redis

DISK_BYTES = 32 * 2**20
NAMESPACES = (("unshare", "--mount"), ("unshare", "--mount", "--map-root-user"))
"""Ways to a mount that nobody else sees: as root, and as anybody where the kernel allows it."""


class Disk(Protocol):
    """What a monitor's store writes to."""

    server: AcrServe

    def kill_store(self) -> None:
        """kill -9; it starts again on its file."""

    def fill(self) -> None:
        """Leave no room at all."""

    def free(self) -> None:
        """Make room again."""


class SmallDisk:
    """A file system of its own for `acr serve --data-dir`, seen by that process only."""

    def __init__(self, folder: Path, namespace: Sequence[str]) -> None:
        self._folder = folder
        mount = f'mount -t tmpfs -o size={DISK_BYTES} acr-chaos "$0" && exec "$@"'
        self.server = AcrServe(folder / "data", ())
        self.server.prefix = (*namespace, "sh", "-c", mount, str(folder / "data"))

    @property
    def _seen(self) -> Path:
        """The data directory as the monitor sees it."""
        return Path(f"/proc/{self.server.pid}/root{self._folder}/data")

    def kill_store(self) -> None:
        os.kill(pid_of(f"unix://{self._seen}/valkey.sock"), SIGKILL)

    def fill(self) -> None:
        with (self._seen / "balloon").open("wb", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        (self._seen / "balloon").unlink()


class SmallFiles:
    """A Redis that may write no more than it has, for machines that allow nobody a mount."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder / "redis"
        self._redis = stack.enter_context(ExitStack())
        self._url = self._start()
        self.server = AcrServe(folder / "data", ("--redis-url", self._url))

    def _start(self) -> str:
        # The limit's signal would end the store: a full disk has an error for it instead.
        deaf = ("sh", "-c", 'trap "" XFSZ; exec "$0" "$@"')
        return self._redis.enter_context(stock_redis(self._folder, prefix=deaf))

    def kill_store(self) -> None:
        os.kill(pid_of(self._url), SIGKILL)
        self._redis.close()
        self._start()

    def fill(self) -> None:
        self._limit(max(file.stat().st_size for file in self._folder.rglob("*.aof")))

    def free(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, most: int) -> None:
        pid = pid_of(self._url)
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A running monitor whose disk is small; of the real kind wherever the machine allows it."""
    with ExitStack() as stack:
        namespace = _namespace()
        disk = SmallDisk(folder, namespace) if namespace else SmallFiles(folder, stack)
        disk.server.start()
        stack.callback(disk.server.terminate)
        yield disk


def pid_of(url: str) -> int:
    """The process of a Redis."""
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def _namespace() -> Sequence[str] | None:
    """The first way to a private mount that works here."""
    if shutil.which("unshare") is None:
        return None
    for way in NAMESPACES:
        attempt = [*way, "mount", "-t", "tmpfs", "acr-chaos", "/mnt"]
        if subprocess.run(attempt, capture_output=True, check=False).returncode == 0:
            return way
    return None
