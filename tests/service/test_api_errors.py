"""What is refused, with which status and in which words; and that a refusal writes nothing."""

from typing import Any

import httpx
import msgspec
import pytest
import redis

from monitor_service import errors
from monitor_service.api.app import create_api
from monitor_service.api.errors import NOT_FROM_REQUESTS, STATUS, problem
from monitor_service.store.keys import RunKeys
from monitor_service.wire import MAX_REPORTS, MSGPACK, RUN_ID_WORDS
from tests.service.problems import refused
from tests.service.reports import body, new_run_id

NAN, INF = float("nan"), float("inf")


def applied(**fields) -> dict[str, Any]:
    needed = {"settings_version": 1, "through_step": 0, "mode": "active", "threshold": 0.5}
    return {**needed, "triggered": True, **fields}


BAD_JSON = {
    "no rewards": ({"step": 1}, "rewards"),
    "no groups": ({"step": 1, "rewards": []}, "rewards"),
    "an empty group": ({"step": 1, "rewards": [[1, 0], []]}, "rewards[1]"),
    "a text as reward": ({"step": 1, "rewards": [[1, "0"]]}, "rewards[0][1]"),
    "a boolean as reward": ({"step": 1, "rewards": [[True]]}, "rewards[0][0]"),
    "groups that are no lists": ({"step": 1, "rewards": [1, 0]}, "rewards[0]"),
    "an unknown field": (body(1, reward=1), "reward"),
    "an unknown scalar": (body(1, scalars={"entropie": 1}), "scalars.entropie"),
    "a text as scalar": (body(1, scalars={"entropy": "high"}), "scalars.entropy"),
    "a newer schema": (body(1, schema=2), "schema"),
    "step 0": (body(0), "step"),
    "a negative step": (body(-1), "step"),
    "a fractional step": (body(1.5), "step"),
    "a step beyond 2**53": (body(2**53 + 1), "step"),
    "attempt 0": (body(1, attempt=0), "attempt"),
    "a negative count": (body(1, applied=applied(injected_wrong=-1)), "applied.injected_wrong"),
    "a rate above 1": (body(1, applied=applied(effective_acr=1.1)), "applied.effective_acr"),
    "an unknown mode": (body(1, applied=applied(mode="on")), "applied.mode"),
    "another shape": (body(1, primary=[[1, 0]]), "primary"),
    "no report": ([], "body"),
    "too many reports": ([body(n) for n in range(1, MAX_REPORTS + 2)], "body"),
    "a number": (7, "body"),
}


@pytest.mark.parametrize(("content", "field"), BAD_JSON.values(), ids=BAD_JSON)
def test_a_bad_report_is_422_and_names_the_field(client, untouched, content, field):
    found = refused(client.post(f"{untouched}/steps", json=content), 422)
    assert found["field"] == field
    assert found["allowed"]
    assert found["value"]


def test_one_bad_report_in_a_list_refuses_the_list(client, untouched):
    reports = [body(1), {"step": 2, "rewards": [[1, 0], []]}]
    assert refused(client.post(f"{untouched}/steps", json=reports), 422)["field"] == "rewards[1]"


BAD_PACKED = {
    "no groups": ({"shape": [0, 4], "dtype": "<f8", "data": b""}, "rewards"),
    "no completions": ({"shape": [4, 0], "dtype": "<f8", "data": b""}, "rewards"),
    # 2 groups of 3 float64 are 2 * 3 * 8 = 48 bytes.
    "too few bytes": ({"shape": [2, 3], "dtype": "<f8", "data": b"\0" * 47}, "rewards.data"),
    "big-endian": ({"shape": [1, 1], "dtype": ">f8", "data": b"\0" * 8}, "rewards.dtype"),
    "three dimensions": ({"shape": [1, 1, 1], "dtype": "<f8", "data": b"\0" * 8}, "rewards.shape"),
}


@pytest.mark.parametrize(("rewards", "field"), BAD_PACKED.values(), ids=BAD_PACKED)
def test_bad_packed_rewards_are_422_and_name_the_field(client, untouched, rewards, field):
    content = msgspec.msgpack.encode({"step": 1, "rewards": rewards})
    reply = client.post(f"{untouched}/steps", content=content, headers={"content-type": MSGPACK})
    assert refused(reply, 422)["field"] == field


