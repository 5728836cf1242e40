"""Server-sent events, read as they arrive (WHATWG HTML, section 9.2)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event as it was sent.

    Attributes:
        name: of the kind of event; `message` when it has none.
        data: its text.
        id: where to go on from after it; None when it says nothing of that.
        retry_s: how long to wait after a break, as far as that was said.
    """

    name: str
    data: bytes
    id: str | None
    retry_s: float | None


@dataclass(slots=True)
class _Fields:
    """What was read since the last event."""

    name: str = "message"
    data: list[bytes] = field(default_factory=list)
    id: str | None = None


def frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """Events, from a body that comes in pieces; a last one that is not finished is dropped."""
    found, retry_s = _Fields(), None
    for line in _lines(chunks):
        if not line:
            if found.data:
                data = b"\n".join(found.data)
                yield Frame(name=found.name, data=data, id=found.id, retry_s=retry_s)
            found = _Fields()
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            found.name = value.decode()
        elif name == b"data":
            found.data.append(value)
        elif name == b"id" and b"\0" not in value:
            found.id = value.decode()
        elif name == b"retry" and value.isdigit():
            retry_s = int(value) / 1000


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that are whole. Not by str.splitlines: texts in JSON may have U+2028 in them."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
