"""One request to the monitor, and what its refusals mean."""

from contextlib import suppress
from typing import Any

import httpx
import msgspec

from monitor_service.wire import MSGPACK, Problem, StepResult

NOT_ABOUT_THE_BODY = frozenset({401, 403, 407, 408, 425, 429})
"""Statuses of proxies and limits: the report is fine, and is sent again."""


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
        reply.raise_for_status()
    if reply.is_error:
        raise Refused(reply)
    return reply.content
