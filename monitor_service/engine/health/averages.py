"""Figures of a run boiled down to few: medians, means that forget, few significant digits."""

import math

LIMIT = 1e30
"""Larger magnitudes are taken as this, so that no sum here overflows."""

FINE = ".6g"
"""Format of running means, which rounding must not stop."""


def kept(value: float, spec: str = ".4g") -> float:
    """A number as it is stored: `spec` is its format.

    >>> kept(0.123456), kept(4e300)
    (0.1235, 1e+30)
    """
    return float(format(value if -LIMIT < value < LIMIT else _limited(value), spec))


def measured(value: float | None) -> float | None:
    """The value if it is a number, within `LIMIT`; else None."""
    if value is None or -LIMIT < value < LIMIT:
        return value
    return _limited(value) if math.isfinite(value) else None


def _limited(value: float) -> float:
    return max(-LIMIT, min(LIMIT, value))


def median(values: tuple[float, ...]) -> float:
    """Of at least one value.

    >>> median((3, 1, 2)), median((1, 4))
    (2, 2.5)
    """
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def blended(mean: float, value: float, count: int, span: int) -> float:
    """A plain mean of the first values, then one that forgets: the `count`th value, from 1."""
    share = max(1 / max(1, count), 2 / (span + 1))
    return kept(mean + share * (value - mean), FINE)
