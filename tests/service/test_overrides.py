"""Overrides: changes that return by themselves."""

import pytest

from monitor_service.engine.orders import MAX_OVERRIDE_S, MAX_OVERRIDE_STEPS, MAX_OVERRIDES
from monitor_service.monitor import Monitor
from monitor_service.requests import Order, OverrideRequest
from monitor_service.wire import CreateRun
from tests.service.orders import events_of, ordered, patched, reported, run_of, settings_after
from tests.service.problems import refused
from tests.service.reports import new_run_id, recorded, report

ENDS = {"expires_in_steps": 3, "expires_in_s": 3600}
WHY = {"reason": "trying", "actor": "ana"}


@pytest.fixture
def guarded(client) -> str:
    """A run that enters at 0.3 and exits at 0.2."""
    name = new_run_id()
    assert client.post("/v1/runs", json={"id": name, "profile": "guarded"}).status_code == 201
    return name


def overridden(client, run_id, **changes):
    return ordered(client, run_id, "overrides", settings=changes, **ENDS, **WHY)


def test_an_override_leaves_what_is_configured_and_acts_on_top(client, run_id):
    reply = overridden(client, run_id, mode="off", beta=0.1)
    assert reply.status_code == 201
    settings = settings_after(reply)
    (override,) = settings["overrides"]
    # Given after step 0, for three steps.
    assert (override["number"], override["until_step"]) == (1, 0 + 3)
    assert (override["actor"], override["reason"]) == ("ana", "trying")
    assert (settings["mode"], settings["beta"], settings["revision"]) == ("active", None, 2)
    run = run_of(client, run_id)
    assert (run["acting_mode"], run["acting_overrides"]) == ("off", [1])
    assert run["knobs"] == [{"name": "beta", "requested": 0.1, "applied": None}]


def test_an_override_is_an_event_that_says_who_why_what_and_until_when(client, run_id):
    overridden(client, run_id, alpha=0.4)
    (event,) = events_of(client, run_id, "override_added")
    assert event["message"] == "ana: trying"
    data = event["data"]
    assert (data["actor"], data["reason"], data["number"]) == ("ana", "trying", 1)
    assert (data["old"], data["new"], data["until_step"]) == ({"alpha": 0.5}, {"alpha": 0.4}, 3)


TOO_LONG = {"expires_in_steps": MAX_OVERRIDE_STEPS + 1}, {"expires_in_s": MAX_OVERRIDE_S + 1}


@pytest.mark.parametrize(
    ("ends", "field"),
    [
        ({"expires_in_s": 60}, "expires_in_steps"),
        ({"expires_in_steps": 5}, "expires_in_s"),
        ({}, "expires_in_steps"),
        ({**ENDS, **TOO_LONG[0]}, "expires_in_steps"),
        ({**ENDS, **TOO_LONG[1]}, "expires_in_s"),
        ({**ENDS, "expires_in_steps": 0}, "expires_in_steps"),
        ({**ENDS, "expires_in_steps": 2.5}, "expires_in_steps"),
        ({**ENDS, "expires_in_steps": True}, "expires_in_steps"),
        ({**ENDS, "expires_in_s": "1h"}, "expires_in_s"),
    ],
)
def test_an_override_without_two_near_ends_is_422_and_names_the_missing_one(
    client, run_id, untouched, ends, field
):
    found = refused(
        ordered(client, run_id, "overrides", settings={"alpha": 0.4}, **ends, **WHY), 422
    )
    assert found["field"] == field
    bound = MAX_OVERRIDE_STEPS if field == "expires_in_steps" else MAX_OVERRIDE_S
    assert found["allowed"].startswith("required")
    assert f"[1, {bound}]" in found["allowed"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"settings": {}, **WHY}, "settings"),
        ({"settings": {"profile": "grpo"}, **WHY}, "settings"),
        ({"settings": {"tau": 0.4}, **WHY}, "tau"),
        ({"settings": {"kill": None}, **WHY}, "kill"),
        ({"settings": {"alpha": 7}, **WHY}, "alpha"),
        ({"settings": {"alpha": 0.4}}, "reason"),
        ({"settings": {"alpha": 0.4}, "reason": 7}, "reason"),
        ({"settings": {"alpha": 0.4}, "reason": "why", "actor": ""}, "actor"),
        ({"settings": [], **WHY}, "settings"),
        (WHY, "settings"),
    ],
)
def test_a_bad_override_is_422_and_names_the_field(client, run_id, untouched, content, field):
    found = refused(ordered(client, run_id, "overrides", **content, **ENDS), 422)
    assert found["field"] == field


def test_an_override_that_contradicts_the_settings_is_refused(client, guarded):
    found = refused(overridden(client, guarded, exit_threshold=0.4), 422)
    assert (found["field"], found["value"]) == ("exit_threshold", "0.4")
    assert "below threshold (0.3)" in found["allowed"]


def test_overrides_that_contradict_each_other_are_refused(client, guarded):
    settings_after(overridden(client, guarded, exit_threshold=0.28))
    # 0.25 is above the configured exit of 0.2, and below the overridden one.
    found = refused(overridden(client, guarded, threshold=0.25), 422)
    assert (found["field"], found["value"]) == ("exit_threshold", "0.28")
    assert run_of(client, guarded)["acting_overrides"] == [1]


