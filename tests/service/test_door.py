"""The door: who is let in, to what, and for how long."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
import redis

from monitor_service.store.keys import TOKENS
from tests.servers import eventually, stock_redis
from tests.service.guarded import guarded, issued, revoke, routes, with_token
from tests.service.problems import refused
from tests.service.reports import body, new_run_id


@pytest.fixture(scope="module")
def vault(redis_url: str) -> Iterator[str]:
    """A part of the shared Redis with tokens in it, so that nobody else needs one."""
    url = f"{redis_url}?db=6"
    yield url
    with redis.Redis.from_url(url) as client:
        client.flushdb()


@pytest.fixture(scope="module")
def control(vault: str) -> str:
    return issued(vault, "control", name="ana")


@pytest.fixture(scope="module")
def report(vault: str) -> str:
    return issued(vault, "report", name="trainer")


@pytest.fixture(scope="module")
def read(vault: str) -> str:
    return issued(vault, "read", name="prometheus")


@pytest.fixture(scope="module")
def base_url(vault: str, control: str, report: str, read: str) -> Iterator[str]:
    with guarded(vault) as url:
        yield url


@pytest.fixture
def ask(base_url: str):
    """A request with this token."""

    def asked(method: str, path: str, token: str | None = None, **more) -> httpx.Response:
        headers = with_token(token) | more.pop("headers", {})
        return httpx.request(method, base_url + path, headers=headers, **more)

    return asked


@pytest.fixture
def run_id(ask, report: str) -> str:
    name = new_run_id()
    assert ask("POST", "/v1/runs", report, json={"id": name}).status_code == 201
    return name


# Without a token


def test_nothing_but_the_health_of_the_process_is_told_without_a_token(base_url, ask, read):
    found = routes(base_url, read)
    assert len(found) > 20
    for method, path in [*found, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/nothing")]:
        reply = ask(method, path)
        if path == "/healthz":
            assert reply.status_code == 200
        elif path != "/readyz":
            assert refused(reply, 401)["type"] == "urn:acr:error:unauthorized", path
            assert reply.headers["www-authenticate"] == "Bearer"


def test_the_machine_itself_may_ask_whether_reports_are_taken(ask):
    assert ask("GET", "/readyz").status_code == 200


@pytest.mark.parametrize("where", ["?token={}", "?access_token={}", "?authorization=Bearer%20{}"])
def test_a_token_in_an_address_is_no_token(ask, control, where):
    refused(ask("GET", "/v1/runs" + where.format(control)), 401)


def test_a_token_in_a_cookie_or_as_a_password_is_no_token(base_url, ask, control):
    refused(ask("GET", "/v1/runs", headers={"cookie": f"token={control}"}), 401)
    refused(httpx.get(f"{base_url}/v1/runs", auth=("ana", control)), 401)


# Scopes


READ, REPORT, CONTROL = {"read", "control"}, {"report"}, {"control"}
NEEDED = {
    ("POST", "/v1/runs"): REPORT,
    ("POST", "/v1/runs/some-run/steps"): REPORT,
    ("POST", "/v1/runs/some-run/end"): REPORT,
    ("POST", "/v1/runs/some-run/result"): REPORT | CONTROL,
    ("GET", "/v1/runs/some-run/settings"): READ | REPORT,
    ("GET", "/v1/me"): READ | REPORT,
}
"""Tokens that are let in, where that does not follow from the method."""


@pytest.mark.parametrize("scope", ["read", "report", "control"])
def test_every_route_lets_in_the_scopes_it_is_for_and_no_other(
    base_url, ask, read, report, control, scope
):
    token = {"read": read, "report": report, "control": control}[scope]
    for method, path in routes(base_url, read):
        if path.endswith(("/healthz", "/readyz", "/stream")):
            continue
        allowed = NEEDED.get((method, path)) or (READ if method == "GET" else CONTROL)
        status = ask(method, path, token).status_code
        assert (status == 403) is (scope not in allowed), (method, path, status)
        assert status != 401


def test_a_token_that_only_reads_cannot_change_a_threshold(ask, run_id, read, control):
    path, change = f"/v1/runs/{run_id}/settings", {"threshold": 0.25, "reason": "a try"}
    before = ask("GET", path, read).json()
    assert "control" in refused(ask("PATCH", path, read, json=change), 403)["detail"]
    assert ask("GET", path, read).json() == before
    assert ask("PATCH", path, control, json=change).json()["settings"]["threshold"] == 0.25


def test_a_trainer_reports_and_learns_its_settings_and_can_do_nothing_else(ask, run_id, report):
    assert ask("POST", f"/v1/runs/{run_id}/steps", report, json=body(1)).status_code == 200
    assert ask("GET", f"/v1/runs/{run_id}/settings", report).status_code == 200
    for path in ("/v1/runs", f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/steps", "/metrics"):
        refused(ask("GET", path, report), 403)
    for path in ("kill", "rearm", "overrides", "commands"):
        refused(ask("POST", f"/v1/runs/{run_id}/{path}", report, json={}), 403)


def test_every_token_may_ask_what_it_is_for(ask, vault, report, control):
    everything = {"runs": "*", "is_token_needed": True}
    assert ask("GET", "/v1/me", report).json() == {
        "name": "trainer",
        "scopes": ["report"],
        **everything,
    }
    assert ask("GET", "/v1/me", control).json() == {
        "name": "ana",
        "scopes": ["control"],
        **everything,
    }
    both = issued(vault, "report", "read", name="guest", runs="exp-*")
    eventually(lambda: ask("GET", "/v1/me", both).status_code == 200, "the token is known")
    found = ask("GET", "/v1/me", both).json()
    assert (found["scopes"], found["runs"]) == (["read", "report"], "exp-*")


def test_a_token_of_some_runs_may_read_what_settings_there_are(ask, vault):
    mine = issued(vault, "read", runs="exp-*")
    eventually(lambda: ask("GET", "/v1/me", mine).status_code == 200, "the token is known")
    assert ask("GET", "/v1/fields", mine).status_code == 200


# Runs


def test_a_token_of_some_runs_cannot_touch_another(ask, vault, run_id, control):
    prefix = new_run_id()
    mine = issued(vault, "read", "report", "control", name="guest", runs=f"{prefix}-*")
    eventually(lambda: ask("GET", "/v1/runs", mine).status_code == 200, "the token is known")
    own = f"{prefix}-1"
    assert ask("POST", "/v1/runs", mine, json={"id": own}).status_code == 201
    assert ask("POST", f"/v1/runs/{own}/steps", mine, json=body(1)).status_code == 200
    before = ask("GET", f"/v1/runs/{run_id}", control).json()
    for method, path in [
        ("POST", f"/v1/runs/{run_id}/steps"),
        ("POST", f"/v1/runs/{run_id}/end"),
        ("GET", f"/v1/runs/{run_id}"),
        ("GET", f"/v1/runs/{run_id}/settings"),
        ("PATCH", f"/v1/runs/{run_id}/settings"),
        ("POST", f"/v1/runs/{run_id}/kill"),
        ("GET", "/v1/runs/there-is-no-such-run"),
        ("GET", "/metrics"),
    ]:
        found = refused(ask(method, path, mine, json=body(1)), 403)
        assert "guest" in found["detail"]
    resumed = {"id": run_id, "resume_from_step": 0}
    refused(ask("POST", "/v1/runs", mine, json=resumed), 403)
    assert ask("GET", f"/v1/runs/{run_id}", control).json() == before


def test_a_token_of_some_runs_sees_no_other_in_the_list(ask, vault, run_id):
    prefix = new_run_id()
    mine = issued(vault, "read", "report", runs=f"{prefix}-*")
    eventually(lambda: ask("GET", "/v1/runs", mine).status_code == 200, "the token is known")
    ask("POST", "/v1/runs", mine, json={"id": f"{prefix}-1"})
    assert [run["id"] for run in ask("GET", "/v1/runs", mine).json()["runs"]] == [f"{prefix}-1"]


@pytest.mark.parametrize("path", ["/v1/runs/a%2Fb/kill", "/v1/runs//kill", "/v1/runs/%2e%2e/kill"])
def test_a_path_that_plays_with_the_id_leads_past_no_check(ask, vault, path):
    mine = issued(vault, "control", runs="only-this")
    eventually(lambda: ask("GET", "/v1/runs", mine).status_code == 200, "the token is known")
    refused(ask("POST", path, mine, json={}), 403)


# Time


def test_a_revoked_token_is_refused_within_two_seconds(ask, vault):
    token = issued(vault, "read")
    eventually(lambda: ask("GET", "/v1/runs", token).status_code == 200, "it is known")
    revoke(vault, token)
    eventually(lambda: ask("GET", "/v1/runs", token).status_code == 401, "it is refused", 2.0)


def test_an_expired_token_is_refused(ask, vault):
    token = issued(vault, "read", expires_in_s=2.5)
    eventually(lambda: ask("GET", "/v1/runs", token).status_code == 200, "it is known")
    eventually(lambda: ask("GET", "/v1/runs", token).status_code == 401, "it is over")
    assert "expired" in refused(ask("GET", "/v1/runs", token), 401)["detail"]


async def ticking(scope, receive, send) -> None:
    """A stream that goes on until its reader leaves, or until it is ended."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


