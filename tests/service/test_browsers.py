"""What replies tell browsers, and that no page of anybody else gets anything out of a monitor."""

from collections.abc import Iterator

import httpx
import pytest

from tests.service.guarded import guarded, issued
from tests.service.problems import refused


@pytest.fixture(scope="module")
def redis_url(redis_url: str) -> str:
    """A part of the shared Redis without tokens."""
    return f"{redis_url}?db=10"


@pytest.fixture(scope="module")
def base_url(redis_url: str) -> Iterator[str]:
    with guarded(redis_url, allowed_hosts=("monitor", "acr.example.org")) as url:
        yield url


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/v1/runs", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/v1/runs/none", 404),
        ("GET", "/<script>alert(1)</script>", 404),
        ("DELETE", "/v1/runs", 405),
        ("OPTIONS", "/v1/runs", 405),
        ("POST", "/v1/runs", 415),
        ("POST", "/v1/runs/none/steps", 415),
    ],
)
def test_every_reply_leaves_a_browser_nothing_to_guess_or_to_run(base_url, method, path, status):
    reply = httpx.request(method, base_url + path)
    assert reply.status_code == status
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cross-origin-resource-policy"] == "same-origin"
    policy = reply.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert "frame-ancestors 'none'" in policy
    assert "server" not in reply.headers
    assert not reply.headers["content-type"].startswith("text/html")
    # Of TLS nothing is promised where there is none.
    assert "strict-transport-security" not in reply.headers


def test_the_page_of_the_api_may_load_what_it_consists_of_and_ask_this_monitor_only(base_url):
    reply = httpx.get(f"{base_url}/docs")
    policy = dict(
        part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    hosts = {part for part in reply.text.split('"') if part.startswith("https://")}
    for url in hosts:
        origin = "/".join(url.split("/")[:3])
        assert any(origin in sources for sources in policy.values()), url
    assert httpx.get(f"{base_url}/redoc").status_code == 404


def test_no_reply_allows_another_origin_anything(base_url):
    asks = {"origin": "https://evil.example", "access-control-request-method": "PATCH"}
    for method, path in [
        ("OPTIONS", "/v1/runs/x/settings"),
        ("OPTIONS", "/v1/runs"),
        ("GET", "/v1/runs"),
        ("POST", "/v1/runs"),
    ]:
        reply = httpx.request(method, base_url + path, headers=asks)
        assert reply.status_code >= 400 or method == "GET"
        assert not [name for name in reply.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1:8400", True),
        ("localhost", True),
        ("LOCALHOST:8400", True),
        ("[::1]:8400", True),
        ("192.0.2.7", True),
        ("monitor:8400", True),
        ("Acr.Example.org", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:127", False),
        ("[evil.example]", False),
        ("evil.example@127.0.0.1", False),
        ("", False),
    ],
)
def test_a_page_that_gave_its_name_our_address_is_refused(base_url, host, is_ours):
    reply = httpx.get(f"{base_url}/v1/runs", headers={"host": host})
    if is_ours:
        assert reply.status_code == 200
    else:
        assert "ACR_ALLOWED_HOSTS" in refused(reply, 421)["detail"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_that_sends_blindly_is_refused(base_url, origin):
    headers = {"origin": origin, "content-type": "text/plain"}
    refused(httpx.post(f"{base_url}/v1/runs/x/kill", headers=headers, content="{}"), 421)


def test_a_page_of_the_monitors_own_may_ask(base_url):
    reply = httpx.post(
        f"{base_url}/v1/runs/x/kill", headers={"origin": base_url}, json={}, timeout=10
    )
    refused(reply, 404)


def test_where_a_token_is_needed_no_name_matters(redis_url):
    url = redis_url.replace("db=10", "db=13")
    issued(url, "read")
    with guarded(url) as base_url:
        refused(httpx.get(f"{base_url}/v1/runs", headers={"host": "evil.example"}), 401)


def test_whoever_opened_it_to_a_network_names_it_as_they_like(redis_url):
    with guarded(redis_url, host="0.0.0.0", insecure=True) as url:
        port = url.rpartition(":")[2]
        reply = httpx.get(f"http://127.0.0.1:{port}/v1/runs", headers={"host": "gpu-node-3"})
        assert reply.status_code == 200


def test_a_wrong_slash_is_not_redirected_to_where_a_header_says(base_url):
    reply = httpx.get(f"{base_url}/v1/runs/", headers={"host": "monitor"})
    refused(reply, 404)
    assert "location" not in reply.headers