def test_a_change_that_an_override_contradicts_is_refused(client, guarded):
    settings_after(overridden(client, guarded, exit_threshold=0.28))
    assert refused(patched(client, guarded, threshold=0.25), 422)["field"] == "exit_threshold"


def test_the_later_of_two_overrides_wins_until_it_ends(client, run_id):
    settings_after(overridden(client, run_id, beta=0.1))
    settings_after(overridden(client, run_id, beta=0.2))
    assert run_of(client, run_id)["knobs"][0]["requested"] == 0.2
    settings_after(ordered(client, run_id, "overrides/2/end"))
    assert run_of(client, run_id)["knobs"][0]["requested"] == 0.1


def test_after_its_last_step_an_override_is_gone_and_an_event_says_so(client, run_id):
    settings_after(overridden(client, run_id, alpha=0.4))
    # It acts at steps 1, 2 and 3.
    assert len(reported(client, run_id, 1, 2)["overrides"]) == 1
    assert run_of(client, run_id)["acting_overrides"] == [1]
    assert reported(client, run_id, 3)["overrides"] == []
    (event,) = events_of(client, run_id, "override_expired")
    assert (event["step"], event["data"]) == (3, {"number": 1, "fields": ["alpha"]})


def test_an_override_can_be_ended_before_its_time(client, run_id):
    settings_after(overridden(client, run_id, alpha=0.4))
    reply = ordered(client, run_id, "overrides/1/end", actor="bo", reason="enough")
    assert settings_after(reply)["overrides"] == []
    (event,) = events_of(client, run_id, "override_ended")
    assert event["message"] == "bo: enough"
    assert (event["data"]["old"], event["data"]["new"]) == ({"alpha": 0.4}, {"alpha": 0.5})


@pytest.mark.parametrize("number", ["2", "0", "x", "-1", "1" * 20])
def test_an_override_that_is_not_there_cannot_be_ended(client, run_id, number):
    settings_after(overridden(client, run_id, alpha=0.4))
    before = run_of(client, run_id)
    assert refused(ordered(client, run_id, f"overrides/{number}/end"), 422)["field"] == "override"
    assert run_of(client, run_id) == before


@pytest.mark.parametrize("reason", [7, ["x"], "x" * 501, " "])
def test_a_reason_that_is_no_short_text_is_refused_where_none_is_needed_too(
    client, run_id, untouched, reason
):
    for order in ("overrides/1/end", "commands"):
        content = {"command": "save"} if order == "commands" else {}
        found = refused(ordered(client, run_id, order, reason=reason, **content), 422)
        assert found["field"] == "reason"


def test_more_overrides_than_anybody_can_oversee_are_refused(client, run_id):
    for number in range(MAX_OVERRIDES):
        settings_after(overridden(client, run_id, seed=number))
    found = refused(overridden(client, run_id, seed=99), 422)
    assert (found["field"], found["value"]) == ("overrides", str(MAX_OVERRIDES))
    settings_after(ordered(client, run_id, "overrides/1/end"))
    assert settings_after(overridden(client, run_id, seed=99))["overrides"][-1]["number"] == 17


async def short_override(monitor: Monitor) -> str:
    """A run whose mode is off for 100 steps or 60 s."""
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    wanted = OverrideRequest(
        settings={"mode": "off"}, reason="lunch", expires_in_steps=100, expires_in_s=60
    )
    await monitor.control.override(run.id, wanted)
    return run.id


async def test_when_its_time_is_over_an_override_acts_no_more_even_without_a_step(monitor, clock):
    run_id = await short_override(monitor)
    clock.now_s = 1059.9
    assert (await monitor.run(run_id)).acting_mode == "off"
    clock.now_s = 1060.0
    assert (await monitor.run(run_id)).acting_mode == "active"


async def test_the_next_step_after_its_time_takes_the_override_away_and_tells(monitor, clock):
    run_id = await short_override(monitor)
    clock.now_s = 1060.0
    _, settings = await recorded(monitor, run_id, report(1))
    assert settings.overrides == ()
    kinds = [view.event.kind for view in (await monitor.events(run_id, 100)).events]
    assert kinds.count("override_expired") == 1


async def test_an_override_that_is_over_leaves_its_place_to_a_new_one(monitor, clock):
    run_id = await short_override(monitor)
    clock.now_s = 1060.0
    again = OverrideRequest(
        settings={"alpha": 0.4}, reason="why", expires_in_steps=1, expires_in_s=1
    )
    view = await monitor.control.override(run_id, again)
    assert [override.number for override in view.settings.overrides] == [2]
    added, expired, newer = [
        view.event for view in reversed((await monitor.events(run_id, 3)).events)
    ]
    assert [event.kind for event in (added, expired, newer)] == [
        *("override_added", "override_expired", "override_added"),
    ]
    assert expired.data == {"number": 1, "fields": ["mode"]}


async def test_a_resumed_run_keeps_its_override_for_the_steps_it_had_left(monitor):
    run_id = await short_override(monitor)
    for step in (1, 2, 3):
        await recorded(monitor, run_id, report(step))
    run, _ = await monitor.create(CreateRun(id=run_id, resume_from_step=1))
    # 97 of 100 steps were left; from step 1 on they end at step 98.
    assert [override.until_step for override in run.settings.overrides] == [98]
    ended = await monitor.control.end_override(run_id, 1, Order())
    assert ended.settings.overrides == ()
