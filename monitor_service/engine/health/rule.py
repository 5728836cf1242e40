"""What one health rule is: a figure, the levels that raise and clear its alarm, and the counts.

A step on the figure's bad side counts one; a step on the other side takes `leak` back. At
`raise_after` the alarm is raised; at `clear_after` steps beyond the clear level, counted alike, it
is resolved. A figure that was not measured counts neither way.
"""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from monitor_service.engine.health.evidence import Severity
from monitor_service.engine.health.figures import Seen

RESETS = 1_000_000
"""A leak that makes a rule ask for consecutive steps."""
ONCE = 1e9
"""Told once, and again only when it becomes critical."""


class Rule(Struct, frozen=True, kw_only=True):
    """One rule.

    Attributes:
        name: stable.
        severity: of its alarm, unless the evidence changes it (`words`).
        watches: its figure, in words; `unit` says what it is measured in.
        read: the figure at a step; None when it was not measured. Never negative.
        worse: the side of `raise_at` that is bad; strict.
        clear_at: the level beyond which a raised alarm may end; strict.
        raise_after: bad steps, `leak` taken back for each other one, until it is raised.
        clear_after: the same for good steps, until it is resolved.
        critical_at: the level beyond which it is critical; None when there is none.
        notable: factor by which the figure has to get worse to be told again.
        source: where the level comes from.
    """

    name: str
    severity: Severity
    watches: str
    unit: str
    read: Callable[[Seen], float | None]
    raise_at: float
    clear_at: float
    raise_after: int
    source: str
    clear_after: int = 10
    worse: Literal["above", "below"] = "above"
    leak: int = 2
    critical_at: float | None = None
    notable: float = 1.5

    def is_bad(self, figure: float) -> bool:
        """Whether a step with this figure counts towards an alarm."""
        return figure > self.raise_at if self.worse == "above" else figure < self.raise_at

    def is_good(self, figure: float) -> bool:
        """Whether a step with this figure counts towards the end of an alarm."""
        return figure < self.clear_at if self.worse == "above" else figure > self.clear_at

    def is_critical(self, figure: float) -> bool:
        """Whether the figure alone makes it critical."""
        if self.critical_at is None:
            return False
        return figure > self.critical_at if self.worse == "above" else figure < self.critical_at

    def is_notably_worse(self, figure: float, told: float) -> bool:
        """Whether people who were told of `told` want to hear of `figure`."""
        if self.worse == "above":
            return figure > self.notable * told
        return figure < told / self.notable
