"""The mean reward of a run over time: what it is of late, where it began, how much it wavers."""

import math

from msgspec import Struct

from monitor_service.engine.health.averages import FINE, blended, kept

FAST, MIDDLE, SLOW, NOISE = 10, 30, 100, 100
"""Steps that the running means of the reward, and of its noise, cover."""
BEST_AFTER = 5
"""Steps before a best is taken."""
FALLEN_SIGMAS = 2.0
"""The fast mean of a steady reward strays by 0.32 of the step's sigma, the middle one by 0.18: a
fall of 2 sigmas is five of their standard errors."""
RISING_SIGMAS = 0.3
"""Two standard errors of the difference between the middle and the slow mean."""
RISING_AFTER = 20
START_STEPS = 15
"""Steps whose mean is where the reward began: as long as the middle mean is a plain one."""
CHANGED_SIGMAS = 0.63
"""Two standard errors of the difference between that mean and the middle one later."""


class RewardTrend(Struct, frozen=True, kw_only=True):
    """The mean reward over time.

    Attributes:
        num_steps: steps with a reward.
        newest: of the newest of them.
        fast, middle, slow: its mean over about the newest 10, 30, 100 steps.
        noise: mean square of the change from one step to the next, over about 100 steps. Squared,
            since where right answers are rare they are what the noise consists of.
        first: its mean over the first `START_STEPS` steps; None before.
        best: highest middle mean so far; None in the first steps.
        low: lowest single step so far.
    """

    num_steps: int = 0
    newest: float = 0.0
    fast: float = 0.0
    middle: float = 0.0
    slow: float = 0.0
    noise: float = 0.0
    first: float | None = None
    best: float | None = None
    low: float = 0.0

    def after(self, value: float) -> "RewardTrend":
        """With one more step."""
        num_steps = self.num_steps + 1
        middle = blended(self.middle, value, num_steps, MIDDLE)
        best = self.best
        if num_steps >= BEST_AFTER:
            best = middle if best is None else max(best, middle)
        return RewardTrend(
            num_steps=num_steps,
            newest=kept(value, FINE),
            fast=blended(self.fast, value, num_steps, FAST),
            middle=middle,
            slow=blended(self.slow, value, num_steps, SLOW),
            noise=blended(self.noise, (value - self.newest) ** 2, num_steps - 1, NOISE),
            first=middle if num_steps == START_STEPS else self.first,
            best=best,
            low=kept(min(value, self.low) if self.num_steps else value, FINE),
        )

    @property
    def sigma(self) -> float:
        """Standard deviation of a step's mean reward around its trend."""
        return math.sqrt(self.noise / 2)

    @property
    def is_rising(self) -> bool:
        """Whether the newest 30 steps or so are above the newest 100 by more than noise."""
        gain = self.middle - self.slow
        return self.num_steps >= RISING_AFTER and gain > RISING_SIGMAS * self.sigma

    @property
    def change(self) -> float:
        """What the newest 30 steps or so are above where the run began; 0 if that may be noise."""
        change = 0.0 if self.first is None else self.middle - self.first
        return change if abs(change) > CHANGED_SIGMAS * self.sigma else 0.0

    @property
    def is_falling(self) -> bool:
        """The same downwards."""
        loss = self.slow - self.middle
        return self.num_steps >= RISING_AFTER and loss > RISING_SIGMAS * self.sigma

    @property
    def kept_share(self) -> float | None:
        """How much of the best gain over the lowest step is left: 1 all, 0 none.

        1 as well when the reward fell by no more than noise. None before there is a best.
        """
        if self.best is None:
            return None
        if self.best - self.fast <= FALLEN_SIGMAS * self.sigma:
            return 1.0
        return max(0.0, (self.fast - self.low) / (self.best - self.low))
