"""Servers of the benchmarks' own, each in a process that says where it is."""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from monitor_service.server import Endpoint
from tests.servers import AcrServe

START_TIMEOUT_S = 30.0
UNLIMITED = ("ACR_MAX_REQUESTS_PER_S=1e9", "ACR_MAX_REQUESTS_BURST=1000000000")
"""All load comes from one address, which is to stand for many."""


def announce(listener: socket.socket) -> None:
    """Say on standard output where this process listens."""
    host, port = listener.getsockname()
    endpoint = Endpoint(url=f"http://{host}:{port}", redis_url="", pid=os.getpid())
    sys.stdout.buffer.write(msgspec.json.encode(endpoint) + b"\n")
    sys.stdout.flush()


@contextmanager
def started(module: str, *options: str) -> Iterator[Endpoint]:
    """`python -m module`, which announces itself; ended with the context."""
    command = [sys.executable, "-m", module, *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
            line = process.stdout.readline() if readable else b""
            if not line:
                raise RuntimeError(f"{module} did not start")
            yield msgspec.json.decode(line, type=Endpoint)
        finally:
            process.terminate()


@contextmanager
def monitor(data_dir: Path, *options: str) -> Iterator[AcrServe]:
    """`acr serve` with these options, as it is but for the limit on requests of one address."""
    server = AcrServe(data_dir, options)
    server.prefix = ("env", *UNLIMITED)
    server.start()
    try:
        yield server
    finally:
        server.terminate()
