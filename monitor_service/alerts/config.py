"""Who is told of alarms, and of which: from `ACR_ALERT_*` variables."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import httpx

from monitor_service.engine.health.evidence import Severity
from monitor_service.errors import InvalidInput
from monitor_service.urls import HTTP_SCHEMES

ALSO = ("killed", "rearmed", "locked", "ended")
"""What may be told beside alarms."""
NOTHING_ELSE = "none"
QUIET_S = 600.0
MIN_SECRET_CHARS = 16
NOT_SHOWN = "(not shown)"
"""In place of an address or a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertConfig:
    """Sinks and what they are told; raises `InvalidInput` naming the variable."""

    log: bool = True
    """Whether the monitor's own log is a sink."""
    webhook_urls: tuple[str, ...] = field(default=(), repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    """Signs the requests to webhooks; None leaves them unsigned."""
    slack_urls: tuple[str, ...] = field(default=(), repr=False)
    min_severity: Severity = "warning"
    """Alarms below it are not told."""
    also: frozenset[str] = frozenset({"killed", "locked"})
    """Of `ALSO`; told whatever their severity."""
    quiet_s: float = QUIET_S
    """How long an alarm has to stay away before its end is told."""
    public_url: str | None = None
    """Where people reach the monitor; None: alerts have no link."""

    def __post_init__(self) -> None:
        for url in self.webhook_urls:
            _check_url("ACR_ALERT_WEBHOOK_URL", url)
        for url in self.slack_urls:
            _check_url("ACR_ALERT_SLACK_URL", url)
        if self.public_url is not None:
            _check_url("ACR_PUBLIC_URL", self.public_url)
        if self.webhook_secret is not None and len(self.webhook_secret) < MIN_SECRET_CHARS:
            allowed = f"must have at least {MIN_SECRET_CHARS} characters"
            raise InvalidInput("ACR_ALERT_WEBHOOK_SECRET", NOT_SHOWN, allowed)
        if self.min_severity not in get_args(Severity):
            allowed = f"must be one of {', '.join(get_args(Severity))}"
            raise InvalidInput("ACR_ALERT_MIN_SEVERITY", self.min_severity, allowed)
        if unknown := self.also - set(ALSO):
            allowed = f"any of {', '.join(ALSO)}, or {NOTHING_ELSE}"
            raise InvalidInput("ACR_ALERT_ALSO", ",".join(sorted(unknown)), allowed)
        if not 0 <= self.quiet_s <= 86_400:
            raise InvalidInput("ACR_ALERT_QUIET_S", self.quiet_s, "must be in [0, 86400]")


def from_environment(environ: Mapping[str, str]) -> AlertConfig:
    """The configuration that `ACR_ALERT_*` variables, and `ACR_PUBLIC_URL`, describe."""
    found: dict[str, Any] = {}
    for name, variable, kept_apart in (
        ("webhook_urls", "ACR_ALERT_WEBHOOK_URL", True),
        ("slack_urls", "ACR_ALERT_SLACK_URL", True),
        ("webhook_secret", "ACR_ALERT_WEBHOOK_SECRET", False),
    ):
        if text := _value_or_file(environ, variable):
            found[name] = _words(text) if kept_apart else text
    readers: dict[str, tuple[str, Callable[[str], Any], str]] = {
        "log": ("ACR_ALERT_LOG", _flag, "must be 0 or 1"),
        "quiet_s": ("ACR_ALERT_QUIET_S", float, "must be seconds"),
        "min_severity": ("ACR_ALERT_MIN_SEVERITY", lambda text: cast(Severity, text), ""),
        "also": ("ACR_ALERT_ALSO", _also, ""),
        "public_url": ("ACR_PUBLIC_URL", lambda text: text.rstrip("/"), ""),
    }
    for name, (variable, read, allowed) in readers.items():
        if value := environ.get(variable):
            try:
                found[name] = read(value)
            except ValueError as error:
                raise InvalidInput(variable, value, allowed) from error
    return AlertConfig(**found)


def _value_or_file(environ: Mapping[str, str], variable: str) -> str:
    """What the variable says, or the file that its `_FILE` names; "" when there is neither."""
    text, path = environ.get(variable, ""), environ.get(f"{variable}_FILE", "")
    if not path:
        return text.strip()
    if text:
        raise InvalidInput(f"{variable}_FILE", path, f"must not be there beside {variable}")
    try:
        text = Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        allowed = f"must be a file that can be read ({type(error).__name__})"
        raise InvalidInput(f"{variable}_FILE", path, allowed) from error
    if not text:
        raise InvalidInput(f"{variable}_FILE", path, "must not be empty")
    return text


def _check_url(variable: str, text: str) -> None:
    try:
        url = httpx.URL(text)
        text.encode("ascii")
        # What a resolver would refuse only when there is something to tell.
        is_place = bool(url.host.encode("idna")) and (url.port is None or 0 < url.port < 65_536)
        is_complete = is_place and url.scheme in HTTP_SCHEMES
    except (httpx.InvalidURL, ValueError):
        is_complete = False
    if not is_complete:
        raise InvalidInput(variable, NOT_SHOWN, "must be https://... or http://..., with a host")


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


def _also(text: str) -> frozenset[str]:
    return frozenset() if text == NOTHING_ELSE else frozenset(_words(text))
