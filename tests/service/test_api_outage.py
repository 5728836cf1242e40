"""Redis goes away and comes back under a running service."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.servers import STORES, api_server, everything
from tests.service.problems import refused
from tests.service.reports import body


class Outage:
    """An API on a Redis that can be stopped and started, data and address unchanged."""

    def __init__(self, kind: str, folder: Path, stack: ExitStack) -> None:
        self._kind = kind
        self._folder = folder
        self._redis = stack.enter_context(ExitStack())
        self.redis_url = self.start()
        url = stack.enter_context(api_server(self.redis_url))
        self.client = stack.enter_context(httpx.Client(base_url=url, trust_env=False))

    def start(self) -> str:
        return self._redis.enter_context(STORES[self._kind](self._folder))

    def stop(self) -> None:
        self._redis.close()


@pytest.fixture(params=STORES)
def outage(request: pytest.FixtureRequest, folder: Path) -> Iterator[Outage]:
    with ExitStack() as stack:
        yield Outage(request.param, folder, stack)


def test_without_redis_requests_are_503_and_with_it_they_go_on_where_they_were(outage):
    client, path = outage.client, "/v1/runs/run"
    client.post("/v1/runs", json={"id": "run"})
    client.post(f"{path}/steps", json=body(1))
    before = everything(outage.redis_url)
    change = {"alpha": 0.4, "reason": "why"}

    outage.stop()
    for reply in (
        client.post("/v1/runs", json={"id": "other"}),
        client.get("/v1/runs"),
        client.get(path),
        client.post(f"{path}/steps", json=body(2)),
        client.post(f"{path}/steps", json=[body(2), body(3)]),
        client.get(f"{path}/steps"),
        client.patch(f"{path}/settings", json=change),
        client.get(f"{path}/events"),
        client.get("/metrics"),
        client.get("/readyz"),
    ):
        assert "Redis does not answer" in refused(reply, 503)["detail"]
        assert int(reply.headers["retry-after"]) >= 1
    assert client.get("/healthz").status_code == 200

    outage.start()
    assert everything(outage.redis_url) == before
    assert client.get("/readyz").status_code == 200
    reply = client.post(f"{path}/steps", json=[body(2), body(3)])
    assert [found["status"] for found in reply.json()["results"]] == ["recorded", "recorded"]
    assert client.patch(f"{path}/settings", json=change).status_code == 200
    run = client.get(path).json()
    assert (run["step"], run["counters"]["steps"]) == (3, 3)
    assert (run["settings"]["alpha"], run["settings"]["revision"]) == (0.4, 2)


def test_a_bad_report_is_refused_even_without_redis(outage):
    outage.stop()
    refused(outage.client.post("/v1/runs/run/steps", json={"step": 0, "rewards": [[1]]}), 422)
