"""Tokens, and who presents them. Pure: time is an argument, and storing is for `store/tokens.py`.

A token is `acr_<id>_<secret>`. The secret has 256 random bits, so its plain SHA-256 is all that has
to be kept: there is nothing to guess that a slow hash would protect.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from monitor_service.errors import Forbidden, InvalidInput, Unauthorized
from monitor_service.wire import RUN_ID_PATTERN, RUN_ID_WORDS

Scope = Literal["read", "report", "control"]
SCOPES: tuple[Scope, ...] = ("read", "report", "control")
"""Look; deliver what a trainer delivers; change, delete and order, which implies to look."""
EVERY_RUN = "*"
CALLER = "acr.caller"
"""Where a request's ASGI scope has its `Caller`."""

_TEXT = re.compile(rb"(?i:bearer) +acr_([0-9a-f]{8})_([A-Za-z0-9_-]{16,128})")
_RUNS = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,128}")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is kept: all of it but the secret."""

    id: str
    name: str
    """Whose it is, for people; several tokens may have one name."""
    scopes: frozenset[Scope]
    runs: str = EVERY_RUN
    """Pattern of the ids of the runs it is for, as of a shell."""
    created_at_s: float
    expires_at_s: float | None = None
    hash: str
    """SHA-256 of the secret, hexadecimal."""

    def has_expired(self, now_s: float) -> bool:
        """Whether its time is over."""
        return self.expires_at_s is not None and now_s >= self.expires_at_s


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks; as it stands somebody without a token, where none is needed."""

    name: str = ""
    token_id: str | None = None
    scopes: frozenset[Scope] = frozenset(SCOPES)
    runs: str = EVERY_RUN
    address: str = ""
    """Of the peer, or of whom a trusted proxy speaks for."""
    client: str = ""
    """The program, as it calls itself."""

    def allows(self, scope: Scope) -> bool:
        """Whether the caller has this scope, or one that implies it."""
        return scope in self.scopes or (scope == "read" and "control" in self.scopes)

    def allows_run(self, run_id: str) -> bool:
        """Whether the caller has to do with this run."""
        return self.runs == EVERY_RUN or fnmatchcase(run_id, self.runs)

    @property
    def me(self) -> "Me":
        """What the caller may know of itself."""
        return Me(
            name=self.name or None,
            scopes=[scope for scope in SCOPES if scope in self.scopes],
            runs=self.runs,
            # Where one is needed, nobody comes in without.
            is_token_needed=self.token_id is not None,
        )

    def require_run(self, run_id: str) -> None:
        """Raises Forbidden, whether or not there is such a run."""
        if not self.allows_run(run_id):
            raise Forbidden(f"the token {self.name!r} is for runs {self.runs!r} only")


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, as the caller is told."""

    name: str | None
    """Of the token; None without one."""
    scopes: list[Scope]
    """What the token has; `control` implies `read`. Without tokens everybody has all."""
    runs: str
    """Pattern of the ids of the runs that the caller has to do with; `*`: of all."""
    is_token_needed: bool


def new_token(
    name: str,
    *,
    scopes: Collection[str] = ("read",),
    runs: str = EVERY_RUN,
    now_s: float,
    expires_in_s: float | None = None,
) -> tuple[Token, str]:
    """A token to keep, and the text to hand out, which nothing but this call ever knows.

    Raises:
        InvalidInput: a bad name, scope, pattern or span.
    """
    if not re.match(RUN_ID_PATTERN, name):
        raise InvalidInput("name", name, f"must be {RUN_ID_WORDS}")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InvalidInput("scope", ", ".join(scopes), f"must be of {', '.join(SCOPES)}")
    if not _RUNS.fullmatch(runs):
        raise InvalidInput("runs", runs, "must be a pattern of run ids, such as 'exp-*'")
    if expires_in_s is not None and not 0 < expires_in_s < float("inf"):
        raise InvalidInput("expires", expires_in_s, "must be a span of time")
    token_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    kept = Token(
        id=token_id,
        name=name,
        scopes=frozenset(scope for scope in SCOPES if scope in scopes),
        runs=runs,
        created_at_s=now_s,
        expires_at_s=None if expires_in_s is None else now_s + expires_in_s,
        hash=digest(secret.encode()),
    )
    return kept, f"acr_{token_id}_{secret}"


def digest(secret: bytes) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret).hexdigest()


def presented(authorization: bytes | None, known: Mapping[str, Token], now_s: float) -> Token:
    """The token of an `Authorization` header; raises Unauthorized."""
    if authorization is None:
        raise Unauthorized("a token is needed: Authorization: Bearer acr_...")
    found = _TEXT.fullmatch(authorization)
    if not found:
        raise Unauthorized("Authorization has to be: Bearer acr_<id>_<secret>")
    token = known.get(found[1].decode())
    if token is None or not hmac.compare_digest(digest(found[2]), token.hash):
        raise Unauthorized("no such token, or it was revoked")
    if token.has_expired(now_s):
        raise Unauthorized(f"the token {token.name!r} has expired")
    return token
