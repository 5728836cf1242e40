"""Tokens: what is kept of them, whom they let in, and how a process knows them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from monitor_service.errors import Forbidden, InvalidInput, StoreUnavailable, Unauthorized
from monitor_service.store.driver import answer, connect
from monitor_service.store.keys import TOKENS
from monitor_service.store.tokens import TokenStore
from monitor_service.tokens import Caller, Token, new_token, presented
from tests.servers import everything, stock_redis

NOW_S = 1000.0


@pytest.fixture
def redis_url(redis_url: str) -> str:
    """A part of the shared Redis that only tests of tokens use, so that nobody else needs one."""
    return f"{redis_url}?db=5"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as opened:
        await answer(opened.delete(TOKENS))
        yield opened
        await answer(opened.delete(TOKENS))


def token(**wanted) -> tuple[Token, str]:
    return new_token("ana", **{"now_s": NOW_S, **wanted})


def header(text: str) -> bytes:
    return f"Bearer {text}".encode()


# The token itself


def test_who_presents_a_token_is_known_by_it():
    kept, text = token()
    known = {kept.id: kept}
    assert presented(header(text), known, NOW_S) is kept
    assert presented(f"bearer  {text}".encode(), known, NOW_S) is kept


def test_what_is_kept_does_not_contain_the_secret():
    kept, text = token()
    marker, token_id, secret = text.split("_", 2)
    assert (marker, token_id) == ("acr", kept.id)
    assert len(secret) == 43  # 32 random bytes: ceil(32 * 8 / 6) characters of base 64.
    assert secret.encode() not in msgspec.json.encode(kept)


def test_no_two_tokens_are_alike():
    assert len({token()[1] for _ in range(100)}) == 100


def altered(text: str) -> str:
    return text[:-1] + ("A" if text[-1] != "A" else "B")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda text: None,
        lambda text: b"",
        lambda text: text.encode(),
        lambda text: b"Basic " + text.encode(),
        lambda text: header(altered(text)),
        lambda text: header(text + "A"),
        lambda text: header(text[:-1]),
        lambda text: header(f"acr_00000000_{text.split('_', 2)[2]}"),
        lambda text: header(text) + b"\n",
        lambda text: header(text) + b" x",
        lambda text: b"Bearer " + b"\xff" * 40,
        lambda text: b"Bearer " + b"A" * 100_000,
    ],
)
def test_anything_else_is_refused_without_being_repeated(wrong):
    kept, text = token()
    given = wrong(text)
    with pytest.raises(Unauthorized) as refused:
        presented(given, {kept.id: kept}, NOW_S)
    assert text.split("_", 2)[2][:8] not in str(refused.value)


def test_a_token_ends_at_its_time_and_not_before():
    kept, text = token(expires_in_s=60)
    presented(header(text), {kept.id: kept}, NOW_S + 59.9)
    with pytest.raises(Unauthorized, match="expired"):
        presented(header(text), {kept.id: kept}, NOW_S + 60)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"name": "<b>ana</b>"}, "name"),
        ({"name": "ana\r\nx: y"}, "name"),
        ({"name": ""}, "name"),
        ({"scopes": ["admin"]}, "scope"),
        ({"scopes": []}, "scope"),
        ({"runs": ""}, "runs"),
        ({"runs": "exp/*"}, "runs"),
        ({"expires_in_s": 0}, "expires"),
        ({"expires_in_s": float("nan")}, "expires"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused_by_field(wanted, field):
    with pytest.raises(InvalidInput) as refused:
        new_token(**{"name": "ana", "now_s": NOW_S, **wanted})
    assert refused.value.field == field


# What it allows


@pytest.mark.parametrize(
    ("has", "allowed"),
    [
        ("read", {"read"}),
        ("report", {"report"}),
        ("control", {"read", "control"}),
    ],
)
def test_control_implies_to_look_and_nothing_else_implies_anything(has, allowed):
    caller = Caller(scopes=frozenset({has}))
    assert {scope for scope in ("read", "report", "control") if caller.allows(scope)} == allowed


@pytest.mark.parametrize(
    ("runs", "run_id", "is_allowed"),
    [
        ("*", "anything", True),
        ("exp-*", "exp-1", True),
        ("exp-*", "my-exp-1", False),
        ("exp-*", "EXP-1", False),
        ("exp-?", "exp-12", False),
        ("exp-[12]", "exp-2", True),
        ("exp.1", "expx1", False),
    ],
)
def test_a_pattern_says_for_which_runs(runs, run_id, is_allowed):
    caller = Caller(name="ana", runs=runs)
    assert caller.allows_run(run_id) is is_allowed
    if not is_allowed:
        with pytest.raises(Forbidden, match="ana"):
            caller.require_run(run_id)


# The store


async def test_tokens_are_put_listed_and_revoked(client):
    store = TokenStore(client)
    kept, _ = token()
    later, _ = token(now_s=NOW_S + 1)
    assert await store.put(later)
    assert await store.put(kept)
    assert await store.list() == [kept, later]
    assert await store.revoke(kept.id)
    assert not await store.revoke(kept.id)
    assert await store.list() == [later]


async def test_a_token_never_takes_the_place_of_another(client):
    store = TokenStore(client)
    kept, _ = token()
    assert await store.put(kept)
    assert not await store.put(msgspec.structs.replace(kept, name="mallory"))
    assert await store.list() == [kept]


async def test_nothing_in_redis_lets_anybody_in(client, redis_url):
    kept, text = token()
    await TokenStore(client).put(kept)
    assert text.split("_", 2)[2] not in repr(await asyncio.to_thread(everything, redis_url))


async def test_before_it_was_ever_read_no_token_is_known(client):
    store = TokenStore(client)
    assert store.known is None
    await store.refresh()
    assert store.known == {}
    assert not store.is_needed


async def test_when_all_tokens_are_gone_one_is_needed_all_the_same(client):
    store = TokenStore(client)
    kept, _ = token()
    await store.put(kept)
    await store.refresh()
    await answer(client.delete(TOKENS))
    await store.refresh()
    assert store.known == {}
    assert store.is_needed


async def test_a_token_of_another_version_is_left_out_and_still_keeps_the_door_shut(client):
    store = TokenStore(client)
    kept, _ = token()
    await answer(client.hset(TOKENS, "00000000", b'{"id": 7}'))
    await store.refresh()
    assert store.known == {}
    assert store.is_needed
    await store.put(kept)
    await store.refresh()
    assert store.known == {kept.id: kept}


async def test_without_redis_what_was_read_last_stays_in_force(folder: Path):
    kept, _ = token()
    async with connect(f"unix://{folder}/redis.sock") as client:
        store, late = TokenStore(client), TokenStore(client)
        with stock_redis(folder):
            await store.put(kept)
            await store.refresh()
        for one in (store, late):
            with pytest.raises(StoreUnavailable):
                await one.refresh()
    assert store.known == {kept.id: kept}
    assert late.known is None
