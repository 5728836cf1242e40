"""What is too large is refused before it costs memory or time."""

import socket
import time
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from monitor_service.wire import MAX_COMPLETIONS, MAX_GROUPS, MSGPACK
from tests.service.problems import refused


@pytest.mark.parametrize(
    "shape", [[MAX_GROUPS + 1, 1], [1, MAX_COMPLETIONS + 1], [2**53, 2**53]], ids=str
)
def test_a_packed_matrix_beyond_the_limits_is_413_before_it_is_made(client, untouched, shape):
    rewards = {"shape": shape, "dtype": "<f8", "data": b""}
    content = msgspec.msgpack.encode({"step": 1, "rewards": rewards})
    reply = client.post(f"{untouched}/steps", content=content, headers={"content-type": MSGPACK})
    assert str(MAX_COMPLETIONS) in refused(reply, 413)["detail"]


def test_ragged_groups_that_pad_to_too_much_are_413(client, untouched):
    # 1025 groups, one of them of 1024: 1025 * 1024 places, 1024 above the limit of 2**20.
    rewards = [[1.0] * 1024] + [[0.0]] * 1024
    refused(client.post(f"{untouched}/steps", json={"step": 1, "rewards": rewards}), 413)


def connection(client: httpx.Client) -> socket.socket:
    address = urlsplit(str(client.base_url))
    return socket.create_connection((address.hostname, address.port), timeout=10)


def head(run_url: str, more: str) -> bytes:
    lines = [f"POST {run_url}/steps HTTP/1.1", "host: x", "content-type: application/json", more]
    return "\r\n".join([*lines, "", ""]).encode()


def test_an_announced_body_of_100_mb_is_413_before_any_of_it_is_sent(client, untouched):
    with connection(client) as raw:
        raw.sendall(head(untouched, "content-length: 104857600"))
        assert raw.recv(1024).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_of_100_mb_is_413_as_soon_as_the_limit_is_passed(client, untouched):
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    began = time.monotonic()
    sent = 0
    with connection(client) as raw:
        raw.sendall(head(untouched, "transfer-encoding: chunked"))
        raw.settimeout(0.0)
        answer = b""
        while not answer and sent < 100:
            raw.settimeout(10)
            raw.sendall(chunk)
            sent += 1
            raw.settimeout(0.0)
            try:
                answer = raw.recv(1024)
            except BlockingIOError:
                continue
    assert answer.startswith(b"HTTP/1.1 413 ")
    # The limit is 32 MiB; the rest is what fits into the buffers between the two.
    assert 32 <= sent < 60
    assert time.monotonic() - began < 5
