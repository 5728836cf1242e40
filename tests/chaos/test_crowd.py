"""More watchers than may be, on real sockets."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.crowd import crowd
from tests.servers import acr_serve

pytestmark = pytest.mark.e2e

CLIENTS = 400
MAX_STREAMS = 50


def test_a_crowd_beyond_the_limit_is_told_so_and_reports_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACR_MAX_STREAMS", f"{MAX_STREAMS}")
    with acr_serve(folder) as monitor:
        found = asyncio.run(crowd(monitor.url, CLIENTS))
    assert found.answers == {
        "HTTP/1.1 200 OK": MAX_STREAMS,
        "HTTP/1.1 503 Service Unavailable": CLIENTS - MAX_STREAMS,
    }
    assert found.reports > 0
