"""The kill switch: everything off at once, and off it stays until a person re-arms the run."""

import httpx
import pytest

from monitor_service.engine.profiles import PROFILES
from tests.servers import acr_serve
from tests.service.orders import (
    applied,
    events_of,
    ordered,
    patched,
    reported,
    run_of,
    settings_after,
)
from tests.service.problems import refused
from tests.service.reports import WRONG, new_run_id


@pytest.fixture
def killed_run(client, run_id) -> str:
    settings_after(ordered(client, run_id, "kill", actor="ana", reason="loss is odd"))
    return run_id


def is_dead(client, run_id) -> bool:
    return run_of(client, run_id)["acting_mode"] == "locked"


def test_a_kill_needs_no_reason_and_says_when_and_by_whom(client, run_id):
    reported(client, run_id, 1, 2)
    kill = settings_after(ordered(client, run_id, "kill"))["kill"]
    assert (kill["actor"], kill["reason"], kill["step"]) == ("api", "no reason given", 2)
    assert kill["at_s"] > 1e9
    assert is_dead(client, run_id)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("x" * 501, "x" * 500), (" \n", "no reason given"), (" log\n", "log")],
    ids=["too long", "blank", "padded"],
)
def test_no_wording_of_a_reason_keeps_a_run_from_being_killed(client, run_id, given, kept):
    kill = settings_after(ordered(client, run_id, "kill", reason=given))["kill"]
    assert kill["reason"] == kept
    assert is_dead(client, run_id)


@pytest.mark.parametrize("reason", [7, ["x"]])
def test_a_reason_of_a_kill_that_is_no_text_is_refused(client, run_id, untouched, reason):
    found = refused(ordered(client, run_id, "kill", reason=reason), 422)
    assert found["field"] == "reason"


def test_a_kill_takes_overrides_and_knobs_away_too(client, run_id):
    settings_after(patched(client, run_id, beta=0.1))
    ends = {"expires_in_steps": 9, "expires_in_s": 60}
    ordered(client, run_id, "overrides", settings={"mode": "active"}, reason="why", **ends)
    assert run_of(client, run_id)["acting_overrides"] == [1]
    settings_after(ordered(client, run_id, "kill"))
    run = run_of(client, run_id)
    assert (run["acting_mode"], run["acting_overrides"], run["knobs"]) == ("locked", [], [])


def test_killing_twice_changes_nothing_and_both_are_told(client, killed_run):
    before = run_of(client, killed_run)
    again = ordered(client, killed_run, "kill", actor="bo", reason="me too")
    assert settings_after(again) == before["settings"]
    assert run_of(client, killed_run) == before
    first, second = events_of(client, killed_run, "killed")
    assert (first["message"], second["message"]) == ("ana: loss is odd", "bo: me too")
    assert first["data"]["old"] == {"kill": None}
    assert first["data"]["new"] == second["data"]["old"] == second["data"]["new"]


@pytest.mark.parametrize(
    "changes",
    [{"mode": "active"}, *({"profile": profile} for profile in PROFILES)],
    ids=lambda changes: "".join(changes.values()),
)
def test_no_change_of_settings_undoes_a_kill(client, killed_run, changes):
    assert settings_after(patched(client, killed_run, **changes))["kill"] is not None
    assert is_dead(client, killed_run)


def test_no_override_undoes_a_kill(client, killed_run):
    ends = {"expires_in_steps": 9, "expires_in_s": 60}
    wanted = {"settings": {"mode": "active"}, "reason": "please", **ends}
    settings_after(ordered(client, killed_run, "overrides", **wanted))
    assert is_dead(client, killed_run)


def test_steps_a_new_attempt_and_a_repeated_start_leave_a_kill_as_it_is(client, killed_run):
    kill = run_of(client, killed_run)["settings"]["kill"]
    assert reported(client, killed_run, 1, 2)["kill"] == kill
    resumed = client.post("/v1/runs", json={"id": killed_run, "resume_from_step": 0}).json()
    assert (resumed["attempt"], resumed["settings"]["kill"]) == (2, kill)
    assert client.post("/v1/runs", json={"id": killed_run}).json()["settings"]["kill"] == kill
    assert is_dead(client, killed_run)


def test_re_arming_needs_a_reason(client, killed_run):
    before = run_of(client, killed_run)
    assert refused(ordered(client, killed_run, "rearm", actor="ana"), 422)["field"] == "reason"
    assert run_of(client, killed_run) == before


