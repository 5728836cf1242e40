"""The audit trail: who ordered what, from where and why, and the step from which it acted."""

from typing import Any

import httpx
import pytest
import redis

from monitor_service.engine.changes import MAX_UNAPPLIED
from monitor_service.requests import Order
from monitor_service.resources import Origin
from monitor_service.store.keys import RunKeys
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
from tests.service.reports import new_run_id

ENDS = {"expires_in_steps": 9, "expires_in_s": 60}


def trail(client: httpx.Client, run_id: str, **query: Any) -> list[dict[str, Any]]:
    """What people ordered, newest first."""
    reply = client.get(f"/v1/runs/{run_id}/settings/history", params=query)
    assert reply.is_success, reply.text
    found: list[dict[str, Any]] = reply.json()["orders"]
    return found


def version_of(client: httpx.Client, run_id: str) -> int:
    version: int = run_of(client, run_id)["settings"]["version"]
    return version


def test_a_change_is_kept_with_who_when_where_why_and_what_it_was(client, run_id):
    reported(client, run_id, 1)
    told = client.patch(
        f"/v1/runs/{run_id}/settings",
        json={"alpha": 0.4, "reason": "too strong", "actor": "ana"},
        headers={"user-agent": "curl/8.1\t" + "x" * 200},
    )
    settings_after(told)
    (order,) = trail(client, run_id)
    assert (order["actor"], order["reason"]) == ("ana", "too strong")
    assert (order["kind"], order["step"]) == ("settings_changed", 1)
    assert (order["old"], order["new"]) == ({"alpha": 0.5}, {"alpha": 0.4})
    assert order["version"] == version_of(client, run_id)
    assert abs(order["at_s"] - run_of(client, run_id)["changed"]["at_s"]) < 1e-6
    # 120 characters, without the tab: 8 of "curl/8.1", so 112 of the rest.
    client_name = "curl/8.1" + "x" * 112
    origin = {"address": "127.0.0.1", "token": None, "client": client_name}
    assert order["origin"] == run_of(client, run_id)["changed"]["origin"] == origin


def test_the_step_from_which_an_order_acts_is_the_first_that_was_made_with_it(client, run_id):
    reported(client, run_id, 1, applied=applied(settings_version=1))
    settings_after(patched(client, run_id, alpha=0.4))
    version = version_of(client, run_id)
    reported(client, run_id, 2, applied=applied(settings_version=version - 1))
    assert trail(client, run_id)[0]["applied_step"] is None
    reported(client, run_id, 3, 4, applied=applied(settings_version=version + 1))
    assert trail(client, run_id)[0]["applied_step"] == 3
    (effect,) = events_of(client, run_id, "change_applied")
    assert effect["data"] == {"version": version, "settings_version": version + 1, "ignored": {}}


def test_what_the_trainer_ignores_of_an_order_is_said_with_it_and_nothing_else(client, run_id):
    settings_after(patched(client, run_id, beta=0.1, alpha=0.4))
    settings_after(patched(client, run_id, eta=0.02))
    ignored = {
        "beta": {"status": "ignored", "reason": "no reference model"},
        "temperature": {"status": "ignored", "reason": "not ours"},
    }
    reported(client, run_id, 1, applied=applied(settings_version=9, knobs=ignored))
    later, earlier = trail(client, run_id)
    assert earlier["ignored"] == {"beta": "no reference model"}
    assert (later["ignored"], later["applied_step"], earlier["applied_step"]) == ({}, 1, 1)


def test_settings_that_the_trainer_holds_and_does_not_follow_are_said_to_be_ignored(client, run_id):
    settings_after(patched(client, run_id, alpha=0.4))
    reported(client, run_id, 1, applied=applied(settings_version=2, note="too old"))
    assert trail(client, run_id)[0]["ignored"] == {"settings": "too old"}


def test_every_kind_of_order_is_on_the_trail_newest_first(client, run_id):
    settings_after(patched(client, run_id, alpha=0.4))
    for order, content in (
        ("overrides", {"settings": {"seed": 1}, **ENDS}),
        ("overrides/1/end", {}),
        ("kill", {}),
        ("rearm", {}),
        ("commands", {"command": "save"}),
    ):
        settings_after(ordered(client, run_id, order, reason="why", **content))
    found = trail(client, run_id)
    assert [order["kind"] for order in found] == [
        *("command_given", "rearmed", "killed"),
        *("override_ended", "override_added", "settings_changed"),
    ]
    assert [order["number"] for order in found] == [None, None, None, 1, 1, None]
    assert all(order["origin"]["address"] == "127.0.0.1" for order in found)
    assert all(order["old"] != order["new"] for order in found)
    versions = [order["version"] for order in found]
    assert versions == sorted(versions, reverse=True)


