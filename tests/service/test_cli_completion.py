"""What a shell completes, and that it never waits for it or shows an error."""

import socket
import time

import pytest

from monitor_service.engine.settings import TUNABLE
from tests.service.reports import new_run_id

COMMANDS_OF_A_RUN = ("show", "watch", "history", "events", "audit", "set", "kill", "delete")


@pytest.fixture
def completed(acr, monkeypatch):
    """What a shell offers for the last of these words."""

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv("_ACR_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(("acr", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        ended = acr()
        assert ended.err == ""
        return ended.out.split()

    return complete


@pytest.mark.parametrize("command", COMMANDS_OF_A_RUN)
def test_ids_of_runs_come_from_the_monitor(completed, client, command):
    name = new_run_id()
    for number in range(2):
        client.post("/v1/runs", json={"id": f"{name}-{number}"})
    assert set(completed(command, name)) == {f"{name}-0", f"{name}-1"}
    assert completed(command, f"{name}-1") == [f"{name}-1"]


def test_settings_are_completed_by_name_and_by_what_they_can_be(completed):
    assert set(completed("set", "run", "threshold")) == {
        *("threshold=", "threshold_low=", "threshold_high="),
    }
    assert set(completed("set", "run", "mode=")) == {"mode=off", "mode=shadow", "mode=active"}
    assert completed("set", "run", "benefit_check=f") == ["benefit_check=false"]
    assert len(completed("set", "run", "alpha=0.4", "")) == len(TUNABLE)


def test_figures_are_completed_behind_those_typed_already(completed):
    typed = "acr,completion_length_m"
    assert set(completed("history", "run", "--fields", typed)) == {
        *("acr,completion_length_mean", "acr,completion_length_max"),
    }


def test_kinds_of_events_are_completed(completed):
    assert set(completed("events", "run", "--kind", "alarm_r")) == {
        *("alarm_raised", "alarm_resolved"),
    }


def test_without_a_monitor_nothing_is_offered_and_nothing_said(completed, monkeypatch):
    for url in ("http://127.0.0.1:1", "http://[::1", "no such host"):
        monkeypatch.setenv("ACR_MONITOR_URL", url)
        assert completed("show", "run") == []


def test_a_monitor_that_hangs_is_not_waited_for(completed, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("ACR_MONITOR_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began_s = time.monotonic()
        assert completed("show", "run") == []
        # The time it allows itself is 0.5 s.
        assert time.monotonic() - began_s < 5
