"""Composition root of the service: configuration -> store, monitor, app, listening socket."""

import asyncio
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import uvicorn
import uvloop
from starlette.types import ASGIApp

from monitor_service.alerts.dispatcher import Dispatcher
from monitor_service.api.app import create_app
from monitor_service.api.connection import with_limits
from monitor_service.api.door import Door
from monitor_service.config import ServiceConfig
from monitor_service.errors import AcrError, StartupError, StoreUnavailable
from monitor_service.monitor import Monitor
from monitor_service.store.alerts import AlertStore
from monitor_service.store.driver import ended
from monitor_service.store.redis import RedisStore
from monitor_service.store.tokens import TokenStore
from monitor_service.urls import without_password

KEEP_ALIVE_S = 75
"""Trainers report every few seconds to minutes; reconnecting each time would be waste."""
SHUTDOWN_S = 10
VANISHED_MS = 60_000
"""A peer that acknowledges nothing for so long is gone: streams are not kept for it."""
WATCH_EVERY_S = 30
SWEEP_EVERY_S = 3600
OTHER_FILES = 256
"""Open files beside connections."""

KEPT_BUFFER_BYTES = 4_194_304
"""Largest buffer whose memory is kept."""
KEPT_BYTES = 67_108_864
"""Free memory at the end of the heap that is kept."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""

log = logging.getLogger(__name__)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running monitor is reached; written to `monitor.json` in the data directory."""

    url: str
    redis_url: str
    pid: int


def serve(config: ServiceConfig, on_ready: Callable[[Endpoint], None]) -> None:
    """Run the monitor until SIGINT or SIGTERM; call it in the main thread.

    Args:
        config: how.
        on_ready: called once, when the store answers and the socket listens.

    Raises:
        StartupError: the store does not answer, or the address is taken.
    """
    # uvicorn stops serving and then raises the signal again: it must not skip what is closed here.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keep_freed_memory()
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, before)
        listener = stack.enter_context(listen(config))
        _allow_connections(config.max_connections)
        redis_url = config.redis_url
        if redis_url is None:
            # Only here: the embedded server exists for Linux and macOS, Redis elsewhere too.
            from monitor_service.store.embedded import EmbeddedValkey

            redis_url = stack.enter_context(EmbeddedValkey(config.data_dir)).url
        endpoint = Endpoint(url=_url(listener, config), redis_url=redis_url, pid=os.getpid())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, listener, endpoint, on_ready))


def keep_freed_memory() -> None:
    """Have glibc keep large buffers for the next request; elsewhere nothing happens.

    By default it gives each one back to the kernel, and faults it in again page by page, which a
    report with 16,384 rewards pays for several times.
    """
    try:
        adjust = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    adjust(_M_MMAP_THRESHOLD, KEPT_BUFFER_BYTES)
    adjust(_M_TRIM_THRESHOLD, KEPT_BYTES)


def listen(config: ServiceConfig) -> socket.socket:
    """The listening socket; raises StartupError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listener = socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        raise StartupError(f"cannot listen on {config.host}:{config.port}: {error}") from error
    # Inherited by every connection. asyncio does not set it on those of a socket made by hand, and
    # without it each reply waits 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_MS)
    return listener


async def _serve(
    config: ServiceConfig,
    listener: socket.socket,
    endpoint: Endpoint,
    on_ready: Callable[[Endpoint], None],
) -> None:
    store = RedisStore(endpoint.redis_url)
    try:
        tokens = TokenStore(store.redis)
        try:
            await tokens.refresh()
        except StoreUnavailable as error:
            raise StartupError(f"{without_password(endpoint.redis_url)}: {error}") from error
        if not (tokens.is_needed or config.is_local or config.insecure):
            raise StartupError(_how_to_let_others_in(config))
        monitor = Monitor(store, time.time, config.retention, config.max_runs, config.max_streams)
        alerts = Dispatcher(AlertStore(store.redis), config.alerts, time.time)
        app = create_app(monitor, alerts, max_body_bytes=config.max_body_bytes)
        server = http_server(Door(app, tokens, config), config, monitor.live.close)
        if config.redis_url is None:
            _publish(config.data_dir / "monitor.json", endpoint)
        on_ready(endpoint)
        watch = asyncio.create_task(_every(WATCH_EVERY_S, monitor.tell_silence, "look for silence"))
        sweep = asyncio.create_task(_every(SWEEP_EVERY_S, monitor.sweep, "sweep old steps"))
        follow = asyncio.create_task(tokens.follow())
        try:
            async with alerts:
                await server.serve(sockets=[listener])
        finally:
            await ended(watch, sweep, follow)
            monitor.close()
    finally:
        await store.close()


def http_server(
    app: ASGIApp, config: ServiceConfig, end_streams: Callable[[], None]
) -> uvicorn.Server:
    """The server of an app, with the limits and the certificate of a configuration.

    Args:
        app: what answers.
        config: how.
        end_streams: has the app end, when the server stops, what ends by no other means.

    Raises:
        StartupError: a certificate, or a key, that cannot be used.
    """
    limits = with_limits(receive_s=config.receive_s, max_connections=config.max_connections)
    file = config.tls_key_password_file
    try:
        password = None if file is None else file.read_text().rstrip("\n")
        http = uvicorn.Config(
            app,
            http=limits,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(config.trusted_proxies),
            forwarded_allow_ips=list(config.trusted_proxies),
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
            ssl_certfile=config.tls_cert,
            ssl_keyfile=config.tls_key,
            ssl_keyfile_password=password,
        )
        http.load()
    except (OSError, ValueError) as error:  # Those of ssl are OSErrors.
        raise StartupError(f"TLS: {config.tls_cert}: {error}") from error
    return _HttpServer(http, end_streams)


class _HttpServer(uvicorn.Server):
    """uvicorn's, which waits for the end of every reply before it stops."""

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, streams first."""
        self._end_streams()
        await super().shutdown(sockets)


def _how_to_let_others_in(config: ServiceConfig) -> str:
    where = f"--data-dir {config.data_dir}"
    if config.redis_url is not None:
        where = f"--redis-url {without_password(config.redis_url)}"
    return (
        f"other machines can reach {config.host}, and there is no token yet: make one with "
        f"`acr token create NAME --scope control {where}` and start again, or say --insecure on "
        "a network you trust"
    )


def _allow_connections(wanted: int) -> None:
    """Have the kernel allow as many open files as connections are, where it can be asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < enough:
        limit = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        if limit < enough:
            log.warning("only %d files may be open: not enough for max_connections", limit)


async def _every(period_s: float, act: Callable[[], Awaitable[None]], what: str) -> None:
    """Do something again and again, such as telling what a silent run cannot tell itself."""
    while True:
        await asyncio.sleep(period_s)
        try:
            await act()
        except AcrError as error:
            log.warning("could not %s: %s", what, error)


def _url(listener: socket.socket, config: ServiceConfig) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "http" if config.tls_cert is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _publish(path: Path, endpoint: Endpoint) -> None:
    """Replace the file in one step: readers see the old one or the new one, never half of it."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(endpoint)))
    draft.chmod(0o600)
    draft.replace(path)
