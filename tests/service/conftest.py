"""The HTTP application on a real port, shared by the tests of the service."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from monitor_service.cli.main import main
from monitor_service.monitor import Monitor
from monitor_service.store.redis import RedisStore
from tests.servers import api_server
from tests.service.acr import Ended
from tests.service.reports import new_run_id


@pytest.fixture(scope="session")
def base_url(redis_url: str) -> Iterator[str]:
    with api_server(redis_url) as url:
        yield url


@pytest.fixture(scope="session")
def client(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, trust_env=False) as opened:
        yield opened


@pytest.fixture
def run_id(client: httpx.Client) -> str:
    """A run that was just created."""
    name = new_run_id()
    assert client.post("/v1/runs", json={"id": name}).status_code == 201
    return name


@pytest.fixture
def untouched(client: httpx.Client, run_id: str) -> Iterator[str]:
    """A run; checked in the end to be as it was created."""
    before = client.get(f"/v1/runs/{run_id}").json()
    yield f"/v1/runs/{run_id}"
    assert client.get(f"/v1/runs/{run_id}").json() == before


@pytest.fixture
def acr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], base_url: str
) -> Callable[..., Ended]:
    """`acr` with these arguments, in this process, as ana who has the monitor's address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ACR_MONITOR_URL", base_url)
    monkeypatch.setenv("USER", "ana")

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["acr", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


class Clock:
    """Shows what it is set to."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def monitor(redis_url: str, clock: Clock) -> AsyncIterator[Monitor]:
    store = RedisStore(redis_url)
    yield Monitor(store, clock)
    await store.close()
