"""What people order a run to do, beside the values they set: overrides, kill, commands."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

MAX_OVERRIDE_STEPS = 500
MAX_OVERRIDE_S = 24 * 3600
"""Nobody remembers an override of last week: longer ones are changes, and are made as such."""
MAX_OVERRIDES = 16
"""That act at once: they travel with every version of the settings."""


class Override(Struct, frozen=True, kw_only=True):
    """A change that returns by itself.

    Attributes:
        number: names it within the run, from 1.
        changes: field -> value while it acts.
        actor: who ordered it.
        reason: why.
        until_step: the last step it may act at.
        until_s: Unix time from which it acts no more.
    """

    number: int
    changes: Mapping[str, Any]
    actor: str
    reason: str
    until_step: int
    until_s: float

    def acts(self, step: int, now_s: float) -> bool:
        """Whether it has not expired yet."""
        return step <= self.until_step and now_s < self.until_s


class Kill(Struct, frozen=True, kw_only=True):
    """Every intervention is off until a person re-arms the run.

    Attributes:
        actor: who pulled it.
        reason: why, as far as anybody said.
        step: the newest step at that time.
        at_s: Unix time.
    """

    actor: str
    reason: str
    step: int
    at_s: float


class Command(Struct, frozen=True, kw_only=True):
    """Something to do once, at the end of the trainer's optimizer step.

    Attributes:
        number: grows with every command of the run, so that none is carried out twice.
        kind: save a checkpoint; or save one and stop.
        actor: who ordered it.
        reason: why.
    """

    number: int
    kind: Literal["save", "stop"]
    actor: str
    reason: str
