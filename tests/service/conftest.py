"""The HTTP application on a real port, shared by the tests of the service."""

from collections.abc import Iterator

import httpx
import pytest

from tests.servers import api_server
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
