"""pass@k and what is uncertain about it.

    pass@k = mean over problems of 1 - C(n - c, k) / C(n, k)        (arXiv 2107.03374, equation 1)

with n samples of a problem, c of them correct: the chance that k of the n, drawn without
replacement, hold a correct one. Unbiased for every k <= n; pass@1 is the share of correct samples.

Two things are random: which problems a benchmark happens to hold, and which completions a model
happens to sample for each. The samples of a problem resemble each other, so the problem is the unit
that is redrawn: an interval holds for problems like these, answered anew. It says nothing about
another prompt, temperature or training seed.

P = problems.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monitor_service.engine.smoothing import wilson_interval
from monitor_service.errors import InvalidInput

NUM_RESAMPLES = 10_000
"""Redraws behind a bootstrap interval: its bounds then move by about 0.02 standard errors."""

ONE_PER_PROBLEM = "must be one number per problem, 1 or more"

Method = Literal["wilson", "bootstrap", "unanimous"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over problems and its interval."""

    value: float
    low: float
    high: float
    confidence: float
    """Share of such intervals that hold the true mean, a fraction."""
    method: Method
    num_problems: int
    """Problems behind `value`, at least 1."""


def pass_at_k(num_samples: int, num_correct: NDArray[Any], k: int) -> float:
    """Mean over problems of the unbiased estimate of pass@k, a fraction in [0, 1].

    Args:
        num_samples: n, samples of each problem.
        num_correct: [P] integers in [0, n], correct samples of each problem.
        k: tries, in [1, n].

    Raises:
        InvalidInput: no problem, or a number outside its range.
    """
    return float(pass_at_k_per_problem(num_samples, num_correct, k).mean())


def pass_at_k_per_problem(
    num_samples: int, num_correct: NDArray[Any], k: int
) -> NDArray[np.float64]:
    """The unbiased estimate for each problem, [P] in [0, 1]; see `pass_at_k`.

    >>> pass_at_k_per_problem(4, np.array([0, 1, 3, 4]), 2)
    array([0. , 0.5, 1. , 1. ])
    """
    if num_samples < 1:
        raise InvalidInput("num_samples", num_samples, "must be at least 1")
    if not 1 <= k <= num_samples:
        raise InvalidInput("k", k, f"must be in [1, num_samples], which is {num_samples}")
    correct = np.asarray(num_correct)
    if correct.ndim != 1 or correct.size == 0:
        raise InvalidInput("num_correct", correct.shape, ONE_PER_PROBLEM)
    if not np.issubdtype(correct.dtype, np.integer):
        raise InvalidInput("num_correct", str(correct.dtype), "must be integers")
    if correct.min() < 0 or correct.max() > num_samples:
        outside = correct[(correct < 0) | (correct > num_samples)][0]
        raise InvalidInput("num_correct", int(outside), f"must be in [0, {num_samples}]")
    # C(n - c, k) / C(n, k) for c = 0 ... n: each factor is at most 1, so nothing overflows.
    left = np.arange(num_samples, 0, -1)
    kept = np.clip((left - k) / left, 0.0, None)
    passed = 1.0 - np.cumprod(np.concatenate([[1.0], kept]))
    per_problem: NDArray[np.float64] = passed[correct]
    return per_problem


def estimate(values: NDArray[np.float64], *, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """Mean of one value per problem, with an interval.

    `wilson`: every value is 0 or 1, as with a single greedy sample, or with k = n: P trials.
    `bootstrap`: percentiles of the mean over problems redrawn P - 1 at a time, so that their
    variance is the unbiased s^2 / P (Rao and Wu 1988).
    `unanimous`: all values are equal, so redrawing shows no spread: the share of problems that
    would differ is at most Wilson's bound for none of P, and those may lie anywhere.

    Args:
        values: [P] in [0, 1], such as from `pass_at_k_per_problem`.
        confidence: of the interval, in (0, 1).
        seed: of the bootstrap; the same values and seed give the same interval.

    Raises:
        InvalidInput: no problem, a value outside [0, 1], or a confidence outside (0, 1).
    """
    return _estimate(values, bounds=(0.0, 1.0), confidence=confidence, seed=seed)


def paired_difference(
    values: NDArray[np.float64],
    baseline: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean of `values` less that of `baseline` over the same problems, in the same order.

    What makes a problem hard for both drops out, so the interval is narrower than the two
    intervals suggest. Problems are redrawn in pairs; see `estimate`.

    Raises:
        InvalidInput: as `estimate`, or different numbers of problems.
    """
    if np.shape(values) != np.shape(baseline):
        allowed = f"must have the shape of values, {np.shape(values)}"
        raise InvalidInput("baseline", np.shape(baseline), allowed)
    differences = _checked(values, 0.0, 1.0) - _checked(baseline, 0.0, 1.0)
    return _estimate(differences, bounds=(-1.0, 1.0), confidence=confidence, seed=seed)


def _estimate(
    values: NDArray[np.float64], *, bounds: tuple[float, float], confidence: float, seed: int
) -> Estimate:
    if not 0.0 < confidence < 1.0:
        raise InvalidInput("confidence", confidence, "must be in (0, 1)")
    values = _checked(values, *bounds)
    num_problems = len(values)
    value = float(values.mean())
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    levels, counts = np.unique(values, return_counts=True)
    method: Method
    if bounds == (0.0, 1.0) and np.isin(levels, bounds).all():
        method = "wilson"
        low, high = wilson_interval(round(values.sum()), num_problems, z=z)
    elif len(levels) == 1:
        method = "unanimous"
        _, share = wilson_interval(0, num_problems, z=z)
        low, high = (value + share * (bound - value) for bound in bounds)
    else:
        method = "bootstrap"
        # Problems with the same value are interchangeable: how many of each is all that counts.
        drawn = np.random.default_rng(seed).multinomial(
            num_problems - 1, counts / num_problems, size=NUM_RESAMPLES
        )
        tail = (1 - confidence) / 2
        low, high = np.quantile(drawn @ levels / (num_problems - 1), [tail, 1 - tail])
    return Estimate(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        confidence=confidence,
        method=method,
        num_problems=num_problems,
    )


def _checked(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != 1 or checked.size == 0:
        raise InvalidInput("values", checked.shape, ONE_PER_PROBLEM)
    if not ((checked >= low) & (checked <= high)).all():  # False for NaN too.
        raise InvalidInput("values", checked.tolist(), f"must be in [{low:g}, {high:g}]")
    return checked
