"""What a sender cannot do to a monitor: wait, flood, balloon, or hold on to it."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from monitor_service.api import connection
from monitor_service.api.connection import MAX_HEAD_BYTES, MAX_PIPELINED
from monitor_service.api.limits import MAX_KNOWN, Buckets
from tests.servers import PATIENCE_S, eventually
from tests.service.guarded import guarded, issued, with_token
from tests.service.problems import refused
from tests.service.reports import body, new_run_id


@pytest.fixture(scope="module")
def redis_url(redis_url: str) -> Iterator[str]:
    """A part of the shared Redis without tokens, but for those that a test here makes."""
    url = f"{redis_url}?db=8"
    yield url
    with redis.Redis.from_url(url) as client:
        client.flushdb()


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as raw:
        yield raw


def answered(raw: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    found = bytearray()
    while chunk := raw.recv(65_536):
        found += chunk
    return bytes(found)


def problem(answer: bytes) -> int:
    """The status of a raw reply, once it was checked to be a problem that browsers leave alone."""
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"x-content-type-options: nosniff" in head
    assert b"connection: close" in head
    assert content.startswith(b'{"type":')
    return int(head.split()[1])


# Rates


def test_a_bucket_fills_at_its_rate():
    buckets = Buckets(per_s=4, burst=3)
    taken = [buckets.wait_s("ana", 0.0) for _ in range(4)]
    # Three at once, then one each 1 / 4 s.
    assert taken == [0.0, 0.0, 0.0, 0.25]
    assert buckets.wait_s("ana", 0.25) == 0.0
    assert buckets.wait_s("ana", 0.25) == 0.25
    # After a pause of 3 / 4 s it is full, and never more than full.
    assert [buckets.wait_s("ana", 9.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.25]


def test_buckets_of_any_number_of_callers_take_bounded_memory():
    buckets = Buckets(per_s=1, burst=1)
    for number in range(MAX_KNOWN + 100):
        buckets.wait_s(str(number), 0.0)
    assert len(buckets._full_at_s) == MAX_KNOWN
    # Whoever was silent for longest is forgotten, not whoever asks most.
    assert buckets.wait_s(str(MAX_KNOWN + 99), 0.0) > 0
    assert buckets.wait_s("0", 0.0) == 0


def test_who_asks_too_often_is_told_when_to_come_back(redis_url):
    with (
        guarded(redis_url, max_requests_per_s=0.5, max_requests_burst=3) as url,
        httpx.Client(base_url=url) as client,
    ):
        statuses = [client.get("/v1/runs").status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        reply = client.get("/v1/runs")
        found = refused(reply, 429)
        assert found["type"] == "urn:acr:error:too-many-requests"
        # One more each 2 s.
        assert reply.headers["retry-after"] in ("1", "2")
        assert client.get("/healthz").status_code == 200


def test_each_token_has_a_rate_of_its_own(redis_url):
    url = f"{redis_url.partition('?')[0]}?db=9"
    tokens = [issued(url), issued(url)]
    with guarded(url, max_requests_per_s=0.1, max_requests_burst=1) as base_url:
        for token in tokens:
            first, second = (
                httpx.get(f"{base_url}/v1/runs", headers=with_token(token)) for _ in range(2)
            )
            assert (first.status_code, second.status_code) == (200, 429)
    with redis.Redis.from_url(url) as client:
        client.flushdb()


# Requests under way


class Gate:
    """An app that holds every request until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.num_inside = 0

    async def __call__(self, scope, receive, send) -> None:
        self.num_inside += 1
        await asyncio.to_thread(self.opened.wait, PATIENCE_S)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


