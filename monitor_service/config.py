"""Configuration of the service, from `ACR_*` variables; built once, by the composition root."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor_service.errors import InvalidInput
from monitor_service.urls import REDIS_SCHEMES, checked
from monitor_service.wire import DEFAULT_PORT

DEFAULT_MAX_BODY_BYTES = 33_554_432
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """How the monitor runs; raises `InvalidInput` naming the variable."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 picks a free one."""
    data_dir: Path = Path(".acr")
    """Where the embedded store keeps its file, and where the monitor writes `monitor.json`."""
    redis_url: str | None = None
    """None starts the embedded store."""
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    insecure: bool = False
    """Allow an address other machines can reach, although there is no authentication."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InvalidInput("port", self.port, "must be in [0, 65535]")
        if self.max_body_bytes < 1024:
            raise InvalidInput("max_body_bytes", self.max_body_bytes, "must be at least 1024")
        if self.redis_url is not None:
            checked("redis_url", self.redis_url, REDIS_SCHEMES)
        if self.host not in LOOPBACK and not self.insecure:
            raise InvalidInput(
                "host",
                self.host,
                "must be a loopback address, because the API has no authentication: put an "
                "authenticating proxy in front, or say --insecure on a network you trust",
            )


def from_environment(environ: Mapping[str, str]) -> ServiceConfig:
    """The configuration that `ACR_*` variables describe."""
    readers: dict[str, tuple[Callable[[str], Any], str]] = {
        "host": (str, "an address"),
        "port": (int, "a whole number"),
        "data_dir": (Path, "a path"),
        "redis_url": (str, "a URL"),
        "max_body_bytes": (int, "a whole number"),
        "insecure": (_flag, "0 or 1"),
    }
    found: dict[str, Any] = {}
    for name, (read, words) in readers.items():
        if text := environ.get(f"ACR_{name.upper()}"):
            try:
                found[name] = read(text)
            except ValueError as error:
                raise InvalidInput(f"ACR_{name.upper()}", text, f"must be {words}") from error
    return ServiceConfig(**found)


def _flag(text: str) -> bool:
    if text.lower() not in ("0", "1", "false", "true"):
        raise ValueError(text)
    return text.lower() in ("1", "true")
