"""What happens to a run, for people to read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something worth telling a person.

    Attributes:
        kind: a stable name.
        step: the newest step when it happened.
        message: one sentence.
        data: the numbers behind it.
    """

    kind: str
    step: int
    message: str
    data: Mapping[str, Any]
