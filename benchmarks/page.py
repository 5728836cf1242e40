"""What the built-in page costs its reader, by the length of the run.

    python -m benchmarks.page [--rounds N] [--most STEPS] [--json FILE]

One `acr serve` with its embedded store and one Chromium on the same machine, each round in a fresh
context: nothing is cached. *shown*: from the navigation until the headline is there and every
chart is drawn over all steps. *longest wait*: how late a timer of 4 ms was at most, while 50 steps
were reported one after the other and drawn. *zoom*: from asking for a tenth of the steps until
every chart shows them. Exit status 1 when a run of 100,000 steps is not shown within 2 s.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright
from rich.table import Table

from benchmarks.figures import Median, machine, median
from benchmarks.output import progress, show, verdicts, write
from benchmarks.reports import Reports
from benchmarks.servers import monitor
from tests.servers import AcrServe
from tests.web.browser import executable
from tests.web.long import COMPLETIONS, GROUPS, deliver, lengthened

LEVELS = (1_000, 100_000, 1_000_000)
JUDGED = 100_000
MOST_SHOWN_S = 2.0
CHARTS = 7
LIVE_STEPS = 50

_PROBE = """
window.probe = {
  charts: () => [...document.querySelectorAll(".plot")],
  isDrawn(last) {
    const charts = probe.charts();
    const isThere = (one) =>
      one.getAttribute("aria-valuemax") === String(last) && probe.isInked(one);
    return charts.length === CHARTS && charts.every(isThere)
      && document.querySelector(".run-headline") !== null;
  },
  isInked(chart) {
    const canvas = chart.querySelector("canvas");
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((part) => part > 0);
  },
  /** Milliseconds since the navigation at the first frame that shows it. */
  shown: (last) => new Promise((resolve) => {
    const look = () => {
      if (probe.isDrawn(last)) resolve(performance.now());
      else requestAnimationFrame(look);
    };
    look();
  }),
  watch() {
    probe.waitMs = 0;
    let due = performance.now() + 4;
    setInterval(() => {
      const now = performance.now();
      probe.waitMs = Math.max(probe.waitMs, now - due);
      due = now + 4;
    }, 4);
  },
};
""".replace("CHARTS", str(CHARTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Pages of runs of so many steps."""

    steps: int
    shown_s: Median
    wait_ms: Median
    zoom_ms: Median
    history_bytes: int
    """Of the one answer that the charts are drawn from."""


def read(browser: Browser, server: AcrServe, steps: int, rounds: int) -> Read:
    """A run of so many steps, and `rounds` readers one after the other."""
    run_id = f"of-{steps}-steps"
    lengthened(server, run_id, steps)
    reports, newest, size = Reports(GROUPS, COMPLETIONS), steps, 0
    shown, waits, zooms = [], [], []
    with progress() as bars:
        for _ in bars.track(range(rounds), description=f"{steps:,} steps"):
            context = browser.new_context(viewport=ViewportSize(width=1280, height=800))
            page = context.new_page()
            page.add_init_script(_PROBE)
            with page.expect_response(lambda reply: "bins=" in reply.url) as history:
                page.goto(f"{server.url}/#/runs/{run_id}", wait_until="commit")
                shown.append(_until(page, newest) / 1e3)
            size = len(history.value.body())
            page.evaluate("() => probe.watch()")
            for _ in range(LIVE_STEPS):
                newest += 1
                deliver(server.url, run_id, [reports.of(newest)])
            _until(page, newest)
            waits.append(page.evaluate("probe.waitMs"))
            zooms.append(_zoomed(page, newest // 2, newest // 2 + newest // 10))
            context.close()
    found = [median(values) for values in (shown, waits, zooms)]
    return Read(
        steps=steps, shown_s=found[0], wait_ms=found[1], zoom_ms=found[2], history_bytes=size
    )


def _until(page: Page, last: int) -> float:
    """Milliseconds from the navigation until all charts end at this step."""
    return float(page.evaluate("last => probe.shown(last)", last))


def _zoomed(page: Page, first: int, last: int) -> float:
    """Milliseconds until all charts show these steps."""
    began = page.evaluate(
        """async range => {
          const {zoom} = await import("/assets/run/range.js");
          zoom(range);
          return performance.now();
        }""",
        {"from": first, "to": last},
    )
    return _until(page, last) - float(began)


def table(found: Sequence[Read]) -> Table:
    """A line for each length; beside each figure how many times that of the shortest run it is."""
    shown = Table(title="Reading the page of a run")
    for name in ("steps", "shown", "longest wait", "zoom", "history"):
        shown.add_column(name, justify="right")
    least = found[0]
    for one in found:
        shown.add_row(
            f"{one.steps:,}",
            f"{one.shown_s.value:.2f} s{_beside(one.shown_s, least.shown_s)}",
            f"{one.wait_ms.value:.0f} ms{_beside(one.wait_ms, least.wait_ms)}",
            f"{one.zoom_ms.value:.0f} ms{_beside(one.zoom_ms, least.zoom_ms)}",
            f"{one.history_bytes / 1e3:,.0f} kB",
        )
    return shown


def _beside(found: Median, least: Median) -> str:
    return "" if found is least else f" (x {found.value / least.value:.1f})"


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description="What the built-in page costs its reader."
    )
    parser.add_argument("--rounds", type=int, default=5, help="readers of each run")
    parser.add_argument("--most", type=int, default=LEVELS[-1], help="leave out longer runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(argv)
    if options.rounds < 1 or options.most < LEVELS[0]:
        parser.error(f"--rounds: at least 1; --most: at least {LEVELS[0]}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and judge; returns the exit status."""
    options = parsed(argv)
    about = machine("playwright")
    with (
        tempfile.TemporaryDirectory() as folder,
        monitor(Path(folder)) as server,
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=executable()) as browser,
    ):
        about["chromium"] = browser.version
        levels = [steps for steps in LEVELS if steps <= options.most]
        found = [read(browser, server, steps, options.rounds) for steps in levels]
    claims = [
        (
            f"a run of {one.steps:,} steps is shown within {MOST_SHOWN_S:g} s",
            one.shown_s.value <= MOST_SHOWN_S,
        )
        for one in found
        if one.steps == JUDGED
    ]
    show(about, table(found), verdicts(claims))
    write(options.json, {"machine": about, "read": [asdict(one) for one in found]})
    return 0 if all(holds for _, holds in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
