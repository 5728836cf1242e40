"""Seven levels of difficulty, by how often a base model solves a problem.

    level   0       1           2           3           4           5           6
    rate    [.9, 1] (.7, .9)    (.5, .7]    [.3, .5]    [.15, .3)   (0, .15)    0

From easy to hard. arXiv 2605.21125 trains on "Level3-500", problems of MATH that Qwen2.5-Math-1.5B
solves 30 to 50 % of the time: that is level 3 here. The paper names seven levels, 0 to 6; the
bounds of the others are not public, nor which end is the hard one. Those are ours.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A range of pass rates, fractions in [0, 1]."""

    low: float
    high: float
    includes_low: bool
    includes_high: bool

    def holds(self, pass_rate: float) -> bool:
        """Whether a pass rate belongs to this level."""
        above = pass_rate > self.low or (self.includes_low and pass_rate == self.low)
        below = pass_rate < self.high or (self.includes_high and pass_rate == self.high)
        return above and below

    def __str__(self) -> str:
        """The range in percent, as an interval."""
        if self.low == self.high:
            return f"{self.low:.0%}"
        opening = "[" if self.includes_low else "("
        closing = "]" if self.includes_high else ")"
        return f"{opening}{self.low:.0%}, {self.high:.0%}{closing}"


LEVELS = (
    Level(low=0.9, high=1.0, includes_low=True, includes_high=True),
    Level(low=0.7, high=0.9, includes_low=False, includes_high=False),
    Level(low=0.5, high=0.7, includes_low=False, includes_high=True),
    Level(low=0.3, high=0.5, includes_low=True, includes_high=True),
    Level(low=0.15, high=0.3, includes_low=True, includes_high=False),
    Level(low=0.0, high=0.15, includes_low=False, includes_high=False),
    Level(low=0.0, high=0.0, includes_low=True, includes_high=True),
)
"""By number. Every pass rate belongs to exactly one."""


def level_of(pass_rate: float) -> int:
    """The level of a pass rate.

    >>> [level_of(rate) for rate in (1.0, 0.75, 0.6, 0.5, 0.3, 0.2, 0.125, 0.0)]
    [0, 1, 2, 3, 3, 4, 5, 6]

    Raises:
        ValueError: not in [0, 1].
    """
    for number, level in enumerate(LEVELS):
        if level.holds(pass_rate):
            return number
    raise ValueError(f"a pass rate must be in [0, 1]; got {pass_rate!r}")
