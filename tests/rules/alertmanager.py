"""A real Alertmanager for tests, with the configuration of `deploy/` or one like it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.rules.rules import ROOT
from tests.servers import PATIENCE_S, eventually

CONFIG: dict[str, Any] = yaml.safe_load(
    (ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
)


def documented(folder: Path, pager_url: str) -> dict[str, Any]:
    """The configuration with the receivers of docs/operations.md, whose files are in `folder`."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(route:.*?)```", page, re.DOTALL)
    text = text.replace("/etc/alertmanager", str(folder))
    assert text.count("http://pager.example.org/alerts") == 1
    shown = yaml.safe_load(text.replace("http://pager.example.org/alerts", pager_url))
    return CONFIG | shown | {"route": CONFIG["route"] | shown["route"]}


@contextmanager
def running_alertmanager(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """Base URL of an Alertmanager that is ready; its data and its log are in `folder`."""
    binary = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    if binary is None:
        pytest.fail("alertmanager is missing: apt-get install prometheus-alertmanager")
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    log_path = folder / "alertmanager.log"
    command = [
        binary,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    ]
    with log_path.open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            eventually(
                lambda: process.poll() is not None or _address(log_path) is not None,
                "alertmanager listens",
            )
            address = _address(log_path)
            assert address, log_path.read_text()
            url = f"http://{address}"
            eventually(lambda: _is_ready(url), "alertmanager is ready")
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def alerts(url: str) -> list[dict[str, Any]]:
    """What it knows to be firing, muted or not."""
    reply = httpx.get(f"{url}/api/v2/alerts", trust_env=False).raise_for_status()
    found: list[dict[str, Any]] = reply.json()
    return found


def _address(log_path: Path) -> str | None:
    found = re.search(r'msg="Listening on" address=(\S+)', log_path.read_text())
    return found and found[1]


def _is_ready(url: str) -> bool:
    return httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
