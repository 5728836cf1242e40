"""`acr serve` as a process: how it starts, what it says, and what survives its end."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import httpx
import msgspec
import pytest
import redis

from monitor_service.config import ServiceConfig
from monitor_service.errors import StartupError
from monitor_service.server import Endpoint, listen
from tests.servers import AcrServe, acr_serve, answers, eventually, is_running, short_folder
from tests.service.reports import body, new_run_id


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with short_folder() as path:
        yield path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[AcrServe]:
    """Shared by the tests below; each leaves it running."""
    with acr_serve(folder) as running:
        yield running


def get(server: AcrServe, path: str) -> httpx.Response:
    return httpx.get(server.url + path, trust_env=False)


def post(server: AcrServe, path: str, content: dict[str, Any]) -> httpx.Response:
    return httpx.post(server.url + path, json=content, trust_env=False)


def test_when_it_says_that_it_is_ready_it_answers_and_so_does_its_store(server):
    assert get(server, "/readyz").status_code == 200
    assert answers(server.redis_url)
    assert is_running(server.pid)


def test_others_find_it_by_the_file_in_its_data_directory(server, folder):
    path = folder / "monitor.json"
    endpoint = Endpoint(url=server.url, redis_url=server.redis_url, pid=server.pid)
    assert msgspec.json.decode(path.read_bytes(), type=Endpoint) == endpoint
    # The Redis inside may be used by the owner only, so may the way to it.
    assert path.stat().st_mode & 0o777 == 0o600


def test_trainers_hear_new_settings_through_the_address_it_gives(server):
    run_id = new_run_id()
    post(server, "/v1/runs", {"id": run_id})
    with (
        redis.Redis.from_url(server.redis_url) as client,
        client.pubsub(ignore_subscribe_messages=True) as listener,
    ):
        listener.subscribe(f"acr:{{{run_id}}}:settings-published")
        listener.get_message(timeout=5)  # the subscription itself
        reply = post(server, f"/v1/runs/{run_id}/steps", body(1))
        heard = msgspec.json.decode(listener.get_message(timeout=5)["data"])
    assert heard == reply.json()["settings"]


def test_killed_at_any_moment_it_comes_back_at_the_same_address_with_every_step(server):
    run_id, before = new_run_id(), server.pid
    post(server, "/v1/runs", {"id": run_id})
    for step in range(1, 21):
        assert post(server, f"/v1/runs/{run_id}/steps", body(step)).status_code == 200
    run, url = get(server, f"/v1/runs/{run_id}").json(), server.url
    server.kill9()
    server.start()
    assert server.url == url
    assert server.pid != before
    assert get(server, f"/v1/runs/{run_id}").json() == run
    assert len(get(server, f"/v1/runs/{run_id}/steps").json()["steps"]) == 20


def test_asked_to_end_it_ends_its_store_first_and_with_status_0(server):
    assert server.terminate() == 0
    assert not answers(server.redis_url)
    server.start()


def test_its_killed_store_is_revived_under_it(server):
    with redis.Redis.from_url(server.redis_url) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, 9)
    eventually(
        lambda: not is_running(pid) and get(server, "/readyz").status_code == 200, "ready again"
    )
    assert "embedded Valkey ended" in server.log_path.read_text()


def test_with_a_redis_of_its_own_it_needs_no_data_directory(redis_url, tmp_path):
    with acr_serve(tmp_path / "data", "--redis-url", redis_url) as other:
        assert get(other, "/readyz").status_code == 200
        assert other.redis_url == redis_url
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["serve.log"]


def test_people_are_told_the_addresses_and_a_parent_that_ends_takes_it_along(folder):
    data_dir = folder / "[red]"  # Not a colour: a folder.
    command = [sys.executable, "-m", "monitor_service", "serve", "--port", "0", "--with-parent"]
    command += ["--data-dir", str(data_dir)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        # As when the parent has died.
        process.stdin.close()
        assert process.wait(30) == 0
    url = msgspec.json.decode((data_dir / "monitor.json").read_bytes(), type=Endpoint).url
    assert first == f"ACR monitor at {url}  (API: {url}/docs)\n"
    assert second == f"  settings for trainers through unix://{folder}/%5Bred%5D/valkey.sock\n"


def test_an_address_that_is_taken_is_refused_by_name():
    with listen(ServiceConfig(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen(ServiceConfig(port=port))


def test_replies_do_not_wait_for_the_clients_acknowledgement():
    with listen(ServiceConfig(port=0)) as listener:
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
