"""Addresses that people give us: checked before use, and safe to show."""

import re
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from monitor_service.errors import InvalidInput

HTTP_SCHEMES = ("http", "https")
REDIS_SCHEMES = ("redis", "rediss", "unix")


def checked(field: str, url: str, schemes: Sequence[str]) -> str:
    """The URL itself.

    Raises:
        InvalidInput: another scheme, no host (or no path, for unix://), or a port out of range.
    """
    if not _is_complete(url, schemes):
        allowed = " or ".join(f"{scheme}://..." for scheme in schemes)
        raise InvalidInput(field, without_password(url), f"must be {allowed}, with a place in it")
    return url


def without_password(url: str) -> str:
    """A URL that may be shown and logged.

    >>> without_password("redis://user:secret@host:6379/0")
    'redis://host:6379/0'
    """
    return re.sub(r"://[^/].*@", "://", url)


def run_page(url: str, run_id: str) -> str:
    """Where people look at a run, on the monitor at `url`.

    >>> run_page("http://host:8400/", "run 1")
    'http://host:8400/#/runs/run%201'
    """
    return f"{url.rstrip('/')}/#/runs/{quote(run_id, safe='')}"


def _is_complete(url: str, schemes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(url)
        place = parts.path if parts.scheme == "unix" else parts.hostname
        return parts.scheme in schemes and bool(place) and parts.port != 0
    except ValueError:
        return False
