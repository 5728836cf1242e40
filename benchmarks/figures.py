"""Medians with how far they can be trusted, and the machine they were measured on."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

_RESAMPLES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Median:
    """A median over repetitions.

    Attributes:
        value: in the unit of the values.
        low, high: bootstrap interval of the median, 5 % on each side.
        p10, p90: of the values themselves.
    """

    value: float
    low: float
    high: float
    p10: float
    p90: float

    def scaled(self, factor: float) -> "Median":
        """The same in another unit."""
        return Median(
            value=factor * self.value,
            low=factor * self.low,
            high=factor * self.high,
            p10=factor * self.p10,
            p90=factor * self.p90,
        )


def median(values: Sequence[float]) -> Median:
    """The median of at least one value; the resampling is seeded."""
    found = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(0)
    draws = rng.choice(found, size=(_RESAMPLES, len(found)))
    low, high = np.percentile(np.median(draws, axis=1), [5, 95])
    p10, p90 = np.percentile(found, [10, 90])
    return Median(
        value=float(np.median(found)),
        low=float(low),
        high=float(high),
        p10=float(p10),
        p90=float(p90),
    )


def machine(*packages: str) -> dict[str, object]:
    """What the figures were measured on, how busy it was, and the versions of these packages."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_average_1m": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
