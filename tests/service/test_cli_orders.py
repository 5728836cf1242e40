"""`acr kill`, `rearm`, `save`, `stop`: who ordered it, why, and what happens when."""

import json

import pytest

WHEN = "the trainer does it at the end of its optimizer step"


@pytest.fixture
def settings(client, run_id):
    """The run's settings as they are now."""
    return lambda: client.get(f"/v1/runs/{run_id}/settings").json()["settings"]


def test_kill_says_what_happens_and_how_to_undo_it(acr, settings, run_id):
    ended = acr("kill", run_id, "-r", "the reward is hacked")
    first, by, how = ended.out.splitlines()
    assert first == f"{run_id}: killed; plain GRPO from its next batch on"
    assert by.startswith("  by ana at step 0, 20")
    assert by.endswith(": the reward is hacked")
    assert how == f"  allow interventions again with: acr rearm {run_id} -r REASON"
    kill = settings()["kill"]
    assert (kill["actor"], kill["reason"]) == ("ana", "the reward is hacked")


def test_kill_needs_no_reason(acr, settings, run_id):
    assert acr("kill", run_id).status == 0
    assert settings()["kill"]["actor"] == "ana"


def test_a_second_kill_names_the_first_which_is_the_one_that_counts(acr, monkeypatch, run_id):
    acr("kill", run_id, "-r", "the first")
    monkeypatch.setenv("USER", "ben")
    ended = acr("kill", run_id, "-r", "the second")
    assert ended.status == 0
    assert "by ana at step 0" in ended.out
    assert "the first" in ended.out
    assert "the second" not in ended.out


def test_rearm_ends_a_kill_and_says_which_mode_acts(acr, settings, run_id):
    acr("kill", run_id)
    ended = acr("rearm", run_id, "-r", "it was a false alarm")
    assert ended.out == f"{run_id}: re-armed; mode active, from its next batch on\n"
    assert (settings()["kill"], settings()["rearms"]) == (None, 1)


@pytest.mark.parametrize(("mode", "is_told"), [("shadow", True), ("off", False)])
def test_rearm_says_that_a_guarded_controller_starts_afresh(acr, run_id, mode, is_told):
    acr("set", run_id, "profile=guarded", f"mode={mode}", "-r", "why")
    acr("kill", run_id)
    ended = acr("rearm", run_id, "-r", "why")
    assert f"mode {mode}" in ended.out
    assert ("the guarded controller starts from off" in ended.out) is is_told


@pytest.mark.parametrize(
    ("command", "what"),
    [("save", "to save a checkpoint"), ("stop", "to save a checkpoint, then stop")],
)
def test_a_command_says_when_the_trainer_carries_it_out(acr, settings, run_id, command, what):
    ended = acr(command, run_id, "-r", "the end of the day")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"{run_id}: asked {what} (command 1); {WHEN}\n"
    expected = {"number": 1, "kind": command, "actor": "ana", "reason": "the end of the day"}
    assert settings()["command"] == expected


def test_a_command_for_a_training_that_ended_is_said_to_be_for_nobody(acr, client, run_id):
    client.post(f"/v1/runs/{run_id}/end", json={"attempt": 1, "how": "finished"})
    ended = acr("stop", run_id)
    assert ended.status == 0
    assert ended.err == "hint: the training has ended (finished): nobody is there to do it\n"


@pytest.mark.parametrize(
    "order", [("kill",), ("rearm", "-r", "why"), ("save",), ("stop",)], ids=lambda found: found[0]
)
def test_json_of_an_order_is_what_the_api_says(acr, client, run_id, order):
    ended = acr(order[0], run_id, *order[1:], "--json")
    assert json.loads(ended.out) == client.get(f"/v1/runs/{run_id}/settings").json()


@pytest.mark.parametrize(
    "order", [("rearm", "-r"), ("save", "-r"), ("stop", "-r"), ("unset", "1", "-r")]
)
def test_a_reason_that_is_too_long_is_refused_with_what_is_allowed(acr, settings, run_id, order):
    ended = acr(order[0], run_id, *order[1:], "x" * 501)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("acr: reason: must be a text of 1 to 500 characters; got 'xxx")
    assert settings()["revision"] == 1
