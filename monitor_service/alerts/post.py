"""An HTTP POST that cannot be held up, sent elsewhere, or made to fill the memory."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from monitor_service.__about__ import __version__
from monitor_service.alert import Alert
from monitor_service.alerts.sink import Answer

REFUSALS = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""They are about the one request; whatever else goes wrong may be mended within a day."""
BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
MAX_RETRY_AFTER_S = 3600.0
_REASON = re.compile(rb"[a-z_]{1,64}")
"""What Slack says of an error. Anything else may repeat our address, and is not shown."""

Encode = Callable[[Alert], tuple[bytes, Mapping[str, str]]]
"""An alert -> body and headers."""


class PostSink:
    """A URL that takes alerts."""

    def __init__(
        self,
        name: str,
        url: str,
        encode: Encode,
        client: httpx.AsyncClient,
        *,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`timeout_s` is for all of one request; `clock` tells Unix time in seconds."""
        self.name = name
        self._url = httpx.URL(url)
        self.place = self._url.netloc.decode().rpartition("@")[2]
        self._encode = encode
        self._client = client
        self._timeout_s = timeout_s
        self._clock = clock

    async def send(self, alert: Alert) -> Answer:
        """Post it, and judge the status; the body of a reply that is no error is never read."""
        body, headers = self._encode(alert)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", self._url, content=body, headers=headers) as reply,
            ):
                return await self._judged(reply)
        except TimeoutError:
            return Answer(outcome="failed", text=f"no answer within {self._timeout_s:g} s")
        except httpx.HTTPError as error:
            text = type(error).__name__
            if isinstance(error, httpx.ConnectError):  # Others may repeat what came back.
                text += f": {error}"
            return Answer(outcome="failed", text=text)

    async def _judged(self, reply: httpx.Response) -> Answer:
        text = f"status {reply.status_code}"
        if reply.is_success:
            return Answer(outcome="delivered", text=text)
        if reply.is_redirect:
            return Answer(outcome="failed", text=f"{text}: redirects are not followed")
        async for chunk in reply.aiter_raw():
            if _REASON.fullmatch(chunk):
                text += f": {chunk.decode()}"
            break
        if reply.status_code in REFUSALS:
            return Answer(outcome="refused", text=text)
        after_s = None
        if reply.status_code in BUSY:
            after_s = _seconds(reply.headers.get("retry-after", ""), self._clock())
        return Answer(outcome="failed", text=text, retry_after_s=after_s)


def client() -> httpx.AsyncClient:
    """What all sinks post with; proxies and certificates are those of the environment."""
    # It logs the URL of every request, and URLs are secrets here.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return httpx.AsyncClient(
        timeout=None, follow_redirects=False, headers={"user-agent": f"acr-monitor/{__version__}"}
    )


def _seconds(text: str, now_s: float) -> float | None:
    """A `Retry-After`, which is a number of seconds or a date; None when it is neither."""
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        wait_s = parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, wait_s), MAX_RETRY_AFTER_S)
