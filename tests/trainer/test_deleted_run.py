"""A run that somebody deletes while its trainer is training."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers import AcrServe, acr_serve, eventually
from tests.trainer.test_spooling import records, report
from trainer.client import MonitorClient


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcrServe]:
    with acr_serve(tmp_path_factory.mktemp("m")) as server:
        yield server


def test_its_trainer_goes_on_and_delivers_everything_once_it_is_restored(
    monitor: AcrServe, tmp_path: Path
) -> None:
    path = f"{monitor.url}/v1/runs/run"
    client = MonitorClient(monitor.url, run_id="run", spool_dir=tmp_path)
    client.start()
    client.submit(report(1))
    eventually(lambda: client.stats().results == {"recorded": 1}, "the first step is recorded")
    httpx.delete(path).raise_for_status()
    for step in range(2, 6):
        assert client.submit(report(step))
    eventually(lambda: client._failure is not None, "the client has noticed")
    assert client.stats().results == {"recorded": 1}
    httpx.post(f"{path}/restore", json={}).raise_for_status()
    eventually(lambda: client.stats().results == {"recorded": 5}, "all steps are recorded")
    client.close()
    # It is the same start of the trainer, so the same attempt.
    assert records(monitor, "run") == [(step, 1) for step in range(1, 6)]