def test_a_kill_file_is_on_the_trail_too_and_has_acted_when_it_is_told(client, run_id):
    reported(client, run_id, 1, applied=applied(killed_after_rearms=0))
    (order,) = trail(client, run_id)
    assert (order["kind"], order["actor"], order["origin"]) == ("killed", "kill file", None)
    assert (order["version"], order["applied_step"]) == (None, 1)
    assert order["new"]["kill"]["reason"] == "found next to the trainer"


def test_the_trail_comes_in_pages_each_order_with_its_effect(client, run_id):
    for number in range(7):
        settings_after(patched(client, run_id, seed=number, reason=f"order {number}"))
        if number == 3:
            reported(client, run_id, 1, applied=applied(settings_version=5))
    reported(client, run_id, 2, applied=applied(settings_version=9))
    whole = trail(client, run_id)
    # Orders 0 to 3 are versions 2 to 5, step 1 is 6, orders 4 to 6 are 7 to 9.
    assert [order["applied_step"] for order in whole] == [2, 2, 2, 1, 1, 1, 1]
    paged, before = [], None
    while True:
        query = {"limit": 2} | ({"before": before} if before else {})
        page = client.get(f"/v1/runs/{run_id}/settings/history", params=query).json()
        paged += page["orders"]
        before = page["next"]
        if before is None:
            break
    assert paged == whole
    assert [order["reason"] for order in whole] == [
        f"order {number}" for number in range(6, -1, -1)
    ]


def test_of_many_orders_nobody_heard_of_only_the_newest_are_waited_for(client, run_id):
    for number in range(MAX_UNAPPLIED + 2):
        settings_after(patched(client, run_id, seed=number))
    reported(client, run_id, 1, applied=applied(settings_version=2 + MAX_UNAPPLIED + 2))
    found = trail(client, run_id)
    assert [order["applied_step"] for order in found] == [1] * MAX_UNAPPLIED + [None] * 2
    # The same on a page of which nothing ever acted, with what acted after it.
    assert trail(client, run_id, before=found[-3]["id"]) == found[-2:]


def test_the_trail_has_a_stream_of_its_own_that_alarms_do_not_push_out(client, run_id, redis_url):
    settings_after(patched(client, run_id, alpha=0.4))
    reported(client, run_id, 1, 5, applied=applied(settings_version=2))
    with redis.Redis.from_url(redis_url) as server:
        assert server.xlen(RunKeys(run_id).changes) == 2
        assert server.xlen(RunKeys(run_id).events) > 2
        server.delete(RunKeys(run_id).events)
    assert [order["applied_step"] for order in trail(client, run_id)] == [1]


def test_a_resume_keeps_waiting_for_what_was_ordered(client, run_id):
    reported(client, run_id, 1, 2)
    settings_after(patched(client, run_id, alpha=0.4))
    version = version_of(client, run_id)
    client.post("/v1/runs", json={"id": run_id, "resume_from_step": 1})
    assert trail(client, run_id)[0]["applied_step"] is None
    reported(client, run_id, 2, attempt=2, applied=applied(settings_version=version))
    assert trail(client, run_id)[0]["applied_step"] == 2


@pytest.mark.parametrize("query", [{"before": "x"}, {"before": "1"}, {"limit": 0}, {"limit": 1001}])
def test_a_page_of_the_trail_that_cannot_be_is_refused(client, run_id, query):
    (name,) = query
    reply = client.get(f"/v1/runs/{run_id}/settings/history", params=query)
    assert refused(reply, 422)["field"] == name


def test_the_trail_of_a_run_that_is_not_there_is_not_found(client):
    refused(client.get(f"/v1/runs/{new_run_id()}/settings/history"), 404)


async def test_without_an_actor_the_name_of_the_token_counts_and_without_one_api(monitor):
    run_id = new_run_id()
    await monitor.create(CreateRun(id=run_id))
    origin = Origin(address="10.1.2.3", token="ci", client="acr")
    by_token = monitor.control.by(origin)
    await by_token.kill(run_id, Order())
    await by_token.rearm(run_id, Order(reason="why", actor="ana"))
    await monitor.control.kill(run_id, Order())
    orders = (await monitor.orders(run_id, 10)).orders
    assert [order.actor for order in orders] == ["api", "ana", "ci"]
    assert [order.origin for order in orders] == [Origin(), origin, origin]
    settings = (await monitor.settings(run_id)).settings
    assert settings.kill is not None
    assert settings.kill.actor == "api"
