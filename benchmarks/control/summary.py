"""What the runs of one cell, a scenario with N groups a step, amount to under each law.

activation  the first of steps in a row at which a law says to inject.
flap        an activation within `FLAP_STEPS` steps after the end of the one before.
delay       steps from the first at which the true all-wrong share is above `ENTRY` to the first,
            not before it, at which a law says to inject.
false       an activation at a step by which the true all-wrong share was never above `ENTRY`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.control.laws import LAWS, OBSERVE, Law
from benchmarks.control.scenarios import SCENARIOS, Scenario, Truth, truth
from benchmarks.control.simulate import Path, Steps, Trial
from monitor_service.engine.collapse import Matrix
from monitor_service.engine.health.trends import WINDOW

ENTRY = OBSERVE.settings.threshold
"""The all-wrong share from which the guarded controller is meant to act."""
FLAP_STEPS = 10
LAST_STEPS = 100
QUANTILES = (0.05, 0.5, 0.95)
STALL_ACR, STALL_STEPS = 0.35, 50
VOLATILE = 0.15
"""The published rules: ACR above .35 for more than 50 steps in a row; a standard deviation above
.15 over 25 steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LawFigures:
    """What one law did in the runs of a cell; means over runs unless it says otherwise.

    Attributes:
        duty: share of steps at which it said to inject, in [0, 1].
        duty_last: the same for the last `LAST_STEPS` steps.
        activations: per run.
        flaps: per run.
        false_activations: in all runs together.
        never: share of runs in which it never said to inject.
        delay: (5 %, median, 95 %) in steps, of the runs that have one; None if none has.
        missed: share of runs that should have a delay and have none; None if none should.
        threshold_end: (5 %, median, 95 %) of tau after the last step.
        locked: share of runs that ended locked.
        checks: benefit checks that were made in all runs together.
        benefits: those that found a benefit.
        group_share: injected groups among all groups; None unless it is planned. Likewise:
        mass_share: injected share of the sum of |A|.
        most_groups: largest pooled share of groups at any step of any run.
        most_mass: largest pooled share of the sum of |A| at any step of any run.
    """

    duty: float
    duty_last: float
    activations: float
    flaps: float
    false_activations: int
    never: float
    delay: tuple[float, float, float] | None
    missed: float | None
    threshold_end: tuple[float, float, float]
    locked: float
    checks: int
    benefits: int
    group_share: float | None
    mass_share: float | None
    most_groups: float | None
    most_mass: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A scenario with N groups a step.

    Attributes:
        groups: N.
        runs: how many.
        true_acr: at the first and at the last step.
        true_wrong: the same for all-wrong groups.
        rises: share of steps at which the mean reward rose.
        falls: share of steps at which it fell.
        covariance: of the sign of the reward's change with the step's ACR.
        laws: law -> its figures.
        alarms: rule -> share of runs in which it was raised at least once.
        raw_stall: share of runs in which the published rule was met.
        raw_volatility: share of runs in which the published rule was met.
        injecting: law -> `[T]` share of runs in which it said to inject at a step.
        threshold: law -> `[3, T]` 5 %, median and 95 % of tau after a step.
    """

    scenario: Scenario
    groups: int
    runs: int
    true_acr: tuple[float, float]
    true_wrong: tuple[float, float]
    rises: float
    falls: float
    covariance: float
    laws: Mapping[str, LawFigures]
    alarms: Mapping[str, float]
    raw_stall: float
    raw_volatility: float
    injecting: Mapping[str, Matrix]
    threshold: Mapping[str, Matrix]


def summarised(trials: Iterable[Trial]) -> list[Cell]:
    """The cells, by scenario and N, of any trials."""
    found: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        found.setdefault((trial.task.scenario.name, trial.task.groups), []).append(trial)
    names = [scenario.name for scenario in SCENARIOS]
    ordered = sorted(found, key=lambda key: (names.index(key[0]), key[1]))
    truths = {
        trial.task.scenario: trial.task.steps for trials in found.values() for trial in trials
    }
    known = {scenario.name: truth(scenario, steps) for scenario, steps in truths.items()}
    return [_cell(found[key], known[key[0]]) for key in ordered]


def _cell(trials: Sequence[Trial], real: Truth) -> Cell:
    acr, signs = (np.stack([getattr(trial, name) for trial in trials]) for name in ("acr", "signs"))
    raised = Counter(rule for trial in trials for rule in {rule for rule, _ in trial.alarms})
    laws = [law for law in LAWS if law.name in trials[0].paths]
    paths = {law.name: [trial.paths[law.name] for trial in trials] for law in laws}
    # The first step has nothing to compare with.
    moved, at = signs[:, 1:], acr[:, 1:]
    return Cell(
        scenario=trials[0].task.scenario,
        groups=trials[0].task.groups,
        runs=len(trials),
        true_acr=(float(real.acr[0]), float(real.acr[-1])),
        true_wrong=(float(real.wrong[0]), float(real.wrong[-1])),
        rises=float(np.mean(moved > 0)),
        falls=float(np.mean(moved < 0)),
        covariance=float(np.mean(moved * at) - np.mean(moved) * np.mean(at)),
        laws={law.name: _figures(law, paths[law.name], real.wrong) for law in laws},
        alarms={rule: count / len(trials) for rule, count in sorted(raised.items())},
        raw_stall=float(np.mean([_longest(row > STALL_ACR) > STALL_STEPS for row in acr])),
        raw_volatility=float(np.mean([_is_volatile(row) for row in acr])),
        injecting={
            law: np.stack([path.triggered for path in found]).mean(axis=0)
            for law, found in paths.items()
        },
        threshold={
            law: np.quantile(np.stack([path.threshold for path in found]), QUANTILES, axis=0)
            for law, found in paths.items()
        },
    )


def _figures(law: Law, paths: Sequence[Path], wrong: Matrix) -> LawFigures:
    triggered = np.stack([path.triggered for path in paths])
    episodes = [_episodes(path.triggered) for path in paths]
    above = np.flatnonzero(wrong > ENTRY)
    crossing = int(above[0]) if above.size else None
    delays = []
    if crossing is not None:
        later = [np.flatnonzero(path.triggered[crossing:]) for path in paths]
        delays = [int(steps[0]) for steps in later if steps.size]
    # An activation that lasted to its limit was checked, if its law checks.
    full = law.settings.max_active_steps if law.is_checked else math.inf
    checks = sum(end - start == full for found in episodes for start, end in found)
    locked = sum(path.is_locked for path in paths)
    planned = [path.injected for path in paths if path.injected]
    return LawFigures(
        duty=float(triggered.mean()),
        duty_last=float(triggered[:, -LAST_STEPS:].mean()),
        activations=sum(map(len, episodes)) / len(paths),
        flaps=sum(map(_flaps, episodes)) / len(paths),
        false_activations=sum(
            crossing is None or start < crossing for found in episodes for start, _ in found
        ),
        never=float(np.mean(~triggered.any(axis=1))),
        delay=_spread(delays) if delays else None,
        missed=None if crossing is None else 1 - len(delays) / len(paths),
        threshold_end=_spread([float(path.threshold[-1]) for path in paths]),
        locked=locked / len(paths),
        checks=checks,
        benefits=checks - locked,
        group_share=_mean([found.group_share for found in planned]),
        mass_share=_mean([found.mass_share for found in planned]),
        most_groups=max((found.most_groups for found in planned), default=None),
        most_mass=max((found.most_mass for found in planned), default=None),
    )


def _episodes(triggered: Steps) -> list[tuple[int, int]]:
    """(first, one past the last) of every stretch of steps that are True."""
    edges = np.flatnonzero(np.diff(triggered, prepend=False, append=False))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _flaps(episodes: Sequence[tuple[int, int]]) -> int:
    return sum(start - end <= FLAP_STEPS for (_, end), (start, _) in pairwise(episodes))


def _longest(flags: Steps) -> int:
    return max((end - start for start, end in _episodes(flags)), default=0)


def _is_volatile(acr: Matrix) -> bool:
    if len(acr) < WINDOW:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(acr, WINDOW)
    return bool((windows.std(axis=1) > VOLATILE).any())


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, QUANTILES).tolist()
    return low, middle, high


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
