"""What new runs start with: precedence, who changed it, and what is refused."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from monitor_service.store.keys import DEFAULTS
from tests.service.problems import refused
from tests.service.reports import new_run_id

PATH = "/v1/defaults"


@pytest.fixture(autouse=True)
def server(redis_url: str) -> Iterator[redis.Redis]:
    """Other tests create runs too, and want the defaults that the service comes with."""
    with redis.Redis.from_url(redis_url) as client:
        client.delete(DEFAULTS)
        yield client
        client.delete(DEFAULTS)


def changed(client: httpx.Client, **wanted: Any) -> dict[str, Any]:
    reply = client.patch(PATH, json={"reason": "why", "actor": "ana", **wanted})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def settings_of_new(client: httpx.Client, **wanted: Any) -> dict[str, Any]:
    reply = client.post("/v1/runs", json={"id": new_run_id(), **wanted})
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()["settings"]
    return found


def test_the_service_comes_with_the_papers_profile_and_nothing_on_top(client):
    reply = client.get(PATH)
    assert reply.json() == {"profile": "paper", "settings": {}, "revision": 1, "changed": None}
    assert reply.headers["etag"] == '"r1"'
    assert settings_of_new(client)["profile"] == "paper"


def test_a_run_that_asks_for_nothing_starts_with_them(client):
    changed(client, profile="guarded", settings={"mode": "shadow", "max_group_fraction": 0.25})
    found = settings_of_new(client)
    assert (found["profile"], found["controller"]) == ("guarded", "guarded")
    assert (found["mode"], found["max_group_fraction"]) == ("shadow", 0.25)


def test_what_a_run_asks_for_wins(client):
    changed(client, profile="guarded", settings={"alpha": 0.3, "scale_wrong": 0.7})
    found = settings_of_new(client, settings={"alpha": 0.9})
    assert (found["profile"], found["alpha"], found["scale_wrong"]) == ("guarded", 0.9, 0.7)
    found = settings_of_new(client, profile="paper")
    assert (found["profile"], found["controller"]) == ("paper", "paper")
    assert (found["alpha"], found["scale_wrong"]) == (0.3, 0.7)


def test_a_run_that_names_its_profile_keeps_its_mode(client):
    changed(client, profile="paper", settings={"mode": "active", "beta": 0.04})
    # As trainers do that are to be measured and not touched.
    found = settings_of_new(client, profile="grpo")
    assert (found["mode"], found["beta"]) == ("off", 0.04)
    assert settings_of_new(client, profile="observe")["mode"] == "shadow"


def test_runs_that_exist_stay_as_they_are(client, run_id):
    before = client.get(f"/v1/runs/{run_id}").json()
    changed(client, profile="guarded", settings={"alpha": 0.3})
    assert client.post("/v1/runs", json={"id": run_id}).json() == before


def test_a_change_says_who_when_why_from_where_and_what_it_was_before(client):
    changed(client, profile="guarded")
    found = changed(client, settings={"alpha": 0.3}, actor="ben", reason="too much")
    assert found == client.get(PATH).json()
    assert (found["profile"], found["revision"]) == ("guarded", 3)
    change = found["changed"]
    assert (change["actor"], change["reason"]) == ("ben", "too much")
    assert (change["old"], change["new"]) == ({"settings": {}}, {"settings": {"alpha": 0.3}})
    assert change["origin"]["address"] == "127.0.0.1"
    assert change["at_s"] > 0


def test_settings_are_replaced_whole(client):
    changed(client, settings={"alpha": 0.3, "beta": None})
    assert changed(client, settings={"seed": 4})["settings"] == {"seed": 4}


def test_a_change_of_what_somebody_else_has_changed_is_412(client):
    changed(client, profile="guarded")
    wanted = {"profile": "paper", "reason": "why"}
    reply = client.patch(PATH, json=wanted, headers={"if-match": '"r1"'})
    assert (reply.status_code, reply.json()["type"]) == (412, "urn:acr:error:revision-conflict")
    assert "ana changed profile: why" in reply.json()["detail"]
    reply = client.patch(PATH, json=wanted, headers={"if-match": '"r2"'})
    assert (reply.status_code, reply.headers["etag"]) == (200, '"r3"')


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"profile": "guarded"}, "reason"),
        ({"reason": "why"}, "defaults"),
        ({"reason": "why", "profile": "papyrus"}, "profile"),
        ({"reason": "why", "settings": {"alpha": 2}}, "alpha"),
        ({"reason": "why", "settings": {"version": 2}}, "version"),
        ({"reason": "why", "settings": {"profile": "paper"}}, "settings.profile"),
        # guarded enters at 0.3.
        ({"reason": "why", "profile": "guarded", "settings": {"exit_threshold": 0.4}}, None),
        ({"reason": "why", "setting": {}}, "setting"),
    ],
)
def test_what_is_no_valid_start_is_refused_by_field_and_changes_nothing(client, wanted, field):
    before = client.get(PATH).json()
    reply = client.patch(PATH, json=wanted)
    assert refused(reply, 422)["field"] == (field or "exit_threshold")
    assert client.get(PATH).json() == before


def test_a_run_that_contradicts_them_is_told_that_they_are_a_part_of_it(client):
    changed(client, profile="paper", settings={"exit_threshold": 0.4})
    run = {"id": new_run_id(), "profile": "guarded", "settings": {"alpha": 0.4}}
    reply = client.post("/v1/runs", json=run)
    assert (reply.status_code, reply.json()["field"]) == (422, "settings")
    assert "GET /v1/defaults" in reply.json()["detail"]
    assert "exit_threshold" in reply.json()["detail"]
    assert client.get(f"/v1/runs/{run['id']}").status_code == 404
    # What is wrong in itself is not put down to them.
    bad = client.post("/v1/runs", json={"id": new_run_id(), "settings": {"alpha": 2}})
    assert (bad.status_code, bad.json()["field"]) == (422, "alpha")


def test_junk_in_their_place_is_named_and_keeps_no_known_run_from_starting(client, run_id, server):
    server.set(DEFAULTS, b"junk")
    assert client.get(PATH).status_code == 500
    assert client.post("/v1/runs", json={"id": run_id}).status_code == 200
    assert client.post("/v1/runs", json={"id": new_run_id()}).status_code == 500
