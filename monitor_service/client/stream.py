"""A run as it happens: what the monitor tells, over connections that may break."""

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from monitor_service.client.http import ClientError, Http, NotUnderstood, Unreachable
from monitor_service.client.sse import Frame, frames
from monitor_service.engine.settings import Settings
from monitor_service.resources import EventView, Glance, Run, StepRecord

SILENCE_S = 40.0
"""Without a sign of life for so long a connection counts as lost; there is one every 15 s."""
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 15.0
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which it is tried again."""


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """A run is no more, or may no longer be seen."""

    run_id: str


Content = Run | StepRecord | EventView | Settings | Glance | Gone
OF_A_RUN: Mapping[str, type[Content]] = MappingProxyType(
    {"run": Run, "step": StepRecord, "event": EventView, "settings": Settings}
)
"""Messages of a run's stream; `run` shows it as it stands, to begin with or to begin anew."""
OF_ALL_RUNS: Mapping[str, type[Content]] = MappingProxyType({"moved": Glance, "gone": Gone})
"""Messages of the stream of all runs."""
ENDING = "gone"
"""A run's stream ends with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the monitor told.

    Attributes:
        kind: its name in `OF_A_RUN` or `OF_ALL_RUNS`.
        id: where to go on from after it; None where nobody can.
        content: of the type that belongs to the name.
    """

    kind: str
    id: str | None
    content: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The connection broke; it is tried again after a while."""

    why: str
    retry_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnected:
    """The connection is back, and goes on where it broke: nothing is missed or told twice.

    Where the monitor can not go on from there, a Told of kind `run` comes next.
    """

    after_s: float
    """How long it was lost."""


Message = Told | Lost | Reconnected


def follow(
    http: Http, path: str, content: Mapping[str, type[Content]], *, after: str | None
) -> Iterator[Message]:
    """What happens, without an end; blocks until there is something.

    Args:
        http: the monitor.
        path: of the stream.
        content: its messages by name, and what they hold; others are passed over.
        after: id of the message to go on from; None: from now on.

    Raises:
        ClientError: the monitor refuses, now or after a break: no such run, no valid token.
        Unreachable, NotUnderstood: there is no monitor to begin with.
    """
    lost_at_s: float | None = None
    place, has_begun = after, False
    first_s = retry_s = FIRST_RETRY_S
    while True:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": place} if place else {})
        asked_s, is_over = 0.0, False
        try:
            with http.opened(path, headers=headers, silence_s=SILENCE_S) as reply:
                has_begun = True
                if lost_at_s is not None:
                    yield Reconnected(after_s=time.monotonic() - lost_at_s)
                    lost_at_s = None
                for frame in frames(reply.iter_bytes()):
                    place = frame.id or place
                    first_s = retry_s = frame.retry_s or first_s
                    if frame.name in content:
                        yield _told(http, frame, content[frame.name])
                    elif frame.name == ENDING:
                        is_over = True
            if is_over:
                continue  # The next answer says what became of it.
            why = "the monitor ended the stream"
        except (ClientError, Unreachable, NotUnderstood) as error:
            if not has_begun or not _is_passing(error):
                raise
            why = str(error)
            asked_s = (isinstance(error, ClientError) and error.retry_after_s) or 0.0
        lost_at_s = lost_at_s or time.monotonic()
        # Not all of those that one replica loses come back at once.
        wait_s = max(asked_s, retry_s * random.uniform(0.7, 1.0))
        retry_s = min(LAST_RETRY_S, 2 * retry_s)
        yield Lost(why=why, retry_in_s=wait_s)
        time.sleep(wait_s)


def _is_passing(error: ClientError | Unreachable | NotUnderstood) -> bool:
    return isinstance(error, Unreachable) or error.status in PASSING


def _told(http: Http, frame: Frame, kind: type[Content]) -> Told:
    try:
        content = msgspec.json.decode(frame.data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotUnderstood(http.url, 200, error) from error
    return Told(kind=frame.name, id=frame.id, content=content)
