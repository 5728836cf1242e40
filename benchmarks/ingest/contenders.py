"""Who is measured: services with a Redis each, and a server that does nothing."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import redis_pid
from benchmarks.servers import monitor, started
from monitor_service.wire import JSON, MSGPACK
from tests.servers import embedded_valkey

BASELINE = "baseline, plain"
TUNED = "baseline, tuned"
OURS = "acr serve, msgpack"
AGAIN = "the same once more"
SINK = "HTTP sink"
BATCH_REPORTS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A server that runs.

    Attributes:
        name: for people.
        url: of its API.
        pid: of its one process.
        redis_pid: of its Redis; None when it has none, and keeps nothing.
        media_type: of what it is sent.
        per_request: reports in one request.
    """

    name: str
    url: str
    pid: int
    redis_pid: int | None
    media_type: str = MSGPACK
    per_request: int = 1


@contextmanager
def running(folder: Path) -> Iterator[list[Contender]]:
    """Every contender, the baseline first."""
    with ExitStack() as stack:

        def store(name: str) -> str:
            return stack.enter_context(embedded_valkey(folder / name))

        def ours(name: str, media_type: str = MSGPACK, per_request: int = 1) -> Contender:
            at = folder / str(len(found))
            url = store(f"{len(found)}-redis")
            server = stack.enter_context(monitor(at, "--redis-url", url))
            return Contender(
                name=name,
                url=server.url,
                pid=server.pid,
                redis_pid=redis_pid(url),
                media_type=media_type,
                per_request=per_request,
            )

        def baseline(name: str, *options: str) -> Contender:
            url = store(name)
            plain = stack.enter_context(
                started("benchmarks.ingest.baseline", "--redis-url", url, *options)
            )
            return Contender(
                name=name, url=plain.url, pid=plain.pid, redis_pid=redis_pid(url), media_type=JSON
            )

        found = [baseline(BASELINE), baseline(TUNED, "--tuned")]
        found.append(ours("acr serve, JSON", JSON))
        found.append(ours(OURS))
        found.append(ours(AGAIN))
        found.append(ours(f"acr serve, {BATCH_REPORTS} a request", per_request=BATCH_REPORTS))
        sink = stack.enter_context(started("benchmarks.ingest.sink"))
        found.append(Contender(name=SINK, url=sink.url, pid=sink.pid, redis_pid=None))
        yield found
