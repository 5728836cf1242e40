"""What `acr watch` knows of a run: a value that each message makes a new one of."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from msgspec import structs

from monitor_service.engine.settings import Settings
from monitor_service.resources import EventView, Run, StepRecord

KEPT_STEPS = 300
"""More than most terminals have columns."""
KEPT_EVENTS = 100
START_STEPS = 10
"""Steps whose mean entropy is where the run began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The connection to the monitor.

    Attributes:
        state: live, or lost and sought again.
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
        line: the connection.
        steps: the newest ones, in order; of attempts that were replaced none.
        events: the newest ones, in order.
        start: entropy of the first steps that had one, nats per token.
    """

    run: Run
    line: Line
    steps: tuple[StepRecord, ...] = ()
    events: tuple[EventView, ...] = ()
    start: tuple[float, ...] = ()

    @property
    def start_entropy(self) -> float | None:
        """Where the entropy began; None when it was not measured."""
        return math.fsum(self.start) / len(self.start) if self.start else None

    def with_steps(self, found: Iterable[StepRecord]) -> "Watched":
        """Steps in order, that come after those known or take their place."""
        steps, start = self.steps, self.start
        for record in found:
            if steps and steps[-1].step >= record.step:
                steps = tuple(one for one in steps if one.step < record.step)
            steps = (*steps, record)
            if record.scalars.entropy is not None and len(start) < START_STEPS:
                start = (*start, record.scalars.entropy)
        run = self.run
        # Those that were reported together have one time.
        if steps and (run.last is None or steps[-1].at_s >= run.last.at_s):
            run = structs.replace(run, step=steps[-1].step, last=steps[-1])
        return replace(self, run=run, steps=steps[-KEPT_STEPS:], start=start)

    def with_events(self, found: Iterable[EventView]) -> "Watched":
        """Events in order; those known already are not told again."""
        known = {one.id for one in self.events}
        new = tuple(one for one in found if one.id not in known)
        run = self.run
        for view in new:
            if view.event.kind in ("ended", "resumed"):
                is_over = view.event.kind == "ended"
                run = structs.replace(run, ended=view.event.message if is_over else None)
        return replace(self, run=run, events=(*self.events, *new)[-KEPT_EVENTS:])

    def with_settings(self, found: Settings) -> "Watched":
        """Other settings in force."""
        return replace(self, run=structs.replace(self.run, settings=found))

    def with_line(self, state: Literal["live", "lost"], now_s: float, note: str = "") -> "Watched":
        """Another state of the connection; it is lost from when it broke, however often since."""
        if state == self.line.state == "lost":
            return self
        return replace(self, line=Line(state=state, since_s=now_s, note=note))
