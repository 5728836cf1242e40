"""Replicas that deliver alerts, as processes: one is killed or stopped, and another goes on."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.servers import PATIENCE_S, eventually, short_folder, stock_redis
from tests.service.receiver import Receiver, Runs, hang, receiving


@pytest.fixture
def redis_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Redis of its own: on a shared one, others would deliver."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with short_folder() as path, stock_redis(path) as url:
        yield url


@pytest.fixture
def runs(redis_url: str) -> Iterator[Runs]:
    runs = Runs(redis_url)
    yield runs
    runs.redis.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@contextmanager
def replica(redis_url: str, webhook_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that delivers to this webhook."""
    command = [sys.executable, "-m", "tests.service.alert_replica", redis_url, webhook_url]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE_S)


def holder(runs: Runs) -> object:
    return runs.redis.get("{acr:alerts}:lease")


def test_when_the_one_that_delivers_is_killed_another_goes_on_and_nothing_is_lost(
    redis_url, runs, receiver
):
    with replica(redis_url, receiver.url) as first:
        eventually(lambda: bool(holder(runs)), "the first delivers")
        with replica(redis_url, receiver.url):
            one = runs.raised("a")
            eventually(lambda: bool(runs.delivered()), "told")
            receiver.script = [hang]
            two = runs.resolved("a")
            eventually(lambda: len(receiver.received) == 2, "the first is in the middle of it")
            before = holder(runs)
            first.kill()
            three = runs.raised("b")
            eventually(lambda: runs.delivered() == 3, "the second has told the rest")
            assert holder(runs) != before
    # The one that was under way comes twice, under its id; no other does.
    ids = [alert.id for alert in receiver.alerts]
    assert ids == [f"a:{one}", f"a:{two}", f"a:{two}", f"b:{three}"]


def test_one_that_was_stopped_and_goes_on_does_not_deliver_beside_another(
    redis_url, runs, receiver
):
    with replica(redis_url, receiver.url) as first:
        eventually(lambda: bool(holder(runs)), "the first delivers")
        before = holder(runs)
        with replica(redis_url, receiver.url):
            runs.raised("a")
            eventually(lambda: bool(runs.delivered()), "told")
            first.send_signal(signal.SIGSTOP)
            runs.resolved("a")
            eventually(lambda: runs.delivered() == 2, "the second delivers")
            assert holder(runs) != before
            first.send_signal(signal.SIGCONT)
            for number in range(50):
                runs.raised(f"run-{number}")
            eventually(lambda: runs.delivered() == 52, "all told")
    assert len({alert.id for alert in receiver.alerts}) == len(receiver.alerts) == 52
