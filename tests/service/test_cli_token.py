"""`acr token`: tokens are made once, listed without their secrets, and revoked."""

import sys
import time

import httpx
import msgspec
import pytest
import redis

from monitor_service.cli.main import main
from tests.servers import acr_serve, eventually
from tests.service.acr import Ended
from tests.service.guarded import guarded, with_token

DAY_S = 86_400


@pytest.fixture
def redis_url(redis_url: str):
    """A part of the shared Redis for the tokens of one test."""
    url = f"{redis_url}?db=12"
    yield url
    with redis.Redis.from_url(url) as client:
        client.flushdb()


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`acr token` with these arguments, in this process."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["acr", "token", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def with_redis(token, redis_url, monkeypatch):
    """The same, on that Redis."""
    monkeypatch.setenv("ACR_REDIS_URL", redis_url)
    return token


def test_a_token_is_printed_alone_so_that_a_shell_can_take_it(with_redis, redis_url):
    made = with_redis("create", "ana", "--scope", "control")
    assert made.status == 0
    text = made.out.removesuffix("\n")
    assert "only time" in made.err
    assert "first" in made.err
    with guarded(redis_url) as url:
        assert httpx.get(f"{url}/v1/runs", headers=with_token(text)).status_code == 200
        assert httpx.get(f"{url}/v1/runs").status_code == 401


def test_json_tells_all_of_a_token_once_and_its_secret_never_again(with_redis):
    before_s = time.time()
    made = with_redis(
        *("create", "trainer", "--scope", "report", "--scope", "read"),
        *("--runs", "exp-*", "--expires", "30d", "--json"),
    )
    found = msgspec.json.decode(made.out)
    text, token_id = found.pop("token"), found["id"]
    assert text.startswith(f"acr_{token_id}_")
    assert found["scopes"] == ["read", "report"]
    assert found["runs"] == "exp-*"
    assert found["expires_at_s"] - found["created_at_s"] == pytest.approx(30 * DAY_S)
    assert before_s <= found["created_at_s"] <= time.time()
    listed = with_redis("list", "--json")
    assert msgspec.json.decode(listed.out) == [found]
    assert text.split("_", 2)[2] not in listed.out + with_redis("list").out


def test_a_token_reads_only_unless_it_is_asked_for_more(with_redis):
    made = with_redis("create", "prometheus", "--json")
    assert msgspec.json.decode(made.out)["scopes"] == ["read"]


def test_the_list_shows_who_may_do_what_until_when(with_redis):
    with_redis("create", "ana", "--scope", "control")
    with_redis("create", "trainer", "--scope", "read,report", "--runs", "exp-*", "--expires", "1s")
    eventually(lambda: "expired" in with_redis("list").out, "the second one expires", 5)
    title, first, second = with_redis("list").out.splitlines()
    assert title.split() == ["id", "name", "scopes", "runs", "created", "expires"]
    assert first.split()[1:4] == ["ana", "control", "*"]
    assert first.split()[-1] == "-"
    assert second.split()[1:4] == ["trainer", "read,report", "exp-*"]
    assert second.split()[-1] == "expired"


def test_without_tokens_the_list_says_what_that_means(with_redis):
    listed = with_redis("list")
    assert (listed.status, listed.out) == (0, "")
    assert "may do everything" in listed.err
    assert with_redis("list", "--json").out == "[]\n"


def test_a_revoked_token_is_gone_and_the_last_one_is_told_to_be_the_last(with_redis):
    ids = [msgspec.json.decode(with_redis("create", "a", "--json").out)["id"] for _ in range(2)]
    first = with_redis("revoke", ids[0])
    assert (first.status, first.out) == (0, f"Revoked {ids[0]}.\n")
    assert "no token is left" not in first.err
    assert "no token is left" in with_redis("revoke", ids[1], "--json").err
    unknown = with_redis("revoke", ids[1])
    assert unknown.status == 1
    assert "acr token list" in unknown.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("a b",), "name"),
        (("a", "--scope", "admin"), "read, report, control"),
        (("a", "--runs", "a/b"), "runs"),
        (("a", "--redis-url", "http://x"), "redis_url"),
    ],
)
def test_what_makes_no_sense_is_refused_and_makes_nothing(with_redis, arguments, complaint):
    refused = with_redis("create", *arguments)
    assert refused.status == 1
    assert complaint in refused.err
    assert with_redis("list", "--json").out == "[]\n"


@pytest.mark.parametrize("span", ["soon", "0s", "11000d"])
def test_a_span_that_is_none_is_wrong_usage(with_redis, span):
    assert with_redis("create", "a", "--expires", span).status == 2


def test_without_a_monitor_its_store_is_started_for_the_moment(token, folder):
    where = ("--data-dir", str(folder / "data"))
    missing = token("list", *where)
    assert missing.status == 1
    assert "--redis-url" in missing.err
    assert not (folder / "data").exists()
    made = token("create", "ana", *where)
    assert made.status == 0
    assert made.out.split("_")[1] in token("list", *where).out


def test_the_store_of_a_running_monitor_is_found_by_its_folder(token, folder):
    with acr_serve(folder) as server:
        assert httpx.get(f"{server.url}/v1/runs").status_code == 200
        text = token("create", "ana", "--data-dir", str(folder)).out.strip()
        eventually(lambda: httpx.get(f"{server.url}/v1/runs").status_code == 401, "it shuts", 2.5)
        assert httpx.get(f"{server.url}/v1/runs", headers=with_token(text)).status_code == 200
        revoked = token("revoke", text.split("_")[1], "--data-dir", str(folder))
        assert revoked.status == 0
    # The monitor ended, and its file still says where its store was.
    assert token("list", "--data-dir", str(folder), "--json").out == "[]\n"