def test_an_open_stream_ends_when_its_token_is_revoked(vault, control):
    token = issued(vault, "read")
    with (
        guarded(vault, ticking) as url,
        httpx.stream("GET", f"{url}/v1/stream", headers=with_token(token), timeout=30) as reply,
    ):
        lines = reply.iter_lines()
        assert next(lines) == "begun"
        revoke(vault, token)
        # It ends as a reply that is complete does: iteration is over, and no error is raised.
        assert list(lines) == []


# The store


def test_while_redis_is_away_the_tokens_known_so_far_are_good(folder):
    with ExitStack() as serving:
        with stock_redis(folder) as url:
            token = issued(url, "read")
            base_url = serving.enter_context(guarded(url))
        refused(httpx.get(f"{base_url}/v1/runs", headers=with_token(token)), 503)
        refused(httpx.get(f"{base_url}/v1/runs"), 401)


def test_when_the_store_loses_its_tokens_the_door_stays_shut(redis_url):
    url = f"{redis_url}?db=7"
    token = issued(url, "control")
    with guarded(url) as base_url, redis.Redis.from_url(url) as client:
        headers = with_token(token)
        assert httpx.get(f"{base_url}/v1/runs", headers=headers).status_code == 200
        client.delete(TOKENS)
        eventually(
            lambda: httpx.get(f"{base_url}/v1/runs", headers=headers).status_code == 401, "refused"
        )
        refused(httpx.get(f"{base_url}/v1/runs"), 401)


