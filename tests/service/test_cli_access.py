"""Commands and the Python client with a token, without one, and with one that may not."""

from collections.abc import Iterator

import pytest

from monitor_service.client.api import MonitorApi
from monitor_service.client.http import ClientError
from monitor_service.client.stream import Told
from monitor_service.wire import CreateRun
from tests.servers import short_folder, stock_redis
from tests.service.guarded import guarded, issued, revoke
from tests.service.reports import report


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """A Redis of these tests alone: tokens are for all of it."""
    with short_folder() as path, stock_redis(path) as url:
        yield url


@pytest.fixture(scope="module")
def tokens(store: str) -> dict[str, str]:
    """Token by what it may do; `short-lived` may read and is revoked by its test."""
    return {
        "read": issued(store, "read"),
        "control": issued(store, "control"),
        "report": issued(store, "report"),
        "short-lived": issued(store, "read"),
    }


@pytest.fixture(scope="module")
def door(store: str, tokens: dict[str, str]) -> Iterator[str]:
    """A monitor that wants tokens, with the run `run`."""
    with guarded(store) as url:
        with MonitorApi(url, token=tokens["report"]) as monitor:
            monitor.create(CreateRun(id="run"))
            monitor.report("run", report(1))
        yield url


@pytest.fixture
def with_token(acr, monkeypatch, door, tokens):
    """`acr` with the token of this name; None: with none."""

    def run(name: str | None, *arguments: str):
        monkeypatch.delenv("ACR_TOKEN", raising=False)
        if name is not None:
            monkeypatch.setenv("ACR_TOKEN", f"{tokens[name]}\n")
        return acr(*arguments, "--url", door)

    return run


def test_without_a_token_it_says_where_one_goes_and_comes_from(with_token):
    ended = with_token(None, "show", "run")
    assert (ended.status, ended.out) == (1, "")
    where = "put one into ACR_TOKEN: `acr token create` makes one\n"
    assert ended.err.startswith("acr: a token is needed")
    assert ended.err.endswith(f"; {where}")


def test_a_token_that_is_none_is_said_to_be_that_of_the_environment(acr, monkeypatch, door):
    monkeypatch.setenv("ACR_TOKEN", "acr_00000000_made-up")
    ended = acr("show", "run", "--url", door)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.endswith("; it is the one in ACR_TOKEN\n")
    assert "made-up" not in ended.err


def test_a_token_that_can_be_none_is_refused_without_being_shown(acr, monkeypatch, door):
    monkeypatch.setenv("ACR_TOKEN", "two words")
    ended = acr("show", "run", "--url", door)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("acr: token: must be printable")
    assert "two words" not in ended.err


def test_a_token_to_read_shows_and_does_not_change(with_token):
    assert with_token("read", "show", "run").status == 0
    ended = with_token("read", "set", "run", "alpha=0.4", "-r", "why")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.endswith(
        "; `acr token create` makes a token that may, to put into ACR_TOKEN\n"
    )
    assert with_token("control", "set", "run", "alpha=0.4", "-r", "why").status == 0


def test_a_stream_ends_with_its_token(door, store, tokens, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with MonitorApi(door, token=tokens["short-lived"]) as monitor:
        messages = monitor.stream("run")
        assert isinstance(next(messages), Told)
        revoke(store, tokens["short-lived"])
        with pytest.raises(ClientError) as ended:
            list(messages)
    assert ended.value.status == 401


def test_a_token_takes_the_place_of_a_password_in_the_address(door, tokens, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with_password = door.replace("://", "://ana:secret@")
    with MonitorApi(with_password, token=tokens["read"]) as monitor:
        assert monitor.run("run").id == "run"


def test_a_run_is_completed_with_the_token(acr, monkeypatch, door, tokens):
    monkeypatch.setenv("ACR_MONITOR_URL", door)
    monkeypatch.setenv("_ACR_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "acr show ru")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert acr().out.split() == []
    monkeypatch.setenv("ACR_TOKEN", tokens["read"])
    assert acr().out.split() == ["run"]
