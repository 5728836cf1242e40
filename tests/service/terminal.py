"""`acr` in a terminal that people look at while it runs."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers import PATIENCE_S
from tests.service.acr import environment, plain, resize


class Terminal:
    """A program in a terminal: what it shows, and what a person can do to it."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 40, **environ: str) -> None:
        self._ours, theirs = pty.openpty()
        resize(self._ours, columns, rows)
        env = environment(NO_PROXY="127.0.0.1", **environ)
        command = [sys.executable, "-m", "monitor_service", *arguments]
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
        )
        os.close(theirs)
        self.shown = ""

    def shows(self, words: str) -> str:
        """What it has shown up to these words, and from what was last waited for."""
        deadline = time.monotonic() + PATIENCE_S
        start = len(self.shown)
        while words not in plain(self.shown[start:]):
            assert time.monotonic() < deadline, f"{words!r} is not in {self.shown[start:]!r}"
            if not self._read():
                break
        assert words in plain(self.shown[start:])
        return self.shown[start:]

    def resize(self, columns: int, rows: int) -> None:
        """What a person does with the window's edge."""
        resize(self._ours, columns, rows)

    def types(self, text: str) -> None:
        """What a person types."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        """Its status, once it has ended and all that it shows is read."""
        while self._read():
            pass
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        """Close the window."""
        self._process.kill()
        self._process.wait(PATIENCE_S)
        os.close(self._ours)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.1)[0]:
            return True
        try:
            chunk = os.read(self._ours, 65536)
        except OSError:
            return False  # How Linux says that the other end is closed.
        self.shown += chunk.decode(errors="replace")
        return bool(chunk)


@contextmanager
def terminal(*arguments: str, **options: Any) -> Iterator[Terminal]:
    """`acr` with these arguments, until the block ends."""
    opened = Terminal(*arguments, **options)
    try:
        yield opened
    finally:
        opened.close()
