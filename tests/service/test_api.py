"""Every route, over HTTP, as trainers, people and Prometheus use it."""

import re
from functools import partial
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from monitor_service import alert, resources, tokens, wire
from monitor_service.__about__ import __version__
from monitor_service.engine.collapse import matrix
from monitor_service.engine.fields import FIELDS
from monitor_service.engine.settings import TUNABLE
from monitor_service.resources import Ack, Run, StepPage
from monitor_service.wire import MSGPACK, StepReport, decode_settings, pack
from tests.servers import eventually
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id, report


def post(client: httpx.Client, run_id: str, *reports: dict[str, Any]) -> httpx.Response:
    content = list(reports) if len(reports) > 1 else reports[0]
    return client.post(f"/v1/runs/{run_id}/steps", json=content)


def patch(client: httpx.Client, run_id: str, headers: Any = None, **changes) -> httpx.Response:
    return client.patch(f"/v1/runs/{run_id}/settings", json=changes, headers=headers)


def results(reply: httpx.Response) -> list[tuple[int, str]]:
    return [(result["step"], result["status"]) for result in reply.json()["results"]]


def test_a_run_is_created_with_201_and_found_again_with_200(client):
    wanted = {"id": new_run_id(), "profile": "grpo", "settings": {"alpha": 0.4}, "tags": {"a": "b"}}
    created, found = (client.post("/v1/runs", json=wanted) for _ in range(2))
    assert (created.status_code, found.status_code) == (201, 200)
    assert created.json() == found.json() == client.get(f"/v1/runs/{wanted['id']}").json()
    run = msgspec.json.decode(created.content, type=Run)
    assert (run.id, run.settings.profile, run.settings.alpha) == (wanted["id"], "grpo", 0.4)
    assert run.tags == {"a": "b"}


def test_runs_are_listed_newest_first(client, run_id):
    newer = new_run_id()
    client.post("/v1/runs", json={"id": newer})
    assert [run["id"] for run in client.get("/v1/runs").json()["runs"]][:2] == [newer, run_id]


def test_a_report_is_answered_with_the_newest_settings(client, run_id):
    reply = post(client, run_id, body(1))
    assert reply.status_code == 200
    ack = msgspec.json.decode(reply.content, type=Ack)
    assert [(found.step, found.status) for found in ack.results] == [(1, "recorded")]
    assert (ack.settings.version, ack.settings.through_step) == (2, 1)
    assert decode_settings(msgspec.json.encode(reply.json()["settings"])) == ack.settings


def test_a_repeated_report_is_a_duplicate_and_no_error(client, run_id):
    first, second = (post(client, run_id, body(1)) for _ in range(2))
    assert (second.status_code, results(second)) == (200, [(1, "duplicate")])
    assert second.json()["settings"] == first.json()["settings"]


def test_ragged_groups_with_unscored_completions_are_fine(client, run_id):
    rewards = [[1, 0], [0, 0, 0, 0, 0], [None, 1.0, 1.0], [None, 0.5]]
    assert post(client, run_id, {"step": 1, "rewards": rewards}).status_code == 200
    figures = client.get(f"/v1/runs/{run_id}").json()["last"]["collapse"]
    # Mixed; all wrong; all correct; one scored completion says nothing.
    counts = ("mixed", "all_wrong", "all_correct", "unscored", "num_groups", "num_completions")
    assert [figures[name] for name in counts] == [1, 1, 1, 1, 3, 2 + 5 + 2 + 1]
    assert figures["acr"] == pytest.approx(2 / 3)


def test_a_list_of_reports_is_taken_in_order(client, run_id):
    reply = post(client, run_id, body(1), body(2), body(4))
    assert results(reply) == [(1, "recorded"), (2, "recorded"), (4, "recorded")]
    assert reply.json()["settings"]["through_step"] == 4


def test_a_list_with_a_conflict_says_what_became_of_each_and_keeps_the_good_ones(client, run_id):
    post(client, run_id, body(1))
    reply = post(client, run_id, body(1, optimizer_step=9), body(1), body(2))
    assert reply.status_code == 409
    assert results(reply) == [(1, "conflict"), (1, "duplicate"), (2, "recorded")]
    assert "other content" in reply.json()["results"][0]["detail"]
    assert client.get(f"/v1/runs/{run_id}").json()["step"] == 2


