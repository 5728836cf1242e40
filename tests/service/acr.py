"""`acr` as people run it: in this process for what it says, in a terminal for how it looks."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from typing import Any

from tests.service.reports import MIXED, WRONG, body

ROWS = 40
PATIENCE_S = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it printed, however wide the terminal of whoever runs the tests is."""
        return " ".join(self.out.split())

    @property
    def sections(self) -> dict[str, str]:
        """What `acr show` has beside each label; the first line is the title."""
        found: dict[str, str] = {}
        label = "title"
        for line in self.out.splitlines():
            label = line[:12].strip() or label if found else "title"
            text = line[12:] if found else line
            found[label] = f"{found.get(label, '')} {' '.join(text.split())}".strip()
        return found


def in_a_terminal(columns: int, *arguments: str) -> str:
    """What `acr` shows in a terminal of this width, escape sequences included."""
    ours, theirs = pty.openpty()
    resize(theirs, columns, ROWS)
    command = [sys.executable, "-m", "monitor_service", *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    ) as process:
        os.close(theirs)
        shown = bytearray()
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:
            pass  # How Linux says that the other end is closed.
        finally:
            os.close(ours)
        assert process.wait(PATIENCE_S) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def resize(terminal: int, columns: int, rows: int) -> None:
    """Give a terminal, by its file descriptor, another size."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def environment(**more: str) -> dict[str, str]:
    """That of these tests, for a program in a terminal of ours."""
    unwanted = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    usual = {name: value for name, value in os.environ.items() if name not in unwanted}
    return usual | {"TERM": "xterm"} | more


def plain(shown: str) -> str:
    """The same without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", shown)


def applied(step: int, **fields: Any) -> dict[str, Any]:
    """What a trainer says that follows the newest settings, and injects nothing."""
    usual = {"settings_version": step, "through_step": step - 1, "mode": "active"}
    return usual | {"threshold": 0.5, "triggered": False} | fields


def stuck(num_steps: int, **fields: Any) -> list[dict[str, Any]]:
    """Steps of 16 groups of which 12 are all-wrong: ACR 0.75, mean reward (4 * 0.5) / 16 = 0.125.

    64 groups are seen after 4 steps, so the guarded controller is active from step 5 on.
    """
    rewards = [MIXED] * 4 + [WRONG] * 12
    return [body(step, **fields) | {"rewards": rewards} for step in range(1, num_steps + 1)]
