"""The trainer's token: presented to the monitor, and written nowhere."""

import copy
import io
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import redis
import torch

from monitor_service.errors import InvalidInput
from monitor_service.wire import StepReport, pack
from tests.servers import eventually, everything
from tests.service.guarded import guarded, issued, revoke, with_token
from tests.trainer.toys import arguments, config
from trainer import GRPOTrainer
from trainer.client import MonitorClient
from trainer.connect import link_for
from trainer.evaluate.arguments import parse
from trainer.evaluate.command import find_monitor

SECRET = "acr_0123abcd_" + "S" * 43


@pytest.fixture(scope="module")
def vault(redis_url: str) -> Iterator[str]:
    """A part of the shared Redis with tokens in it."""
    url = f"{redis_url}?db=14"
    yield url
    with redis.Redis.from_url(url) as client:
        client.flushdb()


@pytest.fixture(scope="module")
def read(vault: str) -> str:
    return issued(vault, "read")


@pytest.fixture(scope="module")
def monitor(vault: str, read: str) -> Iterator[str]:
    with guarded(vault) as url:
        yield url


@pytest.fixture
def report_token(vault: str, monitor: str) -> str:
    """A token to report with, that the monitor knows already."""
    token = issued(vault, "report")
    eventually(
        lambda: httpx.get(f"{monitor}/readyz-not", headers=with_token(token)).status_code == 403,
        "the token is known",
    )
    return token


def report(step: int) -> StepReport:
    return StepReport(step=step, rewards=pack(np.array([[1.0, 0.0], [0.0, 1.0]])))


def step_of(monitor: str, run_id: str, token: str) -> int:
    found = httpx.get(f"{monitor}/v1/runs/{run_id}", headers=with_token(token))
    return int(found.json()["step"]) if found.is_success else 0


def test_with_a_token_reports_arrive(monitor: str, report_token: str, read: str) -> None:
    client = MonitorClient(monitor, run_id="given", token=report_token)
    client.start()
    client.submit(report(1))
    client.close()
    assert step_of(monitor, "given", read) == 1


def test_the_token_of_the_environment_is_used_even_beside_a_password_in_the_address(
    monitor: str, report_token: str, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACR_TOKEN", f"{report_token}\n")
    address = urlsplit(monitor)
    client = MonitorClient(f"http://ana:password@{address.netloc}", run_id="found")
    client.start()
    client.submit(report(1))
    client.close()
    assert step_of(monitor, "found", read) == 1


def test_without_a_token_training_goes_on_and_the_warning_says_what_is_missing(
    monitor: str, read: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = MonitorClient(monitor, run_id="nobody")
    with caplog.at_level(logging.WARNING):
        client.start()
    assert client.submit(report(1))
    client.close()
    assert "a token is needed" in caplog.text
    assert "ACR_TOKEN" in caplog.text
    assert step_of(monitor, "nobody", read) == 0


def test_reports_wait_while_the_token_is_refused(
    monitor: str, vault: str, report_token: str, read: str, tmp_path: Path
) -> None:
    client = MonitorClient(monitor, run_id="waits", token=report_token, spool_dir=tmp_path)
    client.start()
    client.submit(report(1))
    eventually(lambda: client.stats().results == {"recorded": 1}, "the first one arrives")
    revoke(vault, report_token)
    eventually(
        lambda: httpx.get(f"{monitor}/x", headers=with_token(report_token)).status_code == 401,
        "it is revoked",
    )
    client.submit(report(2))
    client.close()
    assert step_of(monitor, "waits", read) == 1
    again = MonitorClient(
        monitor, run_id="waits", token=issued(vault, "report"), spool_dir=tmp_path
    )
    again.start(after_step=2)
    eventually(lambda: step_of(monitor, "waits", read) == 2, "the second one arrives")
    again.close()


@pytest.mark.parametrize("bad", ["with space", "line\r\nbreak", "ümlaut"])
def test_what_can_be_no_token_is_refused_without_being_shown(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match="token") as refused:
        MonitorClient("http://127.0.0.1:9", run_id="r", token=bad)
    assert bad not in str(refused.value)
    monkeypatch.setenv("ACR_TOKEN", bad)
    arguments = parse(["--model", "toy", "--benchmarks", "toy", "--run_id", "r"])
    with pytest.raises(InvalidInput, match="token"):
        find_monitor(arguments, {"ACR_MONITOR_URL": "http://127.0.0.1:9"})


def test_a_configuration_does_not_tell_its_token(tmp_path: Path) -> None:
    args = config(tmp_path, monitor_token=SECRET)
    assert args.monitor_token == SECRET
    saved = io.BytesIO()
    torch.save(args, saved)
    told = [
        repr(args),
        str(args),
        args.to_json_string(),
        repr(args.to_dict()),
        repr(args.to_sanitized_dict()),
        saved.getvalue().decode("latin-1"),
        pickle.dumps(copy.copy(args)).decode("latin-1"),
    ]
    assert all("output_dir" in text for text in told)
    assert not [text for text in told if SECRET in text or "S" * 20 in text]


def test_the_link_gets_the_token_of_the_configuration(
    monitor: str, report_token: str, read: str, tmp_path: Path
) -> None:
    args = config(tmp_path, monitor_url=monitor, monitor_token=report_token, run_id="configured")
    link = link_for(args)
    link.start(0)
    link.submit(report(1))
    link.close()
    assert step_of(monitor, "configured", read) == 1


def test_nothing_that_a_training_writes_has_the_token(
    monitor: str,
    vault: str,
    report_token: str,
    read: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = {"monitor_url": monitor, "monitor_token": report_token, "run_id": "trained"}
    args = config(tmp_path, save_strategy="steps", save_steps=1, max_steps=2, **changes)
    with caplog.at_level(logging.DEBUG):
        GRPOTrainer(**arguments(args, ["right", "mixed", "wrong", "mixed"])).train()
    assert step_of(monitor, "trained", read) == 2
    secret = report_token.split("_", 2)[2]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "training_args.bin" in {path.name for path in files}
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in caplog.text + "".join(capsys.readouterr()) + repr(everything(vault))
