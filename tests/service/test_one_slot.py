"""A Redis Cluster refuses what touches keys of two slots: everything we do has to pass there."""

import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
import redis

from monitor_service.monitor import Monitor
from monitor_service.store.redis import RedisStore
from tests.servers import AcrServe, acr_serve, eventually, short_folder, stock_redis
from tests.service.reports import body, new_run_id
from tests.service.tour import Tour

pytestmark = pytest.mark.integration

SLOTS = 16_384


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of one node, which holds every slot and minds the rules all the same."""
    with (
        short_folder() as folder,
        stock_redis(folder, "--cluster-enabled", "yes", "--cluster-port", "0") as url,
        redis.Redis.from_url(url) as client,
    ):
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
        info = "CLUSTER INFO"
        eventually(lambda: client.execute_command(info)["cluster_state"] == "ok", "it is up")
        yield url


@pytest.fixture(scope="module")
def monitor(cluster: str) -> Iterator[AcrServe]:
    with short_folder() as folder, acr_serve(folder, "--redis-url", cluster) as server:
        yield server


def test_this_server_refuses_keys_of_two_slots(cluster):
    with redis.Redis.from_url(cluster) as client:
        with pytest.raises(redis.ResponseError, match="same slot"):
            client.mget("one", "another")
        with pytest.raises(redis.ResponseError, match="same slot"):
            client.eval("return 1", 2, "one", "another")


def test_every_endpoint_answers_on_a_cluster_as_its_example_says(monitor):
    with httpx.Client(base_url=monitor.url, timeout=30, trust_env=False) as client:
        tour = Tour(client, new_run_id())
        tour.go()
    assert tour.seen == tour.all
    assert "slot" not in monitor.log_path.read_text()


def test_an_alarm_is_told_on_a_cluster(monitor):
    with httpx.Client(base_url=f"{monitor.url}/v1", timeout=30, trust_env=False) as client:
        run_id = new_run_id()
        client.post("/runs", json={"id": run_id}).raise_for_status()
        # Two steps with a figure that is not a number.
        reports = [body(step, scalars={"non_finite": ["loss"]}) for step in (1, 2)]
        client.post(f"/runs/{run_id}/steps", json=reports).raise_for_status()

        def is_told() -> bool:
            (log,) = client.get("/alerts").json()["sinks"]
            return log["outcomes"].get("delivered", 0) > 0

        eventually(is_told, "the log is told")


async def test_what_the_monitor_does_by_itself_passes_on_a_cluster(cluster):
    store = RedisStore(cluster)
    monitor = Monitor(store, time.time)
    await monitor.tell_silence()
    await monitor.sweep()
    monitor.close()
    await store.close()


def test_tokens_pass_on_a_cluster(monitor):
    command = [sys.executable, "-m", "monitor_service", "token"]
    store = ["--redis-url", monitor.redis_url]
    for more in (["create", "ana", "--scope", "read"], ["list"]):
        subprocess.run([*command, *more, *store], check=True, capture_output=True)
    # From now on nobody is let in without one.
    url = f"{monitor.url}/v1/runs"
    eventually(lambda: httpx.get(url).status_code == 401, "the token is known")
