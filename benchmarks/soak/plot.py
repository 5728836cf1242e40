"""Memory, latency and load over time, drawn."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.soak.flatness import WARM_UP, Windows
from benchmarks.soak.measure import Watched
from benchmarks.svg import GRID, LINES, STYLE, svg

WIDTH_INCHES, HEIGHT_INCHES = 7.2, 5.4


def draw(watched: Watched, by_time: Windows, path: Path) -> None:
    """Write the plot; the warm-up, which is not judged, is shaded."""
    minutes = (np.asarray(watched.at_s) - watched.at_s[0]) / 60
    at = by_time.at_s / 60
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES))
        memory, latency, load = figure.subplots(3, 1, sharex=True)
        memory.plot(minutes, np.asarray(watched.service_bytes) / 1e6, color=LINES[3])
        memory.set_ylabel("service, MB in RAM", color=LINES[3])
        store = memory.twinx()
        store.plot(minutes, np.asarray(watched.store_bytes) / 1e6, color=LINES[0], ls="dashed")
        store.set_ylabel("store, MB of data", color=LINES[0])
        store.grid(visible=False)
        latency.plot(at, by_time.p50_ms, color=LINES[2], label="p50")
        latency.plot(at, by_time.p99_ms, color=LINES[1], ls="dashed", label="p99")
        latency.set_ylabel("report to settings, ms")
        latency.legend(frameon=False, loc="upper right", ncols=2)
        load.plot(at, by_time.per_s, color=LINES[3])
        load.set_ylabel("reports/s")
        load.set_xlabel("minutes")
        for axes in (memory, store, latency, load):
            axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
        for axes in (memory, latency, load):
            axes.axvspan(0, WARM_UP * minutes[-1], color=GRID, alpha=0.5, lw=0)
        figure.align_ylabels([memory, latency, load])
        figure.tight_layout(h_pad=0.6)
        path.write_text(svg(figure))
