"""What `acr watch` knows of a run: a value that each message makes a new one of."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from monitor_service.resources import EventView, Run, StepRecord

KEPT_STEPS = 500
"""More than a terminal has columns."""
KEPT_EVENTS = 100
START_STEPS = 10
"""Steps whose mean entropy is where the run began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The connection to the monitor.

    Attributes:
        state: live, or lost and being sought.
        since_s: Unix time at which it became so.
        note: what is worth knowing of it; "" when nothing is.
    """

    state: Literal["live", "lost"]
    since_s: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A run, as far as it was told.

    Attributes:
        run: as it stands.
        steps: the newest ones, in order; of attempts that were replaced none.
        events: the newest ones, in order.
        start_entropy: mean of the first steps, nats per token; None when they had none.
        line: the connection.
    """

    run: Run
    line: Line
    steps: tuple[StepRecord, ...] = ()
    events: tuple[EventView, ...] = ()
    start_entropy: float | None = None

    def with_steps(self, found: Iterable[StepRecord]) -> "Watched":
        """Steps in order, that come after those known or take their place."""
        steps = self.steps
        for record in found:
            if steps and steps[-1].step >= record.step:
                steps = tuple(one for one in steps if one.step < record.step)
            steps = (*steps, record)
        return replace(self, steps=steps[-KEPT_STEPS:])

    def with_events(self, found: Iterable[EventView]) -> "Watched":
        """Events in order; those known already are not told again."""
        known = {one.id for one in self.events}
        new = tuple(one for one in found if one.id not in known)
        return replace(self, events=(*self.events, *new)[-KEPT_EVENTS:])
