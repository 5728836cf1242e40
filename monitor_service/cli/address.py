"""Where commands find the monitor, and with what they ask it."""

import os

from monitor_service.wire import DEFAULT_PORT

URL_VARIABLE = "ACR_MONITOR_URL"
TOKEN_VARIABLE = "ACR_TOKEN"
USUAL = f"http://127.0.0.1:{DEFAULT_PORT}"


def full(url: str) -> str:
    """An address as people type it, with its scheme."""
    return (url if "://" in url else f"http://{url}").rstrip("/")


def own_token() -> str | None:
    """The token to ask with, where there is one."""
    return os.environ.get(TOKEN_VARIABLE, "").strip() or None
