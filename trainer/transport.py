"""One request to the monitor, and what its refusals mean."""

import logging
import os
from contextlib import suppress
from typing import Any

import httpx
import msgspec

from monitor_service.client.http import Bearer
from monitor_service.resources import Problem, StepResult
from monitor_service.wire import MSGPACK

NOT_ABOUT_THE_BODY = frozenset({401, 403, 407, 408, 425, 429})
"""Statuses of doors, proxies and limits: the report is fine, and is sent again."""


class Refused(Exception):
    """The monitor answered, and said no.

    Attributes:
        status: of the reply.
        kind: the problem's type; "" when the reply is no problem document.
        results: what became of each report, where the monitor says so.
    """

    def __init__(self, reply: httpx.Response) -> None:
        self.status = reply.status_code
        self.kind = ""
        self.results: list[StepResult] = []
        text = f"status {reply.status_code}"
        with suppress(msgspec.DecodeError):
            problem = msgspec.json.decode(reply.content, type=Problem)
            self.results, self.kind, text = problem.results or [], problem.type, problem.detail
        super().__init__(text)


class Quiet(logging.Filter):
    """Keeps httpx from announcing every request to the monitor: noise at each step."""

    def __init__(self, url: httpx.URL) -> None:
        super().__init__()
        self._url = str(url).rstrip("/")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this is not about our requests."""
        return self._url not in record.getMessage()


def auth_for(url: httpx.URL, token: str | None = None) -> httpx.Auth | None:
    """How to say who we are: by token, that of `ACR_TOKEN` if need be, or as the address has it.

    Raises:
        InvalidInput: what can be no token; it is not shown.
    """
    if found := token or os.environ.get("ACR_TOKEN", "").strip():
        return Bearer(found)
    return httpx.BasicAuth(url.username, url.password) if url.userinfo else None


def post(http: httpx.Client, path: str, content: Any) -> bytes:
    """The body of the monitor's answer.

    Raises:
        Refused: it will not take this, now or later.
        httpx.HTTPError: no answer, or one that says nothing about the content: try again.
    """
    reply = http.post(
        path, content=msgspec.msgpack.encode(content), headers={"content-type": MSGPACK}
    )
    if reply.status_code >= 500 or reply.status_code in NOT_ABOUT_THE_BODY:
        text = f"status {reply.status_code}, {Refused(reply)}"
        if reply.status_code == httpx.codes.UNAUTHORIZED:
            text += " (the token is that of ACR_TOKEN, unless one is given)"
        raise httpx.HTTPStatusError(text, request=reply.request, response=reply)
    if reply.is_error:
        raise Refused(reply)
    return reply.content
