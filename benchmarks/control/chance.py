"""How often chance alone activates the guarded controller where nothing is wrong.

Too rare to be seen in a few runs of the engine, so many runs are drawn at once here: the number of
all-wrong groups of a step is binomial, and the pooled share, its standard error and the rule of
entry are computed as the engine computes them (`monitor_service.engine.smoothing`; a test holds
the two together).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.control.laws import GUARDED
from benchmarks.control.scenarios import QUIET, Scenario, truth
from monitor_service.engine.collapse import Matrix
from monitor_service.engine.controllers import ENTRY_ERRORS
from monitor_service.engine.smoothing import HALF_LIFE_GROUPS, MIN_GROUPS

RUNS = 20_000


def chances(groups: Sequence[int], steps: int) -> Mapping[tuple[str, int], float]:
    """(scenario, N) -> share of runs in which chance activates it, where it should not."""
    return {
        (scenario.name, size): activating(scenario, groups=size, steps=steps)
        for scenario in QUIET
        for size in groups
    }


def activating(scenario: Scenario, *, groups: int, steps: int, runs: int = RUNS) -> float:
    """Share of runs in which the controller becomes active at least once."""
    rng = np.random.default_rng([*scenario.name.encode(), steps, groups, runs])
    wrong = truth(scenario, steps).wrong
    counts = rng.binomial(groups, wrong[:, None], size=(steps, runs))
    return float(enters(counts, groups).any(axis=0).mean())


def enters(counts: npt.NDArray[np.int64], groups: int) -> npt.NDArray[np.bool_]:
    """`[T, R]` whether an armed controller would become active after a step.

    Args:
        counts: `[T, R]` all-wrong groups of each step, of R runs.
        groups: N, groups of every step.
    """
    decay = 0.5 ** (groups / HALF_LIFE_GROUPS)
    pooled: Matrix = np.zeros(counts.shape[1])
    weight = squared = 0.0
    entered = np.zeros(counts.shape, dtype=np.bool_)
    for at, row in enumerate(counts):
        pooled = decay * pooled + (1 - decay) * row / groups
        weight = decay * weight + (1 - decay)
        squared = decay**2 * squared + (1 - decay) ** 2 / groups
        if (at + 1) * groups >= MIN_GROUPS:
            rate = pooled / weight
            error = np.sqrt(np.maximum(0.0, rate * (1 - rate)) * squared) / weight
            entered[at] = rate - ENTRY_ERRORS * error > GUARDED.settings.threshold
    return entered
