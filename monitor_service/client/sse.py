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
    """

    name: str
    data: bytes
    id: str | None


@dataclass(slots=True)
class _Fields:
    """What was read since the last event."""

    name: str = "message"
    data: list[bytes] = field(default_factory=list)
    id: str | None = None


def frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """Events, from a body that comes in pieces; a last one that is not finished is dropped."""
    found = _Fields()
    for line in _lines(chunks):
        if not line:
            if found.data:
                yield Frame(name=found.name, data=b"\n".join(found.data), id=found.id)
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


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that are whole. Not by str.splitlines: texts in JSON may have U+2028 in them."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
