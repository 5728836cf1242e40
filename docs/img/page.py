"""`python docs/img/page.py`: takes the pictures of the built-in page and of a report.

Three toy runs train for real under a monitor of their own; the third goes on while the pictures are
taken. Needs the extras `train` and `dev`, Chromium, and about five minutes on two cores.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import msgspec
from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright
from rich.console import Console

from monitor_service.client.api import MonitorApi
from monitor_service.client.stream import Told
from monitor_service.resources import Run, StepRecord

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ACR = (sys.executable, "-m", "monitor_service")
CHROMIUM = "/usr/bin/chromium"
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
PAPER: ViewportSize = {"width": 1100, "height": 2000}
TALL: ViewportSize = {"width": 1280, "height": 3000}
"""Holds all of a run, so that nothing covers a part of it."""
PATIENCE_MS = 60_000
NUM_STEPS = 400

FINISHED: Mapping[str, tuple[str, str]] = {
    "mixed-observe": ("toy:mixed", "observe"),
    "addition-guarded": ("toy", "guarded"),
}
"""Run -> model and profile."""
LIVE = "addition-paper"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""So small a model gains nothing from a second one."""


def main() -> None:
    """Train, look, save."""
    say = Console(stderr=True).print
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acr-pictures-")))
        url, redis_url = stack.enter_context(served(folder))
        for run_id, (model, profile) in FINISHED.items():
            say(f"{run_id} trains ...")
            command = training(url, run_id, folder, model, profile, max_steps=NUM_STEPS)
            subprocess.run(
                command, cwd=ROOT, env=ONE_THREAD, check=True, stdout=DEVNULL, stderr=DEVNULL
            )
        say(f"{LIVE} trains ...")
        command = training(url, LIVE, folder, "toy", "paper", beta=0.01, max_steps=1_000_000)
        live = Popen(command, cwd=ROOT, env=ONE_THREAD, stdout=DEVNULL, stderr=DEVNULL)
        stack.enter_context(live)
        stack.callback(live.kill)
        with MonitorApi(url) as monitor:
            while not any(one.id == LIVE for one in monitor.runs()):
                time.sleep(0.2)
            steer(monitor)
        say("pictures ...")
        take(url, redis_url, folder)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, str]]:
    """A monitor whose data are thrown away: its address, and that of its store."""
    command = [*ACR, "serve", "--port", "0", "--json", "--data-dir", str(folder / "monitor")]
    with Popen(command, stdout=PIPE, stderr=DEVNULL) as process:
        assert process.stdout is not None
        endpoint = msgspec.json.decode(process.stdout.readline())
        yield endpoint["url"], endpoint["redis_url"]
        process.terminate()


def training(
    url: str, run_id: str, folder: Path, model: str, profile: str, **more: float
) -> list[str]:
    """The command that trains a toy under the monitor."""
    given = {
        "model_name_or_path": model,
        "use_avspo": "true",
        "avspo_profile": profile,
        "monitor_url": url,
        "run_id": run_id,
        "output_dir": str(folder / run_id),
        "logging_steps": "1",
        **{name: str(value) for name, value in more.items()},
    }
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    return [sys.executable, "-m", "trainer.train", "examples/toy.yaml", *options]


def steer(monitor: MonitorApi) -> None:
    """What people might do to a run under way."""
    tags = {"team": "math", "seed": "0"}
    monitor.describe(LIVE, tags=tags, notes="Two-operand addition, from a warm start.")
    past(monitor, 80)
    monitor.change(LIVE, {"threshold": 0.3}, actor="ana", reason="intervene earlier")
    past(monitor, 140)
    changes = {"temperature": 1.1, "epsilon_high": 0.28}
    monitor.change(LIVE, changes, actor="bo", reason="entropy is falling")
    past(monitor, 200)
    monitor.change(LIVE, {"scale_wrong": 0.5}, actor="ana", reason="half the push is enough")
    monitor.change(LIVE, {"entropy_coef": 0.01}, actor="bo", reason="does it take the bonus?")
    past(monitor, 300)


def past(monitor: MonitorApi, step: int) -> None:
    """Return once the run has come as far as a step."""
    for message in monitor.stream(LIVE):
        match message:
            case Told(content=Run(step=newest) | StepRecord(step=newest)) if newest >= step:
                return


def take(url: str, redis_url: str, folder: Path) -> None:
    """Every picture."""
    with sync_playwright() as driver, driver.chromium.launch(executable_path=CHROMIUM) as browser:

        def opened(
            path: str, is_there: str, *, size: ViewportSize = DESKTOP, **options: Any
        ) -> Page:
            page = browser.new_page(base_url=url, viewport=size, **options)
            page.set_default_timeout(PATIENCE_MS)
            page.goto(path)
            page.locator(is_there).first.wait_for()
            return page

        def save(name: str, what: Page | Locator) -> None:
            what.screenshot(path=HERE / f"{name}.png", animations="disabled")

        run_view, charts = f"/#/runs/{LIVE}", ".figures canvas"
        save("page-runs", opened("/#/", ".spark path"))
        save("page-run", opened(run_view, charts))
        page = opened(run_view, charts, size=TALL)
        save("page-figures", page.locator(".figures").last)
        save("page-orders", section(page, "orders"))
        save("page-events", section(page, "events"))
        page.get_by_label("threshold", exact=True).fill("0.25")
        page.get_by_label("Reason").fill("a little earlier")
        page.get_by_label("Your name").fill("ana")
        save("page-settings", section(page, "settings"))
        page.get_by_role("button", name="Kill").click()
        save("page-kill", page.get_by_role("dialog"))
        save("page-dark", opened(run_view, charts, color_scheme="dark"))
        save("page-phone", opened(run_view, charts, size=PHONE))
        compared = "&".join(f"run={one}" for one in (LIVE, *FINISHED))
        save("page-compare", opened(f"/#/compare?{compared}", ".compared canvas"))
        page = opened(run_view, charts)
        page.get_by_role("link", name="Groups of the newest step").click()
        page.locator(".groups").wait_for()
        save("page-groups", page)
        story = folder / "report.html"
        command = [*ACR, "report", LIVE, "--compare", "addition-guarded", "--url", url]
        subprocess.run([*command, "--html", str(story)], check=True, stdout=DEVNULL)
        save("report", opened(story.as_uri(), "svg", size=PAPER))
        # The last one: from now on everybody needs a token.
        subprocess.run(
            [*ACR, "token", "create", "ana"],
            check=True,
            stdout=DEVNULL,
            env={**os.environ, "ACR_REDIS_URL": redis_url},
        )
        save("page-token", opened("/#/", "input[type=password]"))


def section(page: Page, heading: str) -> Locator:
    """A part of the view of a run, by the id of its heading."""
    return page.locator(f"section[aria-labelledby={heading}]")


if __name__ == "__main__":
    main()
