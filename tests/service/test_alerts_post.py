"""One delivery: what is sent, how it is signed, and what a receiver cannot do to us."""

import re
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from monitor_service.alert import Alert
from monitor_service.alerts import post
from monitor_service.alerts.post import PostSink
from monitor_service.alerts.slack import slack, text
from monitor_service.alerts.webhook import signature, webhook
from tests.service.receiver import Receiver, close, echo, endless, hang, receiving, reply

TIMEOUT_S = 0.5
SECRET = "a secret of enough characters"
ALERT = Alert(
    id="my-run:1-0",
    status="raised",
    run_id="my-run",
    rule="stall",
    severity="warning",
    step=7,
    since_step=3,
    at_s=1000.0,
    message="nothing moves",
    advice="look at the data",
    evidence={"acr": 0.9},
    url=None,
)
PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with post.client() as opened:
        yield opened


def sink(url: str, client: httpx.AsyncClient, encode: post.Encode = slack) -> PostSink:
    return PostSink("slack", url, encode, client, timeout_s=TIMEOUT_S, clock=time.time)


async def test_a_webhook_gets_the_alert_as_json_with_a_key_and_a_signature(receiver, client):
    answer = await sink(receiver.url, client, webhook(SECRET, lambda: 1234.9)).send(ALERT)
    assert (answer.outcome, answer.text) == ("delivered", "status 200")
    (request,) = receiver.received
    assert request.alert == ALERT
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == ALERT.id
    assert request.headers["user-agent"].startswith("acr-monitor/")
    assert request.headers["acr-signature"] == signature(request.body, SECRET, 1234)


async def test_without_a_secret_nothing_is_signed(receiver, client):
    await sink(receiver.url, client, webhook(None, time.time)).send(ALERT)
    assert "acr-signature" not in receiver.received[0].headers


def documented_check() -> Any:
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)
    return names["is_genuine"]


async def test_the_documented_check_takes_what_is_sent_and_nothing_else(receiver, client):
    now_s = time.time()
    await sink(receiver.url, client, webhook(SECRET, lambda: now_s)).send(ALERT)
    body, header = receiver.received[0].body, receiver.received[0].headers["acr-signature"]
    is_genuine = documented_check()
    assert is_genuine(body, header, SECRET)
    assert not is_genuine(body + b" ", header, SECRET)
    assert not is_genuine(body, header, SECRET + "x")
    old = signature(body, SECRET, int(now_s) - 301)
    assert not is_genuine(body, old, SECRET)
    for nonsense in ("", "t=,v1=", "t=1", f"t=x,v1={header[-64:]}", "v1=0,t=0", header + "ä"):
        assert not is_genuine(body, nonsense, SECRET)


def test_a_signature_is_the_hmac_of_the_time_and_the_body():
    # From the shell: printf '1000.{}' | openssl dgst -sha256 -hmac secret
    known = "t=1000,v1=026360fb6284f077f1148b1ae7c62679730497810a6a0321574de01e8b009e7a"
    assert signature(b"{}", "secret", 1000) == known


async def test_slack_gets_text_for_people(receiver, client):
    alert = replace(ALERT, url="https://acr.example/#/runs/my-run")
    await sink(receiver.url, client).send(alert)
    assert msgspec.json.decode(receiver.received[0].body) == {
        "text": "\N{LARGE ORANGE CIRCLE} *stall* raised (warning), run "
        "<https://acr.example/#/runs/my-run|my-run>, step 7\n"
        "nothing moves\n"
        "What to do: look at the data"
    }


def test_what_others_wrote_mentions_nobody_and_is_no_link():
    found = text(replace(ALERT, message="<!channel> <http://x|y>\nA & B @everyone", advice=""))
    assert found.splitlines()[1:] == [
        "&lt;!channel&gt; &lt;http://x|y&gt; A &amp; B @\u200beveryone"
    ]


