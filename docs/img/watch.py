"""`python docs/img/watch.py`: draws watch.svg, what `acr watch` shows beside `acr demo`.

Both run for real, the one in a terminal of this program; the picture is what it last drew while the
demo trained. Needs the `train` extra and some minutes.
"""

import fcntl
import io
import os
import pty
import re
import select
import struct
import sys
import termios
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from threading import Thread

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 104, 34
NUM_STEPS = 150
TARGET = Path(__file__).with_suffix(".svg")
ACR = (sys.executable, "-m", "monitor_service")
BEGINNING, END = b"\x1b[H", b"\x1b[?1049l"
"""Of a picture, and of the screen that they are drawn on."""


def main() -> None:
    """Train, watch, draw."""
    command = [*ACR, "demo", "--steps", str(NUM_STEPS), "--port", "0"]
    with Popen(command, stderr=PIPE, stdout=DEVNULL) as demo:
        assert demo.stderr is not None
        progress = iter(demo.stderr.readline, b"")
        url = next(
            found[0] for line in progress if (found := re.search(rb"http://[\d.]+:\d+", line))
        ).decode()
        Thread(target=demo.stderr.read, daemon=True).start()
        shown = watched(url)
    screen, _, _ = shown.partition(END)
    TARGET.write_text(drawn(screen.split(BEGINNING)[-1].decode()))


def watched(url: str) -> bytes:
    """All that `acr watch` writes to a terminal until the training ends."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    command = [*ACR, "watch", "demo", "--until-end", "--url", url]
    shown = b""
    while END not in shown:
        # Until the demo has made its run, which it does after its warm start, there is none.
        with Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
            while process.poll() is None or select.select([ours], [], [], 0)[0]:
                if select.select([ours], [], [], 0.1)[0]:
                    shown += os.read(ours, 65536)
    os.close(theirs)
    os.close(ours)
    return shown


def drawn(picture: str) -> str:
    """A picture of a terminal as SVG, without a font from elsewhere."""
    console = Console(record=True, file=io.StringIO(), width=COLUMNS, force_terminal=True)
    # Without the cursor's coming back, and what fills the lines.
    lines = [line.rstrip() for line in picture.replace("\x1b[?25h", "").splitlines()]
    console.print(Text.from_ansi("\n".join(lines).rstrip()), no_wrap=True)
    svg = console.export_svg(title="acr watch demo", unique_id="watch")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main()
