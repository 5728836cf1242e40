"""Real servers for tests, on sockets nobody can collide with: Redis, Valkey, and `acr serve`."""

import asyncio
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM

import msgspec
import pytest
import redis
import uvicorn

from monitor_service.api.app import create_app
from monitor_service.config import DEFAULT_MAX_BODY_BYTES, ServiceConfig
from monitor_service.live.watcher import DEFAULT_MAX_STREAMS
from monitor_service.monitor import Monitor
from monitor_service.server import Endpoint, http_server, listen
from monitor_service.store.embedded import EmbeddedValkey
from monitor_service.store.redis import RedisStore

PATIENCE_S = 30.0
"""For a machine that is busy with other things; nothing here takes a second otherwise."""
POLL_S = 0.02


def eventually(is_so: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Return as soon as `is_so`; fail the test, saying `what` was awaited, after `within_s`."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {within_s} s")
        time.sleep(POLL_S)


def is_running(pid: int) -> bool:
    """Whether a process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def short_folder() -> Iterator[Path]:
    """A new folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="acr-test-") as folder:
        yield Path(folder)


@contextmanager
def embedded_valkey(folder: Path) -> Iterator[str]:
    """URL of the store that comes with the service; its data stay in `folder`."""
    with EmbeddedValkey(folder) as server:
        yield server.url


@contextmanager
def stock_redis(folder: Path, *more: str, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    """URL of a `redis-server` as the distribution ships it; its data stay in `folder`.

    `more` are further options of its command line; `prefix` is a command that runs another.
    """
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.fail("redis-server is missing: apt-get install redis-server")
    folder.mkdir(parents=True, exist_ok=True)
    url = f"unix://{folder}/redis.sock"
    options = {"port": "0", "unixsocket": f"{folder}/redis.sock", "dir": str(folder), "save": ""}
    options |= {"appendonly": "yes", "logfile": f"{folder}/redis.log"}
    words = (part for name, value in options.items() for part in (f"--{name}", value))
    command = [*prefix, binary, *words, *more]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: process.poll() is not None or answers(url), "redis-server answers")
        yield url
    finally:
        process.send_signal(SIGTERM)
        process.wait(PATIENCE_S)


STORES = {"embedded Valkey": embedded_valkey, "stock Redis": stock_redis}


def answers(url: str) -> bool:
    """Whether a Redis is ready at `url`."""
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def everything(url: str) -> dict[bytes, object]:
    """All that a Redis holds, key by key."""
    readers = {b"string": "get", b"hash": "hgetall", b"stream": "xrange"}
    with redis.Redis.from_url(url) as client:
        return {
            key: client.zrange(key, 0, -1, withscores=True)
            if (kind := client.type(key)) == b"zset"
            else getattr(client, readers[kind])(key)
            for key in client.scan_iter()
        }


@contextmanager
def api_server(
    redis_url: str,
    *,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    max_streams: int = DEFAULT_MAX_STREAMS,
) -> Iterator[str]:
    """Base URL of the HTTP application, under uvicorn in a thread of this process."""
    listener = listen(ServiceConfig(port=0))
    servers: list[uvicorn.Server] = []

    async def run() -> None:
        store = RedisStore(redis_url)
        monitor = Monitor(store, time.time, max_streams=max_streams)
        app = create_app(monitor, max_body_bytes=max_body_bytes)
        servers.append(http_server(app, ServiceConfig(), monitor.live.close))
        try:
            await servers[0].serve(sockets=[listener])
        finally:
            monitor.close()
            await store.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="api-server")
    thread.start()
    try:
        eventually(lambda: bool(servers) and servers[0].started, "uvicorn serves")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        servers[0].should_exit = True
        thread.join(PATIENCE_S)
        listener.close()


class AcrServe:
    """`acr serve --json` as a process of its own, on a port that was free."""

    def __init__(self, data_dir: Path, options: tuple[str, ...]) -> None:
        self.prefix: tuple[str, ...] = ()
        """A command that runs another: the service."""
        self._data_dir = data_dir
        self._options = options
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoint: Endpoint | None = None

    @property
    def url(self) -> str:
        """Where the API is; stays the same over `restart`."""
        return self._ready.url

    @property
    def redis_url(self) -> str:
        """Where trainers listen for settings."""
        return self._ready.redis_url

    @property
    def pid(self) -> int:
        """Of the service; its embedded store has another."""
        return self._ready.pid

    @property
    def log_path(self) -> Path:
        """What the process wrote to standard error."""
        return self._data_dir / "serve.log"

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        command = [*self.prefix, sys.executable, "-m", "monitor_service", "serve"]
        command += ["--json", "--with-parent"]
        command += ["--data-dir", str(self._data_dir), "--port", str(self._port), *self._options]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            self.kill9()
            pytest.fail(f"`acr serve` did not get ready:\n{self.log_path.read_text()}")
        self._endpoint = msgspec.json.decode(line, type=Endpoint)
        self._port = int(self._endpoint.url.rpartition(":")[2])

    def kill9(self) -> None:
        """Kill it as the kernel would; its embedded store notices by itself."""
        self._end(SIGKILL)

    def terminate(self) -> int:
        """Ask it to end, and wait; its exit status."""
        return self._end(SIGTERM)

    def restart(self) -> None:
        """Start it again on the same data directory and port; ends it first if it still runs."""
        self.terminate()
        self.start()

    def _end(self, signal: int) -> int:
        assert self._process is not None
        self._process.send_signal(signal)
        with self._process:  # Closes the pipes.
            return self._process.wait(PATIENCE_S)

    @property
    def _ready(self) -> Endpoint:
        assert self._endpoint is not None
        return self._endpoint


@contextmanager
def acr_serve(data_dir: Path, *options: str) -> Iterator[AcrServe]:
    """A running `acr serve`; `options` are further ones of its command line."""
    server = AcrServe(data_dir, options)
    server.start()
    try:
        yield server
    finally:
        server.terminate()
