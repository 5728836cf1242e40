"""`acr serve` on an address that other machines can reach."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

from tests.servers import AcrServe, acr_serve, eventually, short_folder
from tests.service.guarded import routes, with_token
from tests.service.problems import refused
from tests.service.reports import body


def own_address() -> str:
    """An address of this machine that is not in the list of loopback ones."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Sends nothing: it asks by which address it would.
            found: str = probe.getsockname()[0]
        except OSError:
            return "127.0.0.2"
        return found


def acr(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monitor_service", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    with short_folder() as path:
        yield path


@pytest.fixture(scope="module")
def control(data_dir: Path) -> str:
    return acr("token", "create", "ana", "--scope", "control", "--data-dir", str(data_dir)).stdout[
        :-1
    ]


@pytest.fixture(scope="module")
def server(data_dir: Path, control: str) -> Iterator[AcrServe]:
    with acr_serve(data_dir, "--host", "0.0.0.0") as running:
        yield running


@pytest.fixture
def base_url(server: AcrServe) -> str:
    return f"http://{own_address()}:{server.url.rpartition(':')[2]}"


def test_without_a_token_it_does_not_start_and_says_what_to_type(tmp_path):
    with short_folder() as folder:
        ended = acr("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(folder))
        assert ended.returncode == 1
        assert f"acr token create NAME --scope control --data-dir {folder}" in ended.stderr
        assert "--insecure" in ended.stderr


def test_the_word_insecure_is_enough(data_dir):
    with short_folder() as folder, acr_serve(folder, "--host", "0.0.0.0", "--insecure") as server:
        port = server.url.rpartition(":")[2]
        assert httpx.get(f"http://{own_address()}:{port}/v1/runs").status_code == 200


def test_nothing_but_healthz_and_the_page_answers_without_a_token(base_url, control):
    is_loopback = ip_address(own_address()).is_loopback
    open_paths = {"/healthz", "/"} | ({"/readyz"} if is_loopback else set())
    found = routes(base_url, control)
    assert {path for _, path in found} >= {"/healthz", "/readyz", "/metrics", "/v1/runs"}
    with httpx.Client(base_url=base_url) as client:
        for method, path in [*found, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/")]:
            reply = client.request(method, path)
            if path in open_paths:
                assert reply.status_code == 200
            else:
                refused(reply, 401)


def test_with_a_token_it_does_what_the_token_is_for(base_url, data_dir, control):
    where = ("--data-dir", str(data_dir))
    report = acr("token", "create", "trainer", "--scope", "report", *where).stdout.strip()
    read = acr("token", "create", "prometheus", *where).stdout.strip()
    with httpx.Client(base_url=base_url) as client:

        def ask(method: str, path: str, token: str, **more) -> httpx.Response:
            return client.request(method, path, headers=with_token(token), **more)

        # The one made last is known last.
        eventually(lambda: ask("GET", "/x", read).status_code != 401, "both tokens are known", 2.0)
        assert ask("POST", "/v1/runs", report, json={"id": "first"}).status_code == 201
        assert ask("POST", "/v1/runs/first/steps", report, json=body(1)).status_code == 200
        assert 'acr_step{run="first"} 1' in ask("GET", "/metrics", read).text
        change = {"threshold": 0.3, "reason": "a try"}
        refused(ask("PATCH", "/v1/runs/first/settings", read, json=change), 403)
        refused(ask("PATCH", "/v1/runs/first/settings", report, json=change), 403)
        changed = ask("PATCH", "/v1/runs/first/settings", control, json=change)
        assert changed.json()["settings"]["threshold"] == 0.3


def test_the_log_names_who_was_refused_and_no_token(server, base_url, control):
    wrong = control[:-1] + ("A" if control[-1] != "A" else "B")
    refused(httpx.get(f"{base_url}/v1/runs", headers=with_token(wrong)), 401)
    told = server.log_path.read_text()
    assert f"'{own_address()}': GET '/v1/runs' refused" in told
    assert control.split("_", 2)[2][:20] not in told


def test_started_again_it_still_asks_for_a_token(server, base_url, control):
    server.kill9()
    server.start()
    refused(httpx.get(f"{base_url}/v1/runs"), 401)
    assert httpx.get(f"{base_url}/v1/runs", headers=with_token(control)).status_code == 200