@pytest.mark.parametrize("dtype", ["<f8", "<f4"])
def test_packed_msgpack_says_the_same_as_json(client, run_id, dtype):
    rewards = matrix([MIXED, WRONG, [1.0, None], CORRECT])
    data = {"shape": rewards.shape, "dtype": dtype, "data": rewards.astype(dtype).tobytes()}
    packed = msgspec.msgpack.encode({"step": 1, "rewards": data})
    path = f"/v1/runs/{run_id}/steps"
    reply = client.post(path, content=packed, headers={"content-type": MSGPACK})
    assert (reply.status_code, results(reply)) == (200, [(1, "recorded")])
    padded = [MIXED, WRONG, [1.0, None, None, None], CORRECT]
    assert results(post(client, run_id, {"step": 1, "rewards": padded})) == [(1, "duplicate")]


def test_a_list_of_packed_reports_is_taken_too(client, run_id):
    rewards = pack(np.array([MIXED, WRONG]))
    reports = [StepReport(step=step, rewards=rewards) for step in (1, 2)]
    reply = client.post(
        f"/v1/runs/{run_id}/steps",
        content=msgspec.msgpack.encode(reports),
        headers={"content-type": f"{MSGPACK}; version=1"},
    )
    assert results(reply) == [(1, "recorded"), (2, "recorded")]


def test_a_body_without_a_content_type_is_refused_as_browsers_send_it_unasked(client, run_id):
    content = msgspec.json.encode(report(1))
    request = client.build_request("POST", f"/v1/runs/{run_id}/steps", content=content)
    assert "content-type" not in request.headers
    assert client.send(request).status_code == 415


def test_history_is_paged(client, run_id):
    post(client, run_id, *(body(step) for step in range(1, 6)))
    path = f"/v1/runs/{run_id}/steps"
    pages: list[list[int]] = []
    at: int | None = 1
    while at is not None:
        page = msgspec.json.decode(
            client.get(path, params={"from": at, "limit": 2}).content, type=StepPage
        )
        pages.append([record.step for record in page.steps])
        at = page.next_from
    assert pages == [[1, 2], [3, 4], [5]]
    some = client.get(path, params={"from": 2, "to": 3}).json()
    assert [record["step"] for record in some["steps"]] == [2, 3]
    assert some["next_from"] is None


def test_events_are_newest_first_and_limited(client, run_id):
    post(client, run_id, body(3))
    path = f"/v1/runs/{run_id}/events"
    assert [view["event"]["kind"] for view in client.get(path).json()["events"]] == [
        *("acr_source_fallback", "gap", "created")
    ]
    (newest,) = client.get(path, params={"limit": 1}).json()["events"]
    assert newest["event"]["kind"] == "acr_source_fallback"


def test_settings_have_an_etag_that_people_move_and_steps_do_not(client, run_id):
    path = f"/v1/runs/{run_id}/settings"
    assert client.get(path).headers["etag"] == '"r1"'
    post(client, run_id, body(1))
    assert client.get(path).headers["etag"] == '"r1"'
    reply = patch(client, run_id, threshold=0.3, reason="too many", actor="ana")
    assert (reply.status_code, reply.headers["etag"]) == (200, '"r2"')
    assert reply.json() == client.get(path).json()
    assert reply.json()["settings"]["threshold"] == 0.3
    assert reply.json()["changed"]["actor"] == "ana"


@pytest.mark.parametrize("match", ['"r1"', "r1", "*", None])
def test_a_change_of_what_was_seen_is_made(client, run_id, match):
    headers = {"if-match": match} if match else {}
    reply = patch(client, run_id, headers, alpha=0.4, reason="why")
    assert (reply.status_code, reply.json()["changed"]["actor"]) == (200, "api")


def test_a_stale_etag_is_412_with_the_settings_as_they_are(client, run_id):
    patch(client, run_id, alpha=0.4, reason="first", actor="ana")
    reply = patch(client, run_id, {"if-match": '"r1"'}, alpha=0.6, reason="second")
    assert reply.status_code == 412
    assert reply.json()["settings"]["alpha"] == 0.4
    assert reply.json()["settings"]["revision"] == 2
    assert "ana changed alpha: first" in reply.json()["detail"]