def test_long_sentences_are_cut_to_what_discord_takes():
    found = text(replace(ALERT, run_id="r" * 128, message="m" * 9999, advice="a " * 9999))
    assert len(found) < 2000


@pytest.mark.parametrize(
    ("alert", "line"),
    [
        (replace(ALERT, status="resolved"), "\N{WHITE HEAVY CHECK MARK} *stall* resolved"),
        (replace(ALERT, severity="critical"), "\N{LARGE RED CIRCLE} *stall* raised (critical)"),
        (
            replace(ALERT, status="ended", rule=None, severity="info"),
            "\N{LARGE BLUE CIRCLE} *ended*",
        ),
    ],
)
def test_the_first_sign_says_how_bad_it_is(alert, line):
    assert text(alert).startswith(line)


@pytest.mark.parametrize(
    ("behaviour", "outcome", "words"),
    [
        (reply(204), "delivered", "status 204"),
        (reply(400, "invalid_payload"), "refused", "status 400: invalid_payload"),
        (reply(413), "refused", "status 413"),
        (reply(403, "action_prohibited"), "failed", "status 403: action_prohibited"),
        (reply(404, "Cannot POST /hooks/T0Secret"), "failed", "status 404"),
        (reply(500), "failed", "status 500"),
        (reply(302, location="/elsewhere"), "failed", "status 302: redirects are not followed"),
        (hang, "failed", "no answer within 0.5 s"),
        (close, "failed", "RemoteProtocolError"),
        (echo, "failed", "RemoteProtocolError"),
    ],
)
async def test_whatever_a_receiver_does_is_told_in_words_without_the_address(
    receiver, client, behaviour, outcome, words
):
    receiver.usual = behaviour
    answer = await sink(receiver.url, client).send(ALERT)
    assert (answer.outcome, answer.text) == (outcome, words)
    assert len(receiver.received) == 1


async def test_nobody_there_is_a_failure(client):
    with receiving() as gone:
        url = gone.url
    answer = await sink(url, client).send(ALERT)
    assert answer.outcome == "failed"
    assert answer.text.startswith("ConnectError: ")
    assert "T0Secret" not in answer.text


@pytest.mark.parametrize(("status", "outcome"), [(200, "delivered"), (500, "failed")])
async def test_a_body_that_never_ends_is_not_read(receiver, client, status, outcome):
    receiver.usual = endless(status)
    began = time.monotonic()
    answer = await sink(receiver.url, client).send(ALERT)
    assert answer.outcome == outcome
    assert time.monotonic() - began < TIMEOUT_S
    # What fits into the buffers of two sockets.
    assert receiver.endless_bytes < 20_000_000


@pytest.mark.parametrize(
    ("status", "header", "expected_s"),
    [
        (429, "7", 7.0),
        (503, "0", 0.0),
        (429, "99999999", 3600.0),
        (429, "soon", None),
        (429, "-1", None),
        (500, "7", None),
    ],
)
async def test_a_busy_receiver_says_for_how_long(receiver, client, status, header, expected_s):
    receiver.usual = reply(status, retry_after=header)
    assert (await sink(receiver.url, client).send(ALERT)).retry_after_s == expected_s


async def test_it_may_say_so_by_a_date(receiver, client):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    receiver.usual = reply(429, retry_after=date)
    found_s = (await sink(receiver.url, client).send(ALERT)).retry_after_s
    # Dates have whole seconds.
    assert found_s is not None
    assert 50 < found_s <= 60


async def test_the_address_is_shown_as_host_and_port_and_never_logged(receiver, client, caplog):
    caplog.set_level("DEBUG")
    url = receiver.url.replace("http://", "http://user:T0Secret@")
    found = sink(url, client)
    await found.send(ALERT)
    assert found.place == receiver.place
    assert receiver.received[0].headers["authorization"].startswith("Basic ")
    assert "T0Secret" not in caplog.text
