"""Clients of streams, each in a thread of its own, that keep what they were told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import msgspec

from monitor_service.client.sse import Frame, frames
from tests.servers import eventually


class Stream:
    """What a client of `GET path` is told, as long as it is connected."""

    def __init__(self, url: str, path: str, headers: dict[str, str]) -> None:
        self.frames: list[Frame] = []
        self.status = 0
        self.headers = httpx.Headers()
        self.is_over = False
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._listen, args=(url + path, headers))
        self._thread.start()
        eventually(lambda: self.status > 0 or self.is_over, f"{path} answers")

    def _listen(self, url: str, headers: dict[str, str]) -> None:
        with (
            suppress(httpx.HTTPError),
            httpx.Client(trust_env=False, timeout=None) as client,
            client.stream("GET", url, headers=headers) as reply,
        ):
            self._socket = reply.extensions["network_stream"].get_extra_info("socket")
            self.headers, self.status = reply.headers, reply.status_code
            for frame in frames(reply.iter_raw()):
                self.frames.append(frame)
        self.is_over = True

    def close(self) -> None:
        """Hang up."""
        if self._socket:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    @property
    def last_id(self) -> str | None:
        """Where to go on from."""
        return next((frame.id for frame in reversed(self.frames) if frame.id), None)

    def names(self) -> list[str]:
        """Kinds of all messages so far."""
        return [frame.name for frame in self.frames]

    def told(self, *names: str) -> list[Any]:
        """Contents of the messages of these kinds so far."""
        return [msgspec.json.decode(one.data) for one in list(self.frames) if one.name in names]

    def waits_for_step(self, step: int) -> None:
        """Return once the settings of who has seen this step have come."""
        eventually(
            lambda: any(one["through_step"] >= step for one in self.told("settings")),
            f"settings through step {step}",
        )


@contextmanager
def streaming(
    url: str, path: str, *, last_id: str | None = None, **headers: str
) -> Iterator[Stream]:
    """A stream that is open until the end of the block."""
    if last_id is not None:
        headers["last-event-id"] = last_id
    stream = Stream(url, path, headers)
    try:
        yield stream
    finally:
        stream.close()