@pytest.mark.parametrize("number", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["advantage_abs_max", "threshold", "virtual_mass_fraction"])
def test_a_figure_that_is_not_finite_is_refused(client, untouched, name, number):
    content = msgspec.msgpack.encode(body(1, applied=applied(**{name: number})))
    reply = client.post(f"{untouched}/steps", content=content, headers={"content-type": MSGPACK})
    assert refused(reply, 422)["field"] == f"applied.{name}"


def test_rewards_and_scalars_that_are_not_finite_are_taken_as_absent(client, run_id):
    content = body(1, rewards=[[1.0, NAN, INF], [0.0, -INF, 1.0]], scalars={"kl": NAN, "loss": INF})
    reply = client.post(
        f"/v1/runs/{run_id}/steps",
        content=msgspec.msgpack.encode(content),
        headers={"content-type": MSGPACK},
    )
    assert reply.status_code == 200
    run = client.get(f"/v1/runs/{run_id}").json()
    # The first group has one finite reward, the second two; two infinities are counted.
    assert (run["counters"]["unscored"], run["counters"]["mixed"]) == (1, 1)
    assert run["counters"]["invalid_rewards"] == 2
    assert run["last"]["scalars"] == {}


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", "application/json"),
        (b'{"step":1', "application/json"),
        (b'{"step":1,"rewards":[[NaN]]}', "application/json"),
        (b'{"step":1,"rewards":[[1e999]]}', "application/json"),
        (b'{"step":1,"rewards":"\xff"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"\xc1", MSGPACK),
        (b"\x91" * 100_000, MSGPACK),
    ],
)
def test_a_body_that_is_not_what_it_claims_to_be_is_400(client, untouched, content, media_type):
    headers = {"content-type": media_type}
    found = refused(client.post(f"{untouched}/steps", content=content, headers=headers), 400)
    assert found["field"] == "body"
    assert media_type in found["detail"]


@pytest.mark.parametrize(
    "media_type", ["text/csv", "application/x-www-form-urlencoded", "nonsense"]
)
def test_an_unknown_content_type_is_415_and_names_those_we_read(client, untouched, media_type):
    headers = {"content-type": media_type}
    found = refused(client.post(f"{untouched}/steps", content=b"x", headers=headers), 415)
    assert (found["value"], found["allowed"]) == (
        repr(media_type),
        f"application/json or {MSGPACK}",
    )


BAD_RUNS = {
    "no id": ({}, "id"),
    "an empty id": ({"id": ""}, "id"),
    "a slash": ({"id": "math/7b"}, "id"),
    "a brace": ({"id": "{x}"}, "id"),
    "a newline": ({"id": "run\n"}, "id"),
    "129 characters": ({"id": "x" * 129}, "id"),
    "an unknown field": ({"id": "x", "name": "y"}, "name"),
    "an unknown profile": ({"id": "x", "profile": "best"}, "profile"),
    "an unknown setting": ({"id": "x", "settings": {"tau": 0.5}}, "tau"),
    "a setting out of range": ({"id": "x", "settings": {"alpha": 0}}, "alpha"),
    "bounds the wrong way": ({"id": "x", "settings": {"threshold_low": 0.95}}, "threshold_low"),
    "a tag that is no text": ({"id": "x", "tags": {"a": 1}}, "tags[...]"),
    "a list as config": ({"id": "x", "config": {"a": []}}, "config[...]"),
    "a negative resume": ({"id": "x", "resume_from_step": -1}, "resume_from_step"),
}


@pytest.mark.parametrize(("content", "field"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_a_bad_run_is_422_and_names_the_field(client, content, field):
    found = refused(client.post("/v1/runs", json=content), 422)
    assert found["field"] == field
    assert client.get("/v1/runs/x").status_code == 404


def test_a_refused_run_id_says_what_an_id_may_be(client):
    found = refused(client.post("/v1/runs", json={"id": "math/7b"}), 422)
    assert RUN_ID_WORDS in found["allowed"]
    assert found["value"] == "'math/7b'"


@pytest.mark.parametrize("value", [7, -0.1, "high", None, True, [0.5]])
def test_a_threshold_that_is_no_rate_is_422_with_field_value_and_range(client, untouched, value):
    reply = client.patch(f"{untouched}/settings", json={"threshold": value, "reason": "why"})
    found = refused(reply, 422)
    assert (found["field"], found["value"]) == ("threshold", repr(value))
    assert found["allowed"] == "must be a number in [0, 1]"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"alpha": 0.4}, "reason"),
        ({"alpha": 0.4, "reason": ""}, "reason"),
        ({"reason": "why"}, "settings"),
        ({"tau": 0.4, "reason": "why"}, "tau"),
        ({"memory": {}, "reason": "why"}, "memory"),
        ({"revision": 9, "reason": "why"}, "revision"),
        ({"alpha": 0.4, "reason": "why", "actor": 7}, "actor"),
        ([], "body"),
    ],
)
def test_a_bad_change_is_422_and_names_the_field(client, untouched, changes, field):
    found = refused(client.patch(f"{untouched}/settings", json=changes), 422)
    assert found["field"] == field


