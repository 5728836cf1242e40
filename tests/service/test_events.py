"""The stream of a run: every kind of event happens, and each is written with what it tells."""

from typing import Any

import pytest
import redis

from monitor_service.engine.events import KINDS
from monitor_service.engine.health import alarms as health
from monitor_service.engine.health.rules import RULES
from monitor_service.store.keys import RunKeys
from tests.servers import everything
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
from tests.service.test_strange_figures import BROKEN

ENDS = {"expires_in_steps": 1, "expires_in_s": 60}


def eventful(client, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that can happen to a run."""

    def order(name: str, **content: Any) -> None:
        settings_after(ordered(client, run_id, name, reason="why", actor="ana", **content))

    ignored = {"status": "ignored", "reason": "no"}
    brief = {"min_groups_per_unit": 64}
    client.post("/v1/runs", json={"id": run_id, "settings": brief})
    # One scored group of four, and one reward that no arithmetic can use.
    reported(client, run_id, 1, rewards=[[1, 0, 1, 0], [1e13, 1.0, 0.0, 1.0]])
    settings_after(patched(client, run_id, profile="guarded"))
    order("overrides", settings={"seed": 1}, **ENDS)
    order("overrides", settings={"seed": 2}, **{**ENDS, "expires_in_steps": 9})
    order("overrides/2/end")
    order("commands", command="save")
    # Step 2 was never reported; with 64 wrong groups the controller enters.
    one, two = ({"beta": ignored}, {"beta": ignored, "temperature": ignored})
    reported(client, run_id, 3, rewards=[WRONG] * 64, applied=applied(command=1, knobs=one))
    reported(client, run_id, 4, applied=applied(knobs=one))
    reported(client, run_id, 5, applied=applied(knobs=two))
    reported(client, run_id, 6, 7, applied=applied(settings_version=99))
    order("kill")
    order("rearm")
    with monkeypatch.context() as patch:
        patch.setattr(health, "RULES", (BROKEN,))
        reported(client, run_id, 8)
    content = {"accuracy": 0.4, "benchmark": f"of {run_id}"}
    assert ordered(client, run_id, "result", **content).is_success
    assert ordered(client, run_id, "end", attempt=1).is_success
    client.post("/v1/runs", json={"id": run_id, "resume_from_step": 8})
    assert client.patch(f"/v1/runs/{run_id}", json={"notes": "strange"}).is_success
    assert client.delete(f"/v1/runs/{run_id}").is_success
    assert client.post(f"/v1/runs/{run_id}/restore", json={}).is_success


def test_every_kind_of_event_happens_and_no_other(client, monkeypatch):
    run_id = new_run_id()
    eventful(client, run_id, monkeypatch)
    events = events_of(client, run_id)
    assert {event["kind"] for event in events} == set(KINDS)
    assert all(event["message"] for event in events)


def test_what_people_ordered_says_who_why_and_what_it_was_before(client, monkeypatch):
    run_id = new_run_id()
    eventful(client, run_id, monkeypatch)
    kinds = ("settings_changed", "override_added", "override_ended", "command_given", "killed")
    found = events_of(client, run_id, *kinds, "rearmed")
    assert {event["kind"] for event in found} == {*kinds, "rearmed"}
    for event in found:
        data = event["data"]
        assert {"actor", "reason", "version", "old", "new"} <= data.keys()
        assert data["reason"] == "why"
        assert data["old"].keys() == data["new"].keys()
        assert data["old"] != data["new"]
    # Each order is a version of its own.
    assert len({event["data"]["version"] for event in found}) == len(found)


def test_an_order_that_is_refused_writes_nothing_at_all(client, run_id, redis_url):
    settings_after(ordered(client, run_id, "overrides", settings={"seed": 1}, reason="x", **ENDS))
    before = everything(redis_url)
    for name, content in (
        ("overrides", {"settings": {"alpha": 7}, "reason": "why", **ENDS}),
        ("overrides", {"settings": {"alpha": 0.4}, **ENDS}),
        ("overrides/7/end", {}),
        ("kill", {"reason": 7}),
        ("rearm", {}),
        ("commands", {"command": "explode"}),
        ("result", {"accuracy": 2, "benchmark": "x"}),
    ):
        refused(ordered(client, run_id, name, **content), 422)
    refused(ordered(client, run_id, "end", attempt=9), 409)
    assert everything(redis_url) == before


def test_an_order_is_written_whole_settings_event_and_publication(client, run_id, redis_url):
    keys = RunKeys(run_id)
    with (
        redis.Redis.from_url(redis_url) as server,
        server.pubsub(ignore_subscribe_messages=True) as listener,
    ):
        listener.subscribe(keys.settings_channel)
        listener.get_message(timeout=5)  # the subscription itself
        before = server.xlen(keys.events)
        kill = settings_after(ordered(client, run_id, "kill", actor="ana"))
        assert listener.get_message(timeout=5)["data"] == server.get(keys.settings)
        assert server.xlen(keys.events) == before + 1
    (event,) = events_of(client, run_id, "killed")
    assert (
        event["data"]["version"] == kill["version"] == run_of(client, run_id)["settings"]["version"]
    )


def test_a_rule_that_was_removed_does_not_hide_the_rest(client, run_id, monkeypatch):
    ignored = {"beta": {"status": "ignored", "reason": "no"}}
    reported(client, run_id, 1, 2, applied=applied(knobs=ignored))
    assert [one["rule"] for one in run_of(client, run_id)["verdicts"]] == ["settings_ignored"]
    kept = {rule.name: rule for rule in RULES if rule.name != "settings_ignored"}
    monkeypatch.setattr(health, "RULE", kept)
    assert run_of(client, run_id)["verdicts"] == []


def pages(client, run_id: str, *, start: str, **query: Any) -> list[list[dict[str, Any]]]:
    """All pages of a run's events; `start` is before or after."""
    found, at = [], query.pop(start, None)
    while True:
        asked = query | ({start: at} if at else {})
        page = client.get(f"/v1/runs/{run_id}/events", params=asked).json()
        found.append(page["events"])
        at = page["next"]
        if at is None:
            return found


def gaps(client, run_id: str, count: int) -> list[dict[str, Any]]:
    """Every event of a run with so many gaps, newest first."""
    reported(client, run_id, *range(2, 2 * count + 1, 2))
    return client.get(f"/v1/runs/{run_id}/events", params={"limit": 1000}).json()["events"]


def test_events_come_in_pages_newest_first_each_of_them_once(client, run_id):
    everything_told = gaps(client, run_id, 5)
    found = pages(client, run_id, start="before", limit=3)
    assert [event for page in found for event in page] == everything_told
    assert all(len(page) == 3 for page in found[:-1])


def test_who_has_seen_an_event_gets_the_later_ones_oldest_first(client, run_id):
    everything_told = gaps(client, run_id, 5)
    seen, later = everything_told[-1], everything_told[-2::-1]
    found = pages(client, run_id, start="after", after=seen["id"], limit=2)
    assert [event for page in found for event in page] == later
    assert pages(client, run_id, start="after", after=later[-1]["id"]) == [[]]
    assert pages(client, run_id, start="after", after="0-0") == [[seen, *later]]


def test_events_of_some_kinds_fill_pages_of_their_own(client, run_id):
    gaps(client, run_id, 5)
    kinds = ["gap", "created"]
    found = pages(client, run_id, start="before", kind=kinds, limit=2)
    assert [[event["event"]["kind"] for event in page] for page in found] == [
        *(["gap", "gap"], ["gap", "gap"], ["gap", "created"]),
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"before": "yesterday"}, "before"),
        ({"after": "1-2-3"}, "after"),
        ({"after": "1-2\n"}, "after"),
        ({"before": "1-0", "after": "1-0"}, "after"),
        ({"after": f"{2**64 - 1}-{2**64 - 1}"}, "after"),
        ({"before": "0-0"}, "before"),
        ({"kind": "explosion"}, "kind"),
        ({"kind": ["gap", ""]}, "kind"),
        ({"limit": "many"}, "limit"),
    ],
)
def test_a_page_of_events_that_cannot_be_is_refused(client, run_id, query, field):
    problem = refused(client.get(f"/v1/runs/{run_id}/events", params=query), 422)
    assert problem["field"] == field
    assert problem["allowed"]
