"""Names and texts that try to be something else: a header, a line of a log, markup, a metric.

And a sender that hangs up half.
"""

import socket
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.service.problems import refused
from tests.service.reports import body, new_run_id

HTML = "<script>alert(1)</script>"
SPLIT = "a\r\nset-cookie: x=1"


@pytest.mark.parametrize(
    "name",
    [
        *("a\r\nb", "a\n", "a b", "a/b", "..", "<b>", "a{b}", "a\0", "\u202ea", "-a", "ä"),
        *("a" * 129, ""),
    ],
    ids=ascii,
)
def test_a_run_of_a_strange_name_is_refused_wherever_the_name_stands(client, name):
    assert refused(client.post("/v1/runs", json={"id": name}), 422)["field"] == "id"
    if name not in ("", "..", "a/b"):  # Those make another path.
        refused(client.get(f"/v1/runs/{quote(name, safe='')}"), 422)
        refused(client.post(f"/v1/runs/{quote(name, safe='')}/steps", json=body(1)), 422)


@pytest.mark.parametrize("text", [SPLIT, "a\0b", "a\x1b[2J", "\u202etxt"], ids=ascii)
def test_tags_of_more_than_one_line_or_of_what_nobody_sees_are_refused(client, run_id, text):
    for tags in ({"team": text}, {text: "math"}):
        refused(client.post("/v1/runs", json={"id": new_run_id(), "tags": tags}), 422)
        refused(client.patch(f"/v1/runs/{run_id}", json={"tags": tags}), 422)


def test_markup_in_texts_is_kept_as_it_is_and_answered_as_data(client, run_id):
    path = f"/v1/runs/{run_id}"
    client.patch(path, json={"tags": {HTML: HTML}, "notes": HTML}).raise_for_status()
    order = {"alpha": 0.4, "reason": HTML, "actor": HTML}
    client.patch(f"{path}/settings", json=order).raise_for_status()
    report = body(1, components={HTML: {"mean": 0.5}}, scalars={"non_finite": [HTML]})
    client.post(f"{path}/steps", json=report).raise_for_status()
    for what in ("", "/settings", "/events", "/steps", "/settings/history", "/diagnosis"):
        reply = client.get(path + what)
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "application/json"
    run = client.get(path).json()
    assert (run["tags"], run["notes"]) == ({HTML: HTML}, HTML)
    assert HTML not in client.get("/metrics").text


def test_a_text_of_an_order_cannot_split_what_we_send(client, run_id):
    order = {"alpha": 0.4, "reason": f"why {SPLIT}", "actor": "ana"}
    changed = client.patch(f"/v1/runs/{run_id}/settings", json=order)
    for reply in (changed, client.get(f"/v1/runs/{run_id}/settings")):
        assert "set-cookie" not in reply.headers
        assert reply.headers["etag"].startswith('"r')


def test_a_file_is_named_after_the_run_and_nothing_else(client, run_id):
    reply = client.get(f"/v1/runs/{run_id}/export")
    assert reply.headers["content-disposition"] == f'attachment; filename="{run_id}.jsonl"'


@pytest.mark.parametrize("field", ["reason", "actor"])
def test_a_query_cannot_split_what_we_send(client, run_id, field):
    reply = client.delete(f"/v1/runs/{run_id}", params={field: SPLIT})
    assert "set-cookie" not in reply.headers


def test_a_report_whose_sender_closes_that_side_at_once_counts_once(base_url, run_id):
    address = urlsplit(base_url)
    content = httpx.Request("POST", base_url, json=body(1)).content
    head = (
        f"POST /v1/runs/{run_id}/steps HTTP/1.1\r\nhost: {address.netloc}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
        "connection: close\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=10) as raw:
        raw.sendall(head.encode() + content)
        raw.shutdown(socket.SHUT_WR)
        raw.recv(65_536)
    # Whether the answer came or not: who repeats the report learns that it was taken.
    reply = httpx.post(f"{base_url}/v1/runs/{run_id}/steps", json=body(1), trust_env=False)
    assert reply.status_code == 200
    assert reply.json()["results"][0]["status"] in ("recorded", "duplicate")
    run = httpx.get(f"{base_url}/v1/runs/{run_id}", trust_env=False).json()
    assert (run["step"], run["counters"]["steps"]) == (1, 1)
