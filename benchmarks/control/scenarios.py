"""Synthetic training: groups whose pass rates drift, and what their ACR really is.

A prompt's pass rate p is drawn from Beta(a, b); at step t its logit is moved by drift*(t-1)/(T-1).
G completions are right or wrong independently. A noisy verifier flips each reward with probability
`flips`, which makes the pass rate p*(1-2*flips) + flips as far as anybody can see.

    E[all-wrong] = E[(1-p)^G],   E[all-correct] = E[p^G]

Without drift and flips these are B(a, b+G)/B(a, b) and B(a+G, b)/B(a, b).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from monitor_service.engine.collapse import Matrix

GROUP_SIZE = 8
"""G, completions of a prompt."""

_LOGITS = np.arange(-150.0, 150.0, 0.05)
"""Where expectations over p are summed; the density is smooth in the logit, so this is exact to
about ten digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of run.

    Attributes:
        name: as it is printed.
        a: of Beta(a, b), the pass rates at the first step.
        b: of the same.
        drift: by how much the logit of every pass rate moves from the first to the last step.
        flips: share of rewards that the verifier gets wrong, in [0, 0.5].
    """

    name: str
    a: float
    b: float
    drift: float = 0.0
    flips: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Expected shares of groups at every step, `[T]`, in [0, 1]."""

    wrong: Matrix
    correct: Matrix

    @property
    def acr(self) -> Matrix:
        """Share of collapsed groups."""
        return self.wrong + self.correct


IMPROVING = Scenario(name="improving", a=0.8, b=1.2, drift=1.75)
FLAT_MID = Scenario(name="flat-mid", a=0.5, b=0.5)
HEALTHY = Scenario(name="healthy", a=6.0, b=6.0, drift=0.45)
NOISY = Scenario(name="noisy verifier", a=6.0, b=6.0, drift=0.45, flips=0.1)
SATURATING = Scenario(name="saturating", a=2.0, b=0.5, drift=1.3)
HARD = Scenario(name="flat hard", a=0.25, b=2.5)
REGRESSING = Scenario(name="regressing", a=0.75, b=1.1, drift=-1.8)

SCENARIOS = (IMPROVING, FLAT_MID, HEALTHY, NOISY, SATURATING, HARD, REGRESSING)
QUIET = SCENARIOS[:5]
"""Those where the all-wrong share never comes near the level at which guarded is meant to act."""


def expected(scenario: Scenario, shift: float, size: int = GROUP_SIZE) -> tuple[float, float]:
    """(all-wrong, all-correct) shares of groups of `size` once the logits moved by `shift`.

    >>> wrong, correct = expected(HARD, 0.0)  # B(.25, 10.5)/B(.25, 2.5), B(8.25, 2.5)/B(.25, 2.5)
    >>> round(wrong, 4), round(correct, 4)
    (0.6782, 0.0018)
    """
    log_p, log_q = -np.logaddexp(0, -_LOGITS), -np.logaddexp(0, _LOGITS)
    a, b = scenario.a, scenario.b
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    weights = np.exp(a * log_p + b * log_q - log_beta)
    weights /= weights.sum()
    right = np.exp(-np.logaddexp(0, -(_LOGITS + shift)))
    seen = right * (1 - 2 * scenario.flips) + scenario.flips
    return float((weights * (1 - seen) ** size).sum()), float((weights * seen**size).sum())


@cache
def truth(scenario: Scenario, steps: int) -> Truth:
    """The expected shares at each of `steps` (at least 1) steps."""
    found = np.array([expected(scenario, float(shift)) for shift in shifts(scenario, steps)])
    return Truth(wrong=found[:, 0], correct=found[:, 1])


def rewards(scenario: Scenario, *, steps: int, groups: int, run: int) -> Matrix:
    """`[T, N, G]` rewards 0 or 1 of one run; the same for the same arguments."""
    rng = np.random.default_rng([*scenario.name.encode(), steps, groups, run])
    rates = rng.beta(scenario.a, scenario.b, size=(steps, groups, 1))
    odds = np.exp(shifts(scenario, steps))[:, None, None]
    moved = rates * odds / (1 - rates + rates * odds)
    seen = moved * (1 - 2 * scenario.flips) + scenario.flips
    return np.asarray(rng.random((steps, groups, GROUP_SIZE)) < seen, dtype=np.float64)


def shifts(scenario: Scenario, steps: int) -> Matrix:
    """`[T]` by how much the logits moved since the first step."""
    return np.linspace(0.0, scenario.drift, steps)