def test_the_first_token_shuts_a_door_that_was_open(redis_url):
    url = f"{redis_url}?db=7"
    with guarded(url, insecure=True) as base_url:
        assert httpx.get(f"{base_url}/v1/runs").status_code == 200
        token = issued(url, "control")
        eventually(lambda: httpx.get(f"{base_url}/v1/runs").status_code == 401, "shut", 2.0)
        assert httpx.get(f"{base_url}/v1/runs", headers=with_token(token)).status_code == 200
    with redis.Redis.from_url(url) as client:
        client.delete(TOKENS)


# What is told of it


def test_a_refusal_is_logged_with_the_peer_and_without_the_token(
    ask, control, caplog: pytest.LogCaptureFixture
):
    wrong = control[:-1] + ("A" if control[-1] != "A" else "B")
    with caplog.at_level(logging.WARNING):
        refused(ask("GET", "/v1/runs/a%0Ab", wrong), 401)
    (line,) = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert line == r"'127.0.0.1': GET '/v1/runs/a\nb' refused: no such token, or it was revoked"


def test_no_secret_is_in_any_answer_or_in_the_log(
    ask, run_id, read, report, control, caplog: pytest.LogCaptureFixture
):
    answers = []
    with caplog.at_level(logging.DEBUG):
        for token in (read, report, control):
            answers += [
                ask("GET", "/metrics", token).text,
                ask("POST", f"/v1/runs/{run_id}/steps", token, json={"step": 0}).text,
                ask("PATCH", f"/v1/runs/{run_id}/settings", token, json={"eta": 7}).text,
                ask("GET", f"/v1/runs/{run_id}/events", token).text,
                ask("GET", f"/nothing/{run_id}", token).text,
            ]
    told = "".join(answers) + caplog.text
    assert run_id in told
    for token in (read, report, control):
        assert token.split("_", 2)[2] not in told


def test_many_refusals_of_one_address_are_answered_and_logged_no_more(
    vault, control, caplog: pytest.LogCaptureFixture
):
    with guarded(vault) as url, httpx.Client(base_url=url) as client:
        with caplog.at_level(logging.WARNING):
            statuses = [client.get("/v1/runs").status_code for _ in range(150)]
            last = client.get("/v1/runs")
        assert set(statuses) == {401, 429}
        assert int(last.headers["retry-after"]) >= 1
        assert len(caplog.records) == statuses.count(401)
        # Whoever has a token is none the worse for it.
        assert client.get("/v1/runs", headers=with_token(control)).status_code == 200