def test_a_resumed_run_gets_an_attempt_and_the_old_one_a_409(client, run_id):
    post(client, run_id, body(1), body(2))
    reply = client.post("/v1/runs", json={"id": run_id, "resume_from_step": 1})
    assert reply.status_code == 200
    assert (reply.json()["attempt"], reply.json()["step"]) == (2, 1)
    old, new = post(client, run_id, body(2)), post(client, run_id, body(2, attempt=2))
    assert (old.status_code, results(old)) == (409, [(2, "conflict")])
    assert "attempt 1" in old.json()["detail"]
    assert (new.status_code, results(new)) == (200, [(2, "recorded")])


def test_probes_answer(client):
    healthy, ready = client.get("/healthz"), client.get("/readyz")
    assert (healthy.status_code, healthy.json()) == (200, {"status": "ok", "version": __version__})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "version": __version__})


def test_where_no_token_is_needed_everybody_may_do_everything(client):
    assert client.get("/v1/me").json() == {
        "name": None,
        "scopes": ["read", "report", "control"],
        "runs": "*",
        "is_token_needed": False,
    }


def test_every_setting_is_listed_for_forms(client):
    listed = {field["name"]: field for field in client.get("/v1/fields").json()["fields"]}
    assert listed.keys() == set(TUNABLE)
    about = listed["max_advantage"].pop("about")
    assert "higher allows a harder push" in about
    assert listed["max_advantage"] == {
        "name": "max_advantage",
        "group": "limits",
        "kind": "number",
        "low": 0,
        "high": 1,
        "is_low_allowed": False,
        "choices": [],
        "is_nullable": True,
        "default": None,
        "is_knob": False,
        "is_overridable": True,
    }


def test_a_change_in_the_openapi_document_has_the_ranges_of_the_settings(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    change = schemas["SettingsChange"]["properties"]
    assert change["alpha"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "description": next(field.about for field in FIELDS if field.name == "alpha"),
    }
    assert change["prompt_budget"]["type"] == ["integer", "null"]
    assert change["mode"]["enum"] == ["off", "shadow", "active"]
    assert schemas["Settings"]["properties"]["alpha"]["default"] == 0.5


def shows(client: httpx.Client, line: str) -> bool:
    return line in client.get("/metrics").text


def test_metrics_show_every_run_as_it_stood_a_second_ago_or_less(client, run_id):
    for step in (1, 2):
        post(client, run_id, body(step))
        shown = f'acr_step{{run="{run_id}"}} {step}\n'
        eventually(partial(shows, client, shown), "the step is shown")
        reply = client.get("/metrics")
        assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        # Two of four groups collapsed.
        assert f'acr_ratio{{run="{run_id}"}} 0.5\n' in reply.text


def refs(node: Any) -> set[str]:
    if isinstance(node, dict):
        here = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return here.union(*map(refs, node.values()))
    return set().union(*map(refs, node)) if isinstance(node, list) else set()


def test_the_openapi_document_names_every_answer_and_every_reference_in_it_resolves(client):
    document = client.get("/openapi.json").json()
    assert client.get("/docs").status_code == 200
    assert "201" in document["paths"]["/v1/runs/{run_id}/overrides"]["post"]["responses"]
    found = refs(document)
    assert "#/components/schemas/StepReport" in found
    for ref in found:
        node = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]
        assert node
    for path, operations in document["paths"].items():
        names = set(re.findall(r"{(\w+)}", path))
        for operation in operations.values():
            listed = [found["name"] for found in operation.get("parameters", [])]
            assert len(listed) == len(set(listed))
            assert names <= set(listed)
            assert all(status.isdigit() for status in operation["responses"])
            refusals = {"401", "403", "429", "503"} if path != "/healthz" else set()
            assert refusals <= operation["responses"].keys()


def test_every_example_in_the_openapi_document_is_of_its_type(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    types = {**vars(wire), **vars(resources), **vars(alert), **vars(tokens)}
    found = {name: schema["examples"] for name, schema in schemas.items() if "examples" in schema}
    assert {"Run", "StepReport", "Order", "SettingsChange", "AlertsView", "Me"} <= found.keys()
    for name, (example,) in found.items():
        if name in types:
            assert msgspec.convert(example, types[name])
