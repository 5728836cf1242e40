"""Configuration of the service, from `ACR_*` variables; built once, by the composition root."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any

from monitor_service.alerts import config as alert_config
from monitor_service.alerts.config import AlertConfig
from monitor_service.errors import InvalidInput
from monitor_service.live.watcher import DEFAULT_MAX_STREAMS
from monitor_service.retention import DEFAULT, DEFAULT_MAX_RUNS, VARIABLES, Retention
from monitor_service.urls import REDIS_SCHEMES, checked
from monitor_service.wire import DEFAULT_PORT

DEFAULT_MAX_BODY_BYTES = 33_554_432
LOOPBACK = ("127.0.0.1", "::1", "localhost")
LEAST: Mapping[str, float] = MappingProxyType(
    {
        "receive_s": 0.1,
        "max_requests_per_s": 0.1,
        "max_requests_burst": 1,
        "max_in_flight": 2,
        "max_connections": 2,
        "max_streams": 0,
        "max_runs": 1,
    }
)
"""Smallest values of the limits."""


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
    """Allow an address other machines can reach, although there is no token."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, beside those of loopback, under which a monitor without tokens may be asked."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks whose word on who asks, and whether by TLS, is taken."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    """None: the key is in the file of the certificate."""
    tls_key_password_file: Path | None = None
    receive_s: float = 30.0
    """Longest time for the head of a request to arrive, and again for its body."""
    max_requests_per_s: float = 2000.0
    """Of one token, or of one address where there are no tokens."""
    max_requests_burst: int = 4000
    """Requests at once, after a pause."""
    max_in_flight: int = 1024
    """Requests under way, streams aside; half of them of one caller."""
    max_connections: int = 4096
    """Open connections; half of them of one address."""
    max_streams: int = DEFAULT_MAX_STREAMS
    """Streams of events that are open at a time."""
    max_runs: int = DEFAULT_MAX_RUNS
    """Runs there may be, approximately."""
    retention: Retention = DEFAULT
    alerts: AlertConfig = field(default_factory=AlertConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InvalidInput("port", self.port, "must be in [0, 65535]")
        if self.max_body_bytes < 1024:
            raise InvalidInput("max_body_bytes", self.max_body_bytes, "must be at least 1024")
        if self.redis_url is not None:
            checked("redis_url", self.redis_url, REDIS_SCHEMES)
        for name, least in LEAST.items():
            if not least <= getattr(self, name) < float("inf"):
                raise InvalidInput(name, getattr(self, name), f"must be at least {least:g}")
        for proxy in self.trusted_proxies:
            if not _is_network(proxy):
                raise InvalidInput("trusted_proxies", proxy, "must be addresses or networks")
        if self.tls_cert is None and (self.tls_key or self.tls_key_password_file):
            raise InvalidInput("tls_cert", None, "must be given with tls_key")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK


def from_environment(environ: Mapping[str, str]) -> ServiceConfig:
    """The configuration that `ACR_*` variables describe."""
    readers: dict[str, tuple[Callable[[str], Any], str]] = {
        "host": (str, "an address"),
        "port": (int, "a whole number"),
        "data_dir": (Path, "a path"),
        "redis_url": (str, "a URL"),
        "max_body_bytes": (int, "a whole number"),
        "insecure": (_flag, "0 or 1"),
        "allowed_hosts": (_list, "names, with commas between"),
        "trusted_proxies": (_list, "addresses, with commas between"),
        "tls_cert": (Path, "a path"),
        "tls_key": (Path, "a path"),
        "tls_key_password_file": (Path, "a path"),
        "receive_s": (float, "a number of seconds"),
        "max_requests_per_s": (float, "a number"),
        "max_requests_burst": (int, "a whole number"),
        "max_in_flight": (int, "a whole number"),
        "max_connections": (int, "a whole number"),
        "max_streams": (int, "a whole number"),
        "max_runs": (int, "a whole number"),
    }
    found: dict[str, Any] = {}
    for name, (read, words) in readers.items():
        variable = f"ACR_{name.upper()}"
        if text := environ.get(variable):
            found[name] = _read(variable, text, read, words)
    return ServiceConfig(
        retention=_retention(environ), alerts=alert_config.from_environment(environ), **found
    )


def _retention(environ: Mapping[str, str]) -> Retention:
    found: dict[str, Any] = {}
    for name, variable in VARIABLES.items():
        if text := environ.get(variable):
            is_time = name.endswith("_s")
            read, words = (float, "a number of seconds") if is_time else (int, "a whole number")
            found[name] = _read(variable, text, read, words)
    return Retention(**found)


def _read(variable: str, text: str, read: Callable[[str], Any], words: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise InvalidInput(variable, text, f"must be {words}") from error


def _flag(text: str) -> bool:
    if text.lower() not in ("0", "1", "false", "true"):
        raise ValueError(text)
    return text.lower() in ("1", "true")


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
