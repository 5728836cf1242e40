"""Commands to the trainer, the end of a run, and settings that contradict themselves."""

from typing import Any

import pytest

from monitor_service.errors import AttemptConflict
from monitor_service.monitor import Monitor
from monitor_service.requests import EndOfRun
from monitor_service.wire import CreateRun
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
from tests.service.reports import new_run_id, recorded, report


def test_commands_are_numbered_and_the_newest_counts(client, run_id):
    first = settings_after(ordered(client, run_id, "commands", command="save"))["command"]
    assert first == {"number": 1, "kind": "save", "actor": "api", "reason": "no reason given"}
    wanted = {"command": "stop", "actor": "ana", "reason": "enough"}
    second = settings_after(ordered(client, run_id, "commands", **wanted))["command"]
    assert second == {"number": 2, "kind": "stop", "actor": "ana", "reason": "enough"}
    given = events_of(client, run_id, "command_given")
    assert [event["message"] for event in given] == ["api: no reason given", "ana: enough"]
    assert [event["data"]["old"]["command"] for event in given] == [None, first]
    assert [event["data"]["new"]["command"] for event in given] == [first, second]


def test_a_command_goes_when_the_trainer_says_that_it_carries_it_out(client, run_id):
    settings_after(ordered(client, run_id, "commands", command="save"))
    assert reported(client, run_id, 1, applied=applied())["command"]["number"] == 1
    assert reported(client, run_id, 2, applied=applied(command=1))["command"] is None
    (event,) = events_of(client, run_id, "command_accepted")
    assert (event["step"], event["data"]) == (2, {"number": 1, "command": "save"})


def test_a_report_of_an_older_command_leaves_the_newer_one(client, run_id):
    for kind in ("save", "stop"):
        settings_after(ordered(client, run_id, "commands", command=kind))
    assert reported(client, run_id, 1, applied=applied(command=1))["command"]["number"] == 2
    assert events_of(client, run_id, "command_accepted") == []


def test_a_new_attempt_does_not_inherit_a_command_and_its_numbers_go_on(client, run_id):
    settings_after(ordered(client, run_id, "commands", command="stop"))
    again = client.post("/v1/runs", json={"id": run_id, "resume_from_step": 0, "start_id": "two"})
    assert again.json()["settings"]["command"] is None
    (event,) = events_of(client, run_id, "resumed")
    assert event["data"]["command_dropped"]["kind"] == "stop"
    assert event["message"] == (
        "attempt 2 continues after step 0; command 1, stop, was for the one before"
    )
    after = settings_after(ordered(client, run_id, "commands", command="save"))
    assert after["command"]["number"] == 2


@pytest.mark.parametrize(
    ("content", "field"),
    [({}, "command"), ({"command": "kill"}, "command"), ({"command": "save", "step": 1}, "step")],
)
def test_a_command_nobody_knows_is_422(client, run_id, untouched, content, field):
    assert refused(ordered(client, run_id, "commands", **content), 422)["field"] == field


@pytest.mark.parametrize("order", ["overrides", "kill", "rearm", "commands", "end", "result"])
def test_an_order_to_an_unknown_run_is_404(client, order):
    needed: dict[str, dict[str, Any]] = {
        "overrides": {
            "settings": {"alpha": 0.4},
            "reason": "why",
            "expires_in_steps": 1,
            "expires_in_s": 1,
        },
        "rearm": {"reason": "why"},
        "commands": {"command": "save"},
        "end": {"attempt": 1},
        "result": {"accuracy": 0.4, "benchmark": "MATH-500"},
    }
    refused(ordered(client, new_run_id(), order, **needed.get(order, {})), 404)


@pytest.mark.parametrize(
    ("changes", "field", "value", "allowed"),
    [
        ({"controller": "guarded", "exit_threshold": 0.6}, "exit_threshold", "0.6", "below"),
        ({"profile": "guarded", "exit_threshold": 0.3}, "exit_threshold", "0.3", "below"),
        ({"max_advantage": 1.5}, "max_advantage", "1.5", "(0, 1]"),
        ({"max_group_fraction": 1.01}, "max_group_fraction", "1.01", "(0, 1]"),
        ({"max_mass_fraction": 0}, "max_mass_fraction", "0", "(0, 1]"),
        ({"prompt_budget": 0}, "prompt_budget", "0", "[1, 1000000]"),
        ({"reward_low": None, "reward_high": None}, "strategy", "'stratified'", "no bounds"),
        ({"reward_high": None}, "reward_low, reward_high", "(0.0, None)", "both"),
        ({"threshold_low": 0.95}, "threshold_low", "0.95", "at most threshold_high"),
        ({"learning_rate_scale": -1}, "learning_rate_scale", "-1", "[0, 10]"),
        ({"loss_mask": 1}, "loss_mask", "1", "true or false, or null"),
        ({"heed_alarms": "yes"}, "heed_alarms", "'yes'", "true or false"),
        ({"mode": "locked"}, "mode", "'locked'", "off, shadow, active"),
    ],
)
def test_settings_that_contradict_themselves_are_422_when_created_and_when_changed(
    client, run_id, untouched, changes, field, value, allowed
):
    new = new_run_id()
    settings = {name: wanted for name, wanted in changes.items() if name != "profile"}
    profile = changes.get("profile", "paper")
    created = client.post("/v1/runs", json={"id": new, "profile": profile, "settings": settings})
    for reply in (created, patched(client, run_id, **changes)):
        found = refused(reply, 422)
        assert (found["field"], found["value"]) == (field, value)
        assert allowed in found["allowed"]
    assert client.get(f"/v1/runs/{new}").status_code == 404