def test_a_field_of_any_length_is_not_repeated_at_length(client, untouched):
    for reply in (
        client.post(f"{untouched}/kill", json={"k" * 100_000: 1}),
        client.patch(f"{untouched}/settings", json={"k" * 100_000: 1, "reason": "why"}),
    ):
        assert refused(reply, 422)["field"] == "k" * 200 + "..."
        assert len(reply.content) < 4000


@pytest.mark.parametrize("match", ["3", '"3"', '"r1", "r2"', 'W/"x"', "", '"r' + "9" * 19 + '"'])
def test_a_bad_if_match_is_422(client, untouched, match):
    found = refused(
        client.patch(
            f"{untouched}/settings",
            json={"alpha": 0.4, "reason": "why"},
            headers={"if-match": match},
        ),
        422,
    )
    assert (found["field"], found["value"]) == ("If-Match", repr(match))


@pytest.mark.parametrize(
    ("path", "name"),
    [("steps", "from"), ("steps", "to"), ("steps", "limit"), ("events", "limit")],
)
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", "", "٣", "9" * 30, "0" * 5000 + "1"])
def test_a_bad_query_parameter_is_422(client, untouched, path, name, value):
    found = refused(client.get(f"{untouched}/{path}", params={name: value}), 422)
    assert found["field"] == name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/steps"),
        ("POST", "/steps"),
        ("GET", "/events"),
        ("GET", "/settings"),
        ("PATCH", "/settings"),
        ("GET", "/diagnosis"),
        ("GET", "/forecast"),
    ],
)
def test_an_unknown_run_is_404_and_says_to_create_it(client, method, path):
    run_id = new_run_id()
    content = {"reason": "why", "alpha": 0.4} if method == "PATCH" else body(1)
    sent = content if method != "GET" else None
    found = refused(client.request(method, f"/v1/runs/{run_id}{path}", json=sent), 404)
    assert found["detail"] == f"no run '{run_id}'; create it first"
    assert found["type"] == "urn:acr:error:run-not-found"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v2/runs", 404),
        ("GET", "/v1/runs/math%2F7b", 404),
        ("DELETE", "/v1/runs", 405),
        ("PUT", "/v1/runs/x/settings", 405),
        ("POST", "/metrics", 405),
    ],
)
def test_what_does_not_exist_is_a_problem_too(client, method, path, status):
    found = refused(client.request(method, path), status)
    assert path.replace("%2F", "/") in found["detail"]


def test_what_is_not_allowed_says_what_is(client):
    assert "GET" in client.delete("/v1/runs/x/settings").headers["allow"]


def test_a_run_nobody_can_read_is_a_500_that_says_so(client, run_id, redis_url):
    with redis.Redis.from_url(redis_url) as server:
        server.hset(RunKeys(run_id).run, "state", b"junk")
        assert run_id in refused(client.get(f"/v1/runs/{run_id}"), 500)["detail"]
        server.delete(RunKeys(run_id).run)


def every_error(base: type[errors.AcrError]) -> set[type[errors.AcrError]]:
    below = base.__subclasses__()
    return set(below).union(*map(every_error, below))


def test_every_error_that_can_be_raised_has_a_status_or_never_meets_a_request():
    ours = {kind for kind in every_error(errors.AcrError) if kind.__module__ == errors.__name__}
    drawn_only = {errors.Conflict}
    assert ours - drawn_only == STATUS.keys() | NOT_FROM_REQUESTS
    assert not STATUS.keys() & NOT_FROM_REQUESTS


def test_a_problem_is_named_after_its_error():
    found = problem(errors.InvalidInput("alpha", 7, "less"))
    assert (found.type, found.field) == ("urn:acr:error:invalid-input", "alpha")


async def test_a_mistake_of_ours_is_a_problem_too_and_shows_no_traceback():
    class Broken:
        async def runs(self):
            raise RuntimeError("secret detail")

    app = create_api(Broken(), 1024)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        reply = await client.get("/v1/runs")
    assert reply.status_code == 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert "secret" not in reply.text
