"""What a comparison over seeds allows to be said, and how little it could have seen.

The arms of a seed share their start, their data and their evaluation problems, so a difference is
taken within each seed and the seeds are the sample: mean of the differences, and Student's t for
its interval and its p-value. What differs from seed to seed is thereby in the interval; which
problems the evaluation happens to hold is not, and is stated apart (`evaluation_noise`).

Several arms against one baseline are several chances to be lucky: p-values are corrected by Holm's
step-down (1979, Scandinavian Journal of Statistics 6). A difference is called one when its
corrected p-value is below 1 - confidence; that is never the case while the plain interval holds 0.

Left out: any distribution but the t for the mean of few differences. It is exact for normal
differences only, and nobody can tell from five.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from monitor_service.errors import InvalidInput
from trainer.evaluate.estimate import paired_difference

CONFIDENCE = 0.95
POWER = 0.8
"""Chance that a difference of the size of `detectable` is found: the custom of the field."""

NO_SPREAD = 1e-12
"""Relative to the largest difference: a smaller std of the differences is rounding."""

Verdict = Literal["higher", "lower", "none shown", "too few seeds", "no spread", "identical"]
"""What may be said. no spread: the same difference in every seed, for which the t has no interval,
as happens when few problems are counted. identical: that difference is exactly 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over seeds."""

    value: float
    half_width: float | None
    """Of the interval around it; None with fewer than two seeds, or without spread."""
    num_seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An arm less the baseline, over the seeds that both have finished."""

    value: float
    half_width: float | None
    num_seeds: int
    p_value: float | None
    """Two-sided, of this comparison alone; None where the t says nothing."""
    p_holm: float | None
    """The same, corrected for all comparisons it was made with."""
    num_comparisons: int
    """Those that had a p-value."""
    detectable: float | None
    """The true difference that this many seeds, with this spread, show with probability `POWER`,
    before the correction. A smaller one is easily missed."""
    verdict: Verdict


def mean(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Mean:
    """Mean and t interval of one value per seed.

    >>> mean([1.0, 2.0, 3.0]).value
    2.0

    Raises:
        InvalidInput: no value, one that is not finite, or a confidence outside (0, 1).
    """
    sample = _checked(values, confidence)
    half_width = None
    if len(sample) > 1 and not _has_no_spread(sample):
        half_width = _t(len(sample), confidence) * _standard_error(sample)
    return Mean(value=float(sample.mean()), half_width=half_width, num_seeds=len(sample))


def differences(
    per_comparison: Sequence[Sequence[float]], *, confidence: float = CONFIDENCE
) -> list[Difference]:
    """Judge several comparisons made together.

    Args:
        per_comparison: for each comparison one difference (arm less baseline) per seed, at least 1.
        confidence: of the intervals; verdicts are at the level 1 - confidence after Holm.

    Raises:
        InvalidInput: as `mean`.
    """
    samples = [_checked(values, confidence) for values in per_comparison]
    p_values = [_p_value(sample) for sample in samples]
    corrected = iter(holm([p for p in p_values if p is not None]))
    num_comparisons = sum(p is not None for p in p_values)
    found = []
    for sample, p_value in zip(samples, p_values, strict=True):
        average = mean(sample.tolist(), confidence=confidence)
        p_holm = None if p_value is None else next(corrected)
        found.append(
            Difference(
                value=average.value,
                half_width=average.half_width,
                num_seeds=average.num_seeds,
                p_value=p_value,
                p_holm=p_holm,
                num_comparisons=num_comparisons,
                detectable=detectable(sample, confidence=confidence),
                verdict=_verdict(sample, p_holm, confidence),
            )
        )
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: at most 1, none below its own p-value.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def detectable(
    sample: NDArray[np.float64], *, confidence: float = CONFIDENCE, power: float = POWER
) -> float | None:
    """The least true difference that a paired t-test of this size finds with probability `power`.

    With the std of the differences as it was observed; from few seeds that is a rough figure.

    Args:
        sample: [S] differences, one per seed.
        confidence: 1 - the level of the two-sided test, uncorrected.
        power: in (1 - confidence, 1).

    Returns:
        In the unit of the differences; None with fewer than two seeds or without spread.
    """
    if len(sample) < 2 or _has_no_spread(sample):
        return None
    num_seeds, critical = len(sample), _t(len(sample), confidence)

    def missing_power(shift: float) -> float:
        # Found with the right sign; the other tail is no success.
        return float(stats.nct.sf(critical, df=num_seeds - 1, nc=shift)) - power

    # At a shift of twice the critical value and more, half of the power is long passed.
    shift = optimize.brentq(missing_power, 0.0, 2 * critical + 10)
    return float(shift) * _standard_error(sample)


def evaluation_noise(pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
    """How far a seed's difference moves with the choice of evaluation problems.

    Args:
        pairs: for each seed the values per problem of the arm and of the baseline, [P] each, in
            the same order of problems, in [0, 1].

    Returns:
        Half width of the 95 % bootstrap interval of one seed's difference, root mean square over
        the seeds; training is not repeated, so it is no part of the noise between seeds.

    Raises:
        InvalidInput: no pair, or as `trainer.evaluate.estimate.paired_difference`.
    """
    if not pairs:
        raise InvalidInput("pairs", 0, "must be at least 1")
    found = [paired_difference(arm, baseline) for arm, baseline in pairs]
    return math.sqrt(math.fsum(((one.high - one.low) / 2) ** 2 for one in found) / len(found))


def _checked(
    values: Sequence[float] | NDArray[np.float64], confidence: float
) -> NDArray[np.float64]:
    if not 0.0 < confidence < 1.0:
        raise InvalidInput("confidence", confidence, "must be in (0, 1)")
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0 or not np.isfinite(sample).all():
        raise InvalidInput("values", sample.tolist(), "must be one finite number per seed")
    return sample


def _standard_error(sample: NDArray[np.float64]) -> float:
    return float(sample.std(ddof=1)) / math.sqrt(len(sample))


def _t(num_seeds: int, confidence: float) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, df=num_seeds - 1))


def _has_no_spread(sample: NDArray[np.float64]) -> bool:
    return float(sample.std(ddof=1)) <= NO_SPREAD * max(1.0, float(np.abs(sample).max()))


def _p_value(sample: NDArray[np.float64]) -> float | None:
    if len(sample) < 2 or _has_no_spread(sample):
        return None
    statistic = abs(float(sample.mean())) / _standard_error(sample)
    return float(2 * stats.t.sf(statistic, df=len(sample) - 1))


def _verdict(sample: NDArray[np.float64], p_holm: float | None, confidence: float) -> Verdict:
    if len(sample) < 2:
        return "too few seeds"
    if p_holm is None:
        return "no spread" if sample.any() else "identical"
    if p_holm < 1 - confidence:
        return "higher" if sample.mean() > 0 else "lower"
    return "none shown"
