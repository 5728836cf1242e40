"""A peer's server, on a port that was free."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_TIMEOUT_S = 120.0
_POLL_S = 0.05


@contextmanager
def serving(command: Sequence[str], log: Path) -> Iterator[int]:
    """The port of a server that listens on 127.0.0.1, ended with the context.

    Args:
        command: starts it; `{port}` stands for the port.
        log: a file for what it says.
    """
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    told = [part.format(port=port) for part in command]
    with (
        log.open("wb") as file,
        subprocess.Popen(told, stdin=subprocess.DEVNULL, stdout=file, stderr=file) as process,
    ):
        try:
            _await(port, process, log)
            yield port
        finally:
            process.terminate()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(_POLL_S)
    raise RuntimeError(f"{process.args!r} does not listen:\n{log.read_text()[-2000:]}")