def test_more_requests_than_may_be_under_way_are_refused_and_the_others_are_answered(redis_url):
    gate = Gate()
    # Of 6 one address may have 3.
    with guarded(redis_url, gate, max_in_flight=6) as url, ThreadPoolExecutor(3) as pool:
        held = [pool.submit(httpx.get, f"{url}/v1/runs") for _ in range(3)]
        eventually(lambda: gate.num_inside == 3, "three are inside")
        reply = httpx.get(f"{url}/v1/runs")
        assert refused(reply, 503)["type"] == "urn:acr:error:overloaded"
        assert reply.headers["retry-after"] == "1"
        gate.opened.set()
        assert [one.result().status_code for one in held] == [204, 204, 204]
        assert httpx.get(f"{url}/v1/runs").status_code == 204


# Bodies


@pytest.fixture(scope="module")
def impatient(redis_url: str) -> Iterator[str]:
    """A monitor that waits half a second for what is to come."""
    with guarded(redis_url, receive_s=0.5) as url:
        yield url


@pytest.fixture
def run_url(impatient: str) -> str:
    run_id = new_run_id()
    assert httpx.post(f"{impatient}/v1/runs", json={"id": run_id}).status_code == 201
    return f"{impatient}/v1/runs/{run_id}"


def head(url: str, *more: str, method: str = "POST") -> bytes:
    lines = [f"{method} {urlsplit(url).path} HTTP/1.1", "host: 127.0.0.1", *more]
    return "\r\n".join([*lines, "", ""]).encode()


JSON = "content-type: application/json"


@pytest.mark.parametrize("path", ["steps", "settings"])
def test_a_body_that_does_not_arrive_in_time_is_408(run_url, path):
    method = "PATCH" if path == "settings" else "POST"
    began = time.monotonic()
    with connected(run_url) as raw:
        raw.sendall(head(f"{run_url}/{path}", JSON, "content-length: 100", method=method) + b"{")
        answer = answered(raw)
    assert problem(answer) == 408
    assert 0.4 < time.monotonic() - began < 10


def test_a_sender_that_drips_gains_no_time(run_url):
    with connected(run_url) as raw:
        raw.sendall(head(f"{run_url}/steps", JSON, "transfer-encoding: chunked"))
        stopped = threading.Event()

        def drip() -> None:
            while not stopped.wait(0.05):
                try:
                    raw.sendall(b"1\r\n \r\n")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert raw.recv(65_536).startswith(b"HTTP/1.1 408 ")
        finally:
            stopped.set()
            dripping.join()


def test_a_sender_that_leaves_in_the_middle_is_nobodys_mistake(run_url, caplog):
    for path in ("steps", "overrides"):
        for leave in (lambda raw: None, lambda raw: raw.shutdown(socket.SHUT_WR)):
            with connected(run_url) as raw:
                raw.sendall(head(f"{run_url}/{path}", JSON, "content-length: 100") + b"{")
                leave(raw)
    assert httpx.get(run_url).json()["step"] == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_body_in_pieces_that_keeps_coming_is_taken(run_url):
    content = httpx.Request("POST", run_url, json=body(1)).content
    with connected(run_url) as raw:
        raw.sendall(head(f"{run_url}/steps", JSON, f"content-length: {len(content)}"))
        for byte in content:
            raw.sendall(bytes([byte]))
        assert raw.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_an_answer_before_the_body_is_whole_is_delivered_and_the_rest_is_not_waited_for(
    run_url, monkeypatch
):
    monkeypatch.setattr(connection, "LINGER_S", 0.3)
    with connected(run_url) as raw:
        raw.sendall(head(f"{run_url}/steps", JSON, "content-length: 104857600"))
        began = time.monotonic()
        assert answered(raw).startswith(b"HTTP/1.1 413 ")
        assert 0.2 < time.monotonic() - began < 10


# Heads


@pytest.mark.parametrize("sent", [b"", b"GET /v1/runs HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ", b"\r\n"])
def test_a_connection_on_which_no_request_comes_is_closed(impatient, sent):
    began = time.monotonic()
    with connected(impatient) as raw:
        raw.sendall(sent)
        answer = answered(raw)
    assert 0.4 < time.monotonic() - began < 10
    assert answer == b"" or problem(answer) == 408


