"""The built-in page as it is served: to everybody, and so that it runs nothing but itself."""

import base64
import hashlib
import http.client
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from monitor_service.web import page
from tests.servers import stock_redis
from tests.service.guarded import guarded, issued, with_token
from tests.service.problems import refused

WEB = Path(page.__file__).parent
ASSETS = WEB / "assets"
OURS = [
    file
    for file in sorted(WEB.rglob("*"))
    if file.suffix in (".html", ".js", ".css", ".svg") and "vendor" not in file.parts
]
IMPORTED = re.compile(r"""^(?:im|ex)port (?:[\w*, ]+|{[^}]*}) from "([^"]+)";""", re.MULTILINE)


@pytest.fixture(scope="module")
def base_url(redis_url: str) -> Iterator[str]:
    """A monitor that needs a token."""
    url = f"{redis_url}?db=14"
    issued(url, "read")
    with guarded(url) as base_url:
        yield base_url


def names(*files: Path) -> list[str]:
    return [str(file.relative_to(WEB)) for file in files]


@pytest.mark.parametrize("name", ["", *(f"assets/{name}" for name in ("app.js", "css/base.css"))])
def test_the_page_is_open_where_the_api_needs_a_token(base_url, name):
    assert httpx.get(f"{base_url}/{name}").status_code == 200
    refused(httpx.get(f"{base_url}/v1/runs"), 401)
    refused(httpx.get(f"{base_url}/v1/me"), 401)


def test_the_page_is_served_while_redis_is_away(folder):
    with ExitStack() as serving:
        with stock_redis(folder) as url:
            token = issued(url, "read")
            base_url = serving.enter_context(guarded(url))
        refused(httpx.get(f"{base_url}/v1/runs", headers=with_token(token)), 503)
        assert httpx.get(base_url).status_code == 200
        assert httpx.get(f"{base_url}/assets/app.js").status_code == 200


def test_the_policy_of_the_page_lets_it_run_its_own_files_and_what_is_written_in_it(base_url):
    reply = httpx.get(base_url)
    policy = dict(
        part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; ")
    )
    scripts = re.findall(r"<script[^>]*>(.+?)</script>", reply.text, re.DOTALL)
    assert len(scripts) == 2
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    ]
    assert policy == {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", *hashes]),
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    # What the policy forbids would not work: style and handlers in the markup.
    assert not re.search(r"\s(style|on\w+)=", reply.text)


def test_a_browser_keeps_the_files_and_asks_whether_they_are_still_the_same(base_url):
    assert httpx.get(base_url).headers["cache-control"] == "no-cache"
    url = f"{base_url}/assets/app.js"
    first = httpx.get(url)
    assert first.headers["cache-control"] == "no-cache"
    again = httpx.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"
    other = httpx.get(url, headers={"if-none-match": '"another"'})
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize("path", ["/", "/assets/app.js"])
def test_the_page_can_be_looked_at_and_nothing_else(base_url, path):
    head = httpx.head(base_url + path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(httpx.get(base_url + path).content))
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused(httpx.request(method, base_url + path), 405)


@pytest.mark.parametrize("path", ["/assets", "/assets/", "/assets/none.js", "/assets/css"])
def test_what_is_no_file_of_the_page_is_not_found(base_url, path):
    reply = httpx.get(base_url + path)
    refused(reply, 401 if path == "/assets" else 404)
    assert "location" not in reply.headers


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../page.py",
        "/assets/%2e%2e/page.py",
        "/assets/..%2fpage.py",
        "/assets/..%5cpage.py",
        "/assets//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets/css/../../page.py",
        "/assets/app.js%00.txt",
    ],
)
def test_no_path_leads_out_of_the_files_of_the_page(base_url, path):
    host, _, port = base_url.removeprefix("http://").partition(":")
    # Not by a client that tidies paths up.
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("GET", path)
    reply = connection.getresponse()
    assert reply.status in (400, 401, 404), reply.read()
    connection.close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.js", "text/javascript; charset=utf-8"),
        ("vendor/preact/preact.mjs", "text/javascript; charset=utf-8"),
        ("css/base.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_a_browser_is_told_what_each_file_is(base_url, name, kind):
    assert httpx.get(f"{base_url}/assets/{name}").headers["content-type"] == kind


def test_every_file_that_the_page_names_is_there(base_url):
    for url in re.findall(r'"(/assets/[^"]+)"', httpx.get(base_url).text):
        assert httpx.get(base_url + url).status_code == 200, url


@pytest.mark.parametrize("name", names(*(file for file in OURS if file.suffix == ".js")))
def test_every_module_that_is_imported_is_there(name):
    file = WEB / name
    mapped = set(re.findall(r'"([\w/-]+)": "/assets/', (WEB / "index.html").read_text()))
    text = file.read_text()
    found = IMPORTED.findall(text)
    assert len(found) == len(re.findall(r"^(?:import\b|export\b.* from )", text, re.MULTILINE))
    for target in found:
        assert target in mapped or (file.parent / target).is_file(), target


@pytest.mark.parametrize("name", names(*OURS))
def test_the_page_asks_no_other_host_and_reads_nothing_as_html(name):
    text = (WEB / name).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
