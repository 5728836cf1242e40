"""`acr token`: who may ask the monitor for what.

Tokens are written into the store itself, not by way of the monitor: whoever has the store is the
administrator, and the first token has to come from somewhere.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.text import Text

from monitor_service.cli.options import AsJson
from monitor_service.cli.terminal import columns, complain, err, hint, out, printable
from monitor_service.cli.values import span_s
from monitor_service.errors import StoreUnavailable
from monitor_service.formats import NOTHING, clock
from monitor_service.server import Endpoint
from monitor_service.store.driver import connect
from monitor_service.store.tokens import TokenStore
from monitor_service.tokens import EVERY_RUN, SCOPES, Scope, Token, new_token
from monitor_service.urls import REDIS_SCHEMES, checked

LONGEST_S = 10 * 365 * 86_400
COLUMNS = ("id", "name", "scopes", "runs", "created", "expires")

T = TypeVar("T")
RedisUrl = Annotated[
    str | None,
    typer.Option(envvar="ACR_REDIS_URL", help="The monitor's Redis.", show_default=False),
]
DataDir = Annotated[
    Path,
    typer.Option(
        envvar="ACR_DATA_DIR", help="The monitor's data directory, where it has no Redis."
    ),
]
DEFAULT_DATA_DIR = Path(".acr")


class Shown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token as `--json` prints it."""

    id: str
    name: str
    scopes: list[Scope]
    runs: str
    created_at_s: float
    expires_at_s: float | None
    token: str | None = None
    """All of it, of one that was just made."""


def create(
    name: Annotated[str, typer.Argument(help="Whose it is.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it allows: read, report or control; may be repeated. [default: read]",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        str, typer.Option(metavar="GLOB", help="The runs it is for, such as 'exp-*'.")
    ] = EVERY_RUN,
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End it after 90s, 12h, 30d.", show_default=False),
    ] = None,
    redis_url: RedisUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, this once."""
    lasts_s = None if expires is None else span_s(expires, most_s=LONGEST_S)
    scopes = [part.strip() for text in scope or ["read"] for part in text.split(",")]

    async def made(store: TokenStore) -> tuple[Token, str, bool]:
        is_first = not await store.list()
        while True:
            kept, text = new_token(
                name, scopes=scopes, runs=runs, now_s=time.time(), expires_in_s=lasts_s
            )
            if await store.put(kept):
                return kept, text, is_first

    kept, text, is_first = _asked(made, redis_url, data_dir)
    print(_json(_shown(kept, text)) if as_json else text)
    hint("this is the only time that it is shown; put it into ACR_TOKEN where it is used")
    hint("monitors that run know it within two seconds")
    if is_first:
        hint("it is the first one: from now on every request needs a token, on this machine too")


def list_all(
    redis_url: RedisUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False
) -> None:
    """List the tokens, oldest first; their secrets are kept nowhere."""
    found = _asked(TokenStore.list, redis_url, _existing(data_dir, redis_url))
    if as_json:
        print(_json([_shown(token) for token in found]))
        return
    if not found:
        err.print("No tokens: whoever reaches the monitor may do everything.")
        return
    title, *lines = columns([COLUMNS, *map(_row, found)], left=range(len(COLUMNS)))
    out.print(Text("  ".join(title), style="bold"))
    for cells in lines:
        out.print(Text("  ".join(cells)))


def revoke(
    token_id: Annotated[
        str, typer.Argument(metavar="ID", help="As `acr token list` has it.", show_default=False)
    ],
    redis_url: RedisUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """End a token; every monitor refuses it within two seconds."""

    async def revoked(store: TokenStore) -> tuple[bool, bool]:
        is_found = await store.revoke(token_id)
        return is_found, not await store.list()

    is_found, none_left = _asked(revoked, redis_url, _existing(data_dir, redis_url))
    if not is_found:
        complain(f"no token {token_id!r}; `acr token list` shows the ids")
        raise typer.Exit(1)
    print(_json({"revoked": token_id}) if as_json else f"Revoked {printable(token_id)}.")
    if none_left:
        hint("no token is left; monitors that run stay closed until they are started again")


def tokens() -> typer.Typer:
    """The commands as a group of their own."""
    group = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens.")
    group.command("create")(create)
    group.command("list")(list_all)
    group.command("revoke")(revoke)
    return group


def _asked(
    question: Callable[[TokenStore], Awaitable[T]], redis_url: str | None, data_dir: Path
) -> T:
    """What the store answers.

    It is that Redis, or that of the monitor that runs on the data directory, or one that is
    started there for the moment.
    """
    if redis_url is not None:
        return asyncio.run(_answer(question, checked("redis_url", redis_url, REDIS_SCHEMES)))
    with suppress(FileNotFoundError, msgspec.DecodeError, StoreUnavailable):
        found = msgspec.json.decode((data_dir / "monitor.json").read_bytes(), type=Endpoint)
        return asyncio.run(_answer(question, found.redis_url))
    # Only here, as in the server: it exists for Linux and macOS.
    from monitor_service.store.embedded import EmbeddedValkey

    with EmbeddedValkey(data_dir) as server:
        return asyncio.run(_answer(question, server.url))


async def _answer(question: Callable[[TokenStore], Awaitable[T]], redis_url: str) -> T:
    async with connect(redis_url) as redis:
        return await question(TokenStore(redis))


def _existing(data_dir: Path, redis_url: str | None) -> Path:
    if redis_url is None and not data_dir.is_dir():
        complain(
            f"there is no data directory {data_dir}: say where the monitor keeps its data, with "
            "--data-dir, or which Redis it uses, with --redis-url"
        )
        raise typer.Exit(1)
    return data_dir


def _row(token: Token) -> tuple[str, ...]:
    expires = NOTHING if token.expires_at_s is None else clock(token.expires_at_s)
    if token.has_expired(time.time()):
        expires = "expired"
    scopes = ",".join(scope for scope in SCOPES if scope in token.scopes)
    return (token.id, token.name, scopes, token.runs, clock(token.created_at_s), expires)


def _shown(token: Token, text: str | None = None) -> Shown:
    return Shown(
        id=token.id,
        name=token.name,
        scopes=[scope for scope in SCOPES if scope in token.scopes],
        runs=token.runs,
        created_at_s=token.created_at_s,
        expires_at_s=token.expires_at_s,
        token=text,
    )


def _json(found: object) -> str:
    return msgspec.json.encode(found).decode()