def test_a_head_that_drips_is_closed_and_so_is_one_after_a_good_request(impatient):
    with connected(impatient) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\nGET /he")
        answer = answered(raw)
    assert answer.startswith(b"HTTP/1.1 200 ")
    first, _, second = answer.partition(b"HTTP/1.1 408 ")
    assert b'"ok"' in first
    assert second


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * (MAX_HEAD_BYTES + 1),
        b"GET /" + b"a" * (MAX_HEAD_BYTES + 1) + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * 400_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: %s\r\n" % (n, b"a" * 100) for n in range(1000)),
    ],
    ids=["address", "whole request", "one header", "many headers"],
)
def test_a_head_beyond_the_limit_is_431(impatient, sent):
    with connected(impatient) as raw:
        raw.sendall(sent)
        assert problem(answered(raw)) == 431


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/runs HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET /v1/runs HTTP/1.1\r\nhost: a\0b\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_400_and_hung_up_on(impatient, sent, caplog):
    with connected(impatient) as raw:
        raw.sendall(sent)
        assert problem(answered(raw)) == 400
    assert not caplog.records


def test_a_wish_for_another_protocol_is_passed_over(impatient):
    for wish in ("upgrade: websocket", "upgrade: h2c"):
        with connected(impatient) as raw:
            raw.sendall(
                b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\n"
                + wish.encode()
                + b"\r\n\r\n"
            )
            assert raw.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_header_cannot_be_smuggled_into_a_reply(impatient):
    reply = httpx.get(f"{impatient}/v1/runs/a%0d%0aset-cookie:%20x=y")
    refused(reply, 422)
    assert "set-cookie" not in reply.headers


# Connections


def test_requests_that_do_not_wait_for_answers_are_queued_up_to_a_limit(redis_url):
    gate = Gate()
    with guarded(redis_url, gate) as url, connected(url) as raw:
        one = b"GET /v1/runs HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        raw.sendall(one * (MAX_PIPELINED + 2))
        # The first is under way, so nothing can be said about the one too many but goodbye.
        assert answered(raw) == b""
        assert gate.num_inside == 1
        gate.opened.set()
    with guarded(redis_url) as url, connected(url) as raw:
        raw.sendall(one * MAX_PIPELINED)
        raw.shutdown(socket.SHUT_WR)
        assert len(re.findall(rb"HTTP/1.1 200 ", answered(raw))) <= MAX_PIPELINED


def test_more_connections_than_may_be_are_told_so(redis_url):
    # Of 8 one address may have 4.
    with guarded(redis_url, max_connections=8) as url, ExitStack() as open_ones:
        held = [open_ones.enter_context(connected(url)) for _ in range(4)]
        with connected(url) as fifth:
            assert problem(answered(fifth)) == 503
        held[0].sendall(head(f"{url}/healthz", method="GET"))
        assert held[0].recv(65_536).startswith(b"HTTP/1.1 200 ")
        held[1].close()
        eventually(
            lambda: httpx.get(f"{url}/healthz").status_code == 200,
            "there is room again",
        )


class Flood:
    """A reply of 64 MiB, as fast as it is taken."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    async def __call__(self, scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(64):
            piece = {"type": "http.response.body", "body": b"x" * 2**20, "more_body": number < 63}
            await send(piece)
        self.ended.set()


def test_a_reader_that_does_not_read_is_cut_off(redis_url, monkeypatch):
    monkeypatch.setattr(connection, "STALLED_S", 0.3)
    flood = Flood()
    with guarded(redis_url, flood) as url, connected(url) as raw:
        raw.sendall(head(f"{url}/v1/runs", method="GET"))
        assert flood.ended.wait(PATIENCE_S)
        # What the kernel's buffers took, and no more.
        assert 0 < len(answered(raw)) < 2**25


def test_a_reader_that_reads_gets_all_of_it(redis_url, monkeypatch):
    monkeypatch.setattr(connection, "STALLED_S", 0.3)
    with guarded(redis_url, Flood()) as url:
        assert len(httpx.get(f"{url}/v1/runs").content) == 2**26