def test_a_re_armed_run_acts_as_it_is_configured_then(client, killed_run):
    settings_after(patched(client, killed_run, mode="shadow"))
    settings = settings_after(ordered(client, killed_run, "rearm", actor="bo", reason="found it"))
    assert (settings["kill"], settings["rearms"]) == (None, 1)
    assert run_of(client, killed_run)["acting_mode"] == "shadow"
    (event,) = events_of(client, killed_run, "rearmed")
    assert event["message"] == "bo: found it"
    assert event["data"]["old"]["kill"]["reason"] == "loss is odd"
    assert event["data"]["new"] == {"kill": None, "stage": "off"}


def test_a_controller_that_locked_itself_is_freed_by_re_arming(client):
    run_id = new_run_id()
    brief = {"max_active_steps": 1, "min_groups_per_unit": 64}
    client.post("/v1/runs", json={"id": run_id, "profile": "guarded", "settings": brief})
    # 64 all-wrong groups: the rate is 1 with no error, above 0.3. A step later nothing is better.
    reported(client, run_id, 1, 2, rewards=[WRONG] * 64)
    run = run_of(client, run_id)
    assert (run["settings"]["arming"]["stage"], run["acting_mode"]) == ("locked", "locked")
    assert settings_after(patched(client, run_id, profile="guarded"))["arming"]["stage"] == "locked"
    settings_after(ordered(client, run_id, "rearm", reason="a new try"))
    assert run_of(client, run_id)["acting_mode"] == "active"
    (event,) = events_of(client, run_id, "rearmed")
    assert (event["data"]["old"]["stage"], event["data"]["new"]["stage"]) == ("locked", "off")


def test_a_kill_file_the_trainer_found_kills_the_run(client, run_id):
    kill = reported(client, run_id, 1, applied=applied(killed_after_rearms=0))["kill"]
    assert (kill["actor"], kill["reason"], kill["step"]) == (
        *("kill file", "found next to the trainer"),
        1,
    )
    (event,) = events_of(client, run_id, "killed")
    assert (event["step"], event["data"]["actor"]) == (1, "kill file")
    # It stays found as long as it is there: told once.
    reported(client, run_id, 2, applied=applied(killed_after_rearms=0))
    assert len(events_of(client, run_id, "killed")) == 1


def test_a_report_from_before_the_re_arming_does_not_kill_again(client, run_id):
    found = applied(killed_after_rearms=0)
    reported(client, run_id, 1, applied=found)
    settings_after(ordered(client, run_id, "rearm", reason="file removed"))
    # Of the batch that was under way when the run was re-armed.
    assert reported(client, run_id, 2, applied=found)["kill"] is None
    assert not is_dead(client, run_id)


def test_re_arming_before_the_first_report_of_the_file_is_not_lost(client, run_id):
    settings_after(ordered(client, run_id, "rearm", reason="file removed at once"))
    assert reported(client, run_id, 1, applied=applied(killed_after_rearms=0))["kill"] is None


def test_a_file_that_is_still_there_after_re_arming_kills_again(client, run_id):
    reported(client, run_id, 1, applied=applied(killed_after_rearms=0))
    settings_after(ordered(client, run_id, "rearm", reason="forgot the file"))
    assert reported(client, run_id, 2, applied=applied(killed_after_rearms=1))["kill"]["step"] == 2


def test_orders_outlive_the_monitor(folder):
    with acr_serve(folder) as server:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            dead, overridden = new_run_id(), new_run_id()
            for run_id in (dead, overridden):
                client.post("/v1/runs", json={"id": run_id})
            settings_after(ordered(client, dead, "kill", reason="why"))
            settings_after(ordered(client, dead, "commands", command="save"))
            ends = {"expires_in_steps": 2, "expires_in_s": 3600}
            wanted = {"settings": {"mode": "off"}, "reason": "why", **ends}
            settings_after(ordered(client, overridden, "overrides", **wanted))
            before = [run_of(client, run_id) for run_id in (dead, overridden)]
        server.kill9()
        server.start()
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            assert [run_of(client, run_id) for run_id in (dead, overridden)] == before
            assert is_dead(client, dead)
            assert reported(client, dead, 1)["kill"] == before[0]["settings"]["kill"]
            # The override still ends by itself, after the second step.
            assert [len(reported(client, overridden, n)["overrides"]) for n in (1, 2)] == [1, 0]
