"""A real HTTP server that takes alerts, or misbehaves as it is told; and a store of events."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
import redis

from monitor_service.alert import Alert
from monitor_service.alerts.config import AlertConfig
from monitor_service.alerts.courier import Pace
from monitor_service.alerts.dispatcher import Dispatcher
from monitor_service.engine.events import Event
from monitor_service.store.alerts import AlertStore
from monitor_service.store.driver import connect
from monitor_service.store.keys import ALARMS, ALERTS_OUTCOMES, RUNS, RunKeys
from monitor_service.store.redis import TimedEvent
from tests.servers import PATIENCE_S, POLL_S

QUICK = Pace(
    lease_s=1.0, renew_s=0.05, sweep_s=0.05, timeout_s=0.5, first_retry_s=0.02, last_retry_s=0.04
)
"""Retries, sweeps and leases that a test can wait for."""


@dataclass(frozen=True)
class Request:
    """What somebody posted."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float
    """By a clock that only goes forward."""

    @property
    def alert(self) -> Alert:
        return msgspec.json.decode(self.body, type=Alert)


class Exchange(BaseHTTPRequestHandler):
    """One request, as a behaviour sees it."""

    protocol_version = "HTTP/1.1"
    server: "Receiver"

    def do_POST(self) -> None:
        size = int(self.headers["content-length"])
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(size)
        if len(body) < size:
            return  # The other side has gone in the middle of it.
        request = Request(self.path, headers, body, time.monotonic())
        self.server.received.append(request)
        answer = self.server.script.pop(0) if self.server.script else self.server.usual
        answer(self, request)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


Behaviour = Callable[[Exchange, Request], None]


def reply(status: int, text: str = "", **headers: str) -> Behaviour:
    """An answer of this status."""

    def answer(exchange: Exchange, _: Request) -> None:
        exchange.send_response(status)
        for name, value in headers.items():
            exchange.send_header(name.replace("_", "-"), value)
        exchange.send_header("content-length", str(len(text)))
        exchange.end_headers()
        exchange.wfile.write(text.encode())

    return answer


def hang(exchange: Exchange, _: Request) -> None:
    """No answer until the other side goes away."""
    exchange.rfile.read(1)
    exchange.close_connection = True


def close(exchange: Exchange, _: Request) -> None:
    """No answer, and the connection is closed."""
    exchange.close_connection = True


def echo(exchange: Exchange, request: Request) -> None:
    """The request itself for an answer."""
    exchange.wfile.write(f"POST {request.path} HTTP/1.1\r\n\r\n".encode())
    exchange.close_connection = True


def endless(status: int) -> Behaviour:
    """An answer whose body never ends."""

    def answer(exchange: Exchange, _: Request) -> None:
        exchange.send_response(status)
        exchange.end_headers()
        exchange.close_connection = True
        try:
            while True:
                exchange.wfile.write(b"and so on " * 1000)
                exchange.server.endless_bytes += 10_000
        except OSError:
            pass  # The other side has heard enough.

    return answer


class Receiver(ThreadingHTTPServer):
    """Answers as the `script` says, request by request, and then as `usual`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.received: list[Request] = []
        self.script: list[Behaviour] = []
        self.usual: Behaviour = reply(200)
        self.endless_bytes = 0
        self.place = f"127.0.0.1:{self.server_address[1]}"
        self.url = f"http://{self.place}/hooks/T0Secret"

    @property
    def alerts(self) -> list[Alert]:
        return [request.alert for request in self.received]

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no error."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A running receiver."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)


async def until(is_so: Callable[[], Any], what: str) -> None:
    """Return as soon as `is_so`; fail the test, saying `what` was awaited."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {PATIENCE_S} s")
        await asyncio.sleep(POLL_S / 4)


class Runs:
    """Runs to which things happen."""

    def __init__(self, url: str) -> None:
        self.redis = redis.Redis.from_url(url)

    def happens(self, run_id: str, kind: str, *, at_s: float | None = None, **data: Any) -> str:
        """Put an event into the run's stream; its id."""
        at_s = time.time() if at_s is None else at_s
        event = Event(kind=kind, step=7, message=f"{kind} of {run_id}", data=data)
        entry = msgspec.json.encode(TimedEvent(at_s=at_s, event=event))
        self.redis.zadd(RUNS, {run_id: at_s}, nx=True)
        name = self.redis.xadd(RunKeys(run_id).events, {"event": entry})
        self.redis.publish(ALARMS, run_id)
        assert isinstance(name, bytes)
        return name.decode()

    def raised(self, run_id: str, rule: str = "kl_explosion", **data: Any) -> str:
        """An alarm is raised."""
        facts: dict[str, Any] = {
            "severity": "critical",
            "since_step": 3,
            "advice": "stop",
            "evidence": {"kl": 9.0},
        }
        return self.happens(run_id, "alarm_raised", **(facts | {"rule": rule} | data))

    def resolved(self, run_id: str, rule: str = "kl_explosion", **data: Any) -> str:
        """It is over."""
        return self.happens(run_id, "alarm_resolved", rule=rule, **data)

    def outcomes(self, sink: str = "webhook") -> dict[str, int]:
        """How deliveries to a sink ended, as far as the store knows."""
        counts: Any = self.redis.hgetall(ALERTS_OUTCOMES)
        pairs = ((name.decode().partition(" "), int(count)) for name, count in counts.items())
        return {outcome: count for (of, _, outcome), count in pairs if of == sink}

    def delivered(self, sink: str = "webhook") -> int:
        """How many alerts a sink was told, and is known to have been told."""
        return self.outcomes(sink).get("delivered", 0)


@asynccontextmanager
async def dispatching(
    redis_url: str,
    *,
    pace: Pace = QUICK,
    clock: Callable[[], float] = time.time,
    **config: Any,
) -> AsyncIterator[Dispatcher]:
    """A replica that tells sinks of alarms, ready to hear of new ones if it is the only one."""
    client = connect(redis_url)
    store = AlertStore(client)
    settings = AlertConfig(**{"log": False, "quiet_s": 0.0} | config)
    try:
        async with Dispatcher(store, settings, clock, pace) as dispatcher:
            with redis.Redis.from_url(redis_url) as watching:
                await until(
                    lambda: all(
                        watching.hexists(f"{{acr:alerts}}:told:{sink.name}", "")
                        for sink in dispatcher.sinks
                    ),
                    "all sinks listen",
                )
            yield dispatcher
    finally:
        await client.aclose()