def test_an_unbounded_reward_is_fine_while_nothing_is_injected(client, run_id):
    unbounded = {"reward_low": None, "reward_high": None}
    assert settings_after(patched(client, run_id, strategy="none", **unbounded))
    assert refused(patched(client, run_id, strategy="stratified"), 422)["field"] == "strategy"


def test_a_change_of_profile_tells_every_field_that_it_moved(client, run_id):
    settings_after(patched(client, run_id, profile="observe", alpha=0.4))
    (event,) = events_of(client, run_id, "settings_changed")
    old, new = event["data"]["old"], event["data"]["new"]
    assert old.keys() == new.keys() >= {"profile", "alpha", "mode", "controller", "threshold"}
    assert (old["mode"], new["mode"]) == ("active", "shadow")
    assert (old["max_advantage"], new["max_advantage"]) == (None, 1.0)
    assert "eta" not in new


async def alarms(monitor: Monitor, run_id: str) -> list[str]:
    return [found.rule for found in (await monitor.diagnosis(run_id)).verdicts]


async def test_a_run_that_ended_is_not_silent_and_one_that_did_not_is(monitor, clock):
    ended, crashed = [
        (await monitor.create(CreateRun(id=new_run_id())))[0].id for _ in ("ended", "crashed")
    ]
    for run_id in (ended, crashed):
        await recorded(monitor, run_id, report(1))
    run = await monitor.end(ended, EndOfRun(attempt=1))
    assert run.ended == "finished"
    # More than 600 s without a report.
    clock.now_s += 601
    assert await alarms(monitor, ended) == []
    assert await alarms(monitor, crashed) == ["reports_stopped"]


async def test_a_trainer_that_starts_again_is_not_called_silent_for_what_was_before(monitor, clock):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    await recorded(monitor, run.id, report(1))
    clock.now_s += 86_400
    await monitor.create(CreateRun(id=run.id, resume_from_step=1))
    assert await alarms(monitor, run.id) == []
    clock.now_s += 601
    assert await alarms(monitor, run.id) == ["reports_stopped"]


async def test_a_report_after_the_end_takes_the_end_back(monitor, clock):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    await monitor.end(run.id, EndOfRun(attempt=1, how="finished"))
    await recorded(monitor, run.id, report(1))
    assert (await monitor.run(run.id)).ended is None


async def test_an_end_told_twice_is_one_event(monitor):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    first, second = [await monitor.end(run.id, EndOfRun(attempt=1)) for _ in range(2)]
    assert first == second
    kinds = [view.event.kind for view in (await monitor.events(run.id, 10)).events]
    assert kinds == ["ended", "created"]


async def test_an_attempt_that_was_replaced_cannot_end_the_run(monitor):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    await recorded(monitor, run.id, report(1))
    await monitor.create(CreateRun(id=run.id, resume_from_step=1))
    before = await monitor.run(run.id)
    with pytest.raises(AttemptConflict, match="the end is of attempt 1; the run is at attempt 2"):
        await monitor.end(run.id, EndOfRun(attempt=1))
    assert await monitor.run(run.id) == before


def test_the_end_is_told_over_http(client, run_id):
    reported(client, run_id, 1)
    reply = ordered(client, run_id, "end", attempt=1, how="stopped by command")
    assert (reply.status_code, reply.json()["ended"]) == (200, "stopped by command")
    assert run_of(client, run_id)["ended"] == "stopped by command"
    assert refused(ordered(client, run_id, "end", attempt=2), 409)["type"].endswith("conflict")
    assert refused(ordered(client, run_id, "end", attempt=1, how=""), 422)["field"] == "how"


async def test_silence_is_told_once_and_its_end_too(monitor, clock):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    await recorded(monitor, run.id, report(1))

    async def told() -> list[tuple[str, int]]:
        events = reversed((await monitor.events(run.id, 100)).events)
        return [
            (one.event.kind, one.event.step)
            for one in events
            if one.event.data.get("rule") == "reports_stopped"
        ]

    clock.now_s += 600
    await monitor.tell_silence()
    assert await told() == []
    clock.now_s += 1
    await monitor.tell_silence()
    await monitor.tell_silence()
    assert await told() == [("alarm_raised", 1)]
    await recorded(monitor, run.id, report(2))
    assert await told() == [("alarm_raised", 1), ("alarm_resolved", 2)]
    await monitor.end(run.id, EndOfRun(attempt=1))
    clock.now_s += 3600
    await monitor.tell_silence()
    assert len(await told()) == 2
