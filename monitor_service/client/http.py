"""One monitor, asked over HTTP: requests out, typed answers or typed errors in."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from monitor_service.__about__ import __version__
from monitor_service.errors import InvalidInput
from monitor_service.resources import Problem
from monitor_service.urls import without_password
from monitor_service.wire import MSGPACK, check_run_id

T = TypeVar("T")


class Unreachable(Exception):
    """No answer came: nothing listens there, or not in time, or the address is none.

    Args:
        url: the monitor's address; a password in it is not shown.
        why: what went wrong, in the words of the network.
    """

    def __init__(self, url: str, why: object) -> None:
        self.url = without_password(url)
        super().__init__(f"no monitor answers at {self.url}: {why}")


class NotUnderstood(Exception):
    """What answered is no monitor, or one of another version.

    Args:
        url: its address; a password in it is not shown.
        status: of the answer.
        why: what is strange about it.
    """

    def __init__(self, url: str, status: int, why: object) -> None:
        self.url = without_password(url)
        self.status = status
        self.why = str(why)
        super().__init__(f"the answer of {self.url} (status {status}) is not understood: {why}")


class ClientError(Exception):
    """The monitor answered, and said no.

    Args:
        problem: what it said; `field`, `value` and `allowed` where the input is wrong.
        path: what it was asked.
        retry_after_s: when it wants to be asked again; None when it does not say.
    """

    def __init__(self, problem: Problem, path: str, retry_after_s: float | None = None) -> None:
        self.problem = problem
        self.path = path
        self.retry_after_s = retry_after_s
        super().__init__(problem.detail)

    @property
    def status(self) -> int:
        """The HTTP status, such as 404."""
        return self.problem.status

    @property
    def kind(self) -> str:
        """The error's own name, such as `run-not-found`; `about:blank` when it is HTTP's."""
        return self.problem.type.rpartition("urn:acr:error:")[2]


class Http:
    """A connection to one monitor. Safe to share between threads."""

    def __init__(self, url: str, *, token: str | None, timeout_s: float) -> None:
        """Connects to nothing yet; raises Unreachable when `url` can be no address."""
        self.url = url.rstrip("/")
        try:
            self._client = httpx.Client(
                base_url=self.url,
                auth=None if token is None else Bearer(token),
                headers={"user-agent": f"acr/{__version__}"},
                timeout=timeout_s,
            )
        except httpx.InvalidURL as error:
            raise Unreachable(url, error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, kind: type[T], path: str, query: Mapping[str, Any] | None = None) -> T:
        """What is at `path`, as a `kind`. None in the query stands for "not given"."""
        return self.send(kind, "GET", path, query=query)

    def send(
        self,
        kind: type[T],
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> T:
        """The answer to a request, as a `kind`; a body is sent as msgpack.

        Raises:
            ClientError: the monitor refuses.
            Unreachable: no answer, so it may or may not have happened.
            NotUnderstood: an answer of something else.
        """
        content = None if body is None else msgspec.msgpack.encode(body)
        named = dict(headers or {}) | ({} if content is None else {"content-type": MSGPACK})
        try:
            reply = self._client.request(
                method, path, content=content, headers=named, params=_given(query)
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(self.url, str(error) or type(error).__name__) from error
        return self.understood(reply, kind)

    @contextmanager
    def opened(
        self,
        path: str,
        *,
        method: str = "GET",
        body: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        silence_s: float | None = None,
    ) -> Iterator[httpx.Response]:
        """An answer that is read piece by piece.

        Args:
            path: what is asked.
            method: how.
            body: sent piece by piece.
            headers: of the request.
            query: as of `get`.
            silence_s: longest wait for the next piece; None: as for every answer.

        Raises:
            ClientError, NotUnderstood: as `send`.
            Unreachable: as `send`, and when the answer breaks off.
        """
        timeout = self._client.timeout
        if silence_s is not None:
            timeout = httpx.Timeout(timeout.connect, read=silence_s)
        try:
            with self._client.stream(
                method,
                path,
                content=body,
                headers=dict(headers or {}),
                params=_given(query),
                timeout=timeout,
            ) as reply:
                if not reply.is_success:
                    reply.read()
                    self._refuse(reply)
                yield reply
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise Unreachable(self.url, str(error) or type(error).__name__) from error

    def understood(self, reply: httpx.Response, kind: type[T]) -> T:
        """What an answer says, as a `kind`; errors as of `send`."""
        if not reply.is_success:
            self._refuse(reply)
        if kind is str:
            return reply.text  # type: ignore[return-value]
        if kind is type(None):
            return None
        try:
            return msgspec.json.decode(reply.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotUnderstood(self.url, reply.status_code, error) from error

    def _refuse(self, reply: httpx.Response) -> None:
        try:
            problem = msgspec.json.decode(reply.content, type=Problem)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotUnderstood(self.url, reply.status_code, error) from error
        after = reply.headers.get("retry-after", "")
        after_s = float(after) if after.isdecimal() else None
        raise ClientError(problem, reply.request.url.path, after_s)


def checked_token(token: str) -> str:
    """The token itself; raises InvalidInput for what can be none, without showing it."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInput("token", "what was given", "must be printable, without spaces")
    return token


class Bearer(httpx.Auth):
    """Names who asks; takes the place of a name and password in the address."""

    def __init__(self, token: str) -> None:
        """Raises InvalidInput for what can be no token."""
        self._header = f"Bearer {checked_token(token)}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """The request, with the token in it."""
        request.headers["authorization"] = self._header
        yield request


def run_path(run_id: str, *parts: object) -> str:
    """The path of a run, or of something of it; raises InvalidInput for what can be no id."""
    parts = (check_run_id(run_id), *parts)
    return "/".join(("/v1/runs", *(quote(str(part), safe="") for part in parts)))


def _given(query: Mapping[str, Any] | None) -> dict[str, Any] | None:
    # An empty one would take away the query that a path may have.
    return {name: value for name, value in (query or {}).items() if value is not None} or None
