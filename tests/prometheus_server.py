"""A real Prometheus for tests: its own folder, its own port, one target scraped every second."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

READY_WITHIN_S = 30
POLL_S = 0.1

_CONFIG = """\
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: acr
    static_configs:
      - targets: ["{target}"]
"""


@contextmanager
def running_prometheus(target_host_port: str, tmp_path: Path, text: str = _CONFIG) -> Iterator[str]:
    """Base URL of a Prometheus that has scraped `http://target_host_port/metrics` at least once.

    `text` is its configuration, with `{target}` where that stands.
    """
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.fail("the prometheus binary is missing: apt-get install prometheus")
    config = tmp_path / "prometheus.yml"
    config.write_text(text.format(target=target_host_port))
    log_path = tmp_path / "prometheus.log"
    address = f"127.0.0.1:{_free_port()}"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'prometheus-data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        base_url = f"http://{address}"
        _wait_until_scraping(base_url, process, log_path)
        yield base_url
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def instant_query(base_url: str, expr: str) -> list[dict[str, Any]]:
    """The samples of an instant vector; an expression Prometheus refuses fails the test."""
    reply = httpx.get(f"{base_url}/api/v1/query", params={"query": expr}, trust_env=False)
    assert reply.status_code == 200, f"{expr}\n{reply.text}"
    result: list[dict[str, Any]] = reply.json()["data"]["result"]
    return result


def _wait_until_scraping(base_url: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    seen = "no answer"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"prometheus ended at once:\n{log_path.read_text()}")
        try:
            ready = httpx.get(f"{base_url}/-/ready", trust_env=False).status_code == 200
            up = instant_query(base_url, "up == 1") if ready else []
        except httpx.TransportError:
            up = []
        else:
            seen = f"ready={ready}, up={up}"
        if up:
            return
        time.sleep(POLL_S)
    pytest.fail(f"no scrape within {READY_WITHIN_S} s ({seen}):\n{log_path.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
