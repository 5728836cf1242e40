"""Whether memory and latency stay as they are, by stated criteria."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.soak.measure import Watched
from benchmarks.trainings import Seen
from monitor_service.engine.collapse import Matrix

WARM_UP = 0.25
"""Share of the time that is not judged: caches fill, the allocator finds its size."""
MOST_GROWTH = 0.05
"""Growth of the service's memory along its trend, over what is judged, of its mean."""
MOST_SLOWER = 1.5
"""Median latency in the last third of what is judged, over that in its first third."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Latency and load by stretches of time; NaN where nothing was sent.

    Attributes:
        at_s: middle of each, from the start.
        p50_ms, p99_ms: from sending a report to its settings.
        per_s: reports.
    """

    at_s: Matrix
    p50_ms: Matrix
    p99_ms: Matrix
    per_s: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatness:
    """What became of memory and latency after the warm-up.

    Attributes:
        service_mb: mean memory of the service's process, 10^6 bytes.
        service_growth: along the trend over the time judged, a share of that.
        service_bytes_per_report: the same growth, by the reports of that time.
        store_bytes_per_report: what Redis holds more for each report; it keeps every one.
        slower: median latency of the last third over that of the first.
        memory_is_flat, latency_is_flat: by the criteria of this module.
    """

    service_mb: float
    service_growth: float
    service_bytes_per_report: float
    store_bytes_per_report: float
    slower: float
    memory_is_flat: bool
    latency_is_flat: bool


def windows(seen: Seen, began_s: float, duration_s: float, every_s: float) -> Windows:
    """What was seen, in stretches of `every_s`."""
    sent, reply = np.asarray(seen.sent_s) - began_s, 1e3 * np.asarray(seen.reply_s)
    edges = np.arange(0.0, duration_s + every_s / 2, every_s)
    stretches = [reply[(low <= sent) & (sent < high)] for low, high in pairwise(edges)]
    p50, p99 = (
        np.array([np.percentile(one, q) if len(one) else np.nan for one in stretches])
        for q in (50, 99)
    )
    return Windows(
        at_s=(edges[:-1] + edges[1:]) / 2,
        p50_ms=p50,
        p99_ms=p99,
        per_s=np.array([len(one) / every_s for one in stretches]),
    )


def flatness(seen: Seen, watched: Watched) -> Flatness:
    """Judge what came after the warm-up."""
    at = np.asarray(watched.at_s)
    judged_from = at[0] + WARM_UP * (at[-1] - at[0])
    judged = at >= judged_from
    lasted_s = float(at[-1] - judged_from)
    service = np.asarray(watched.service_bytes, dtype=np.float64)[judged]
    store = np.asarray(watched.store_bytes, dtype=np.float64)[judged]
    growth, store_growth = (
        float(np.polyfit(at[judged], one, 1)[0]) * lasted_s for one in (service, store)
    )
    sent, reply = np.asarray(seen.sent_s), np.asarray(seen.reply_s)
    num_reports = int(((judged_from <= sent) & (sent < at[-1])).sum())
    third_s = lasted_s / 3
    early = reply[(judged_from <= sent) & (sent < judged_from + third_s)]
    late = reply[at[-1] - third_s <= sent]
    slower = float(np.median(late) / np.median(early))
    return Flatness(
        service_mb=float(service.mean()) / 1e6,
        service_growth=growth / float(service.mean()),
        service_bytes_per_report=growth / num_reports,
        store_bytes_per_report=store_growth / num_reports,
        slower=slower,
        memory_is_flat=growth <= MOST_GROWTH * float(service.mean()),
        latency_is_flat=slower <= MOST_SLOWER,
    )
