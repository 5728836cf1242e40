"""A real Chromium, pages that must be free of errors, and the audit of what a page offers."""

import os
import re
import shutil
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, Request

from tests.servers import PATIENCE_S

PATIENCE_MS = 1000 * PATIENCE_S
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
GONE = "status of 409"
"""What a list may complain of: a row was asked for in the moment in which its run was deleted."""

Opened = Callable[..., Page]
"""`opened(url, **options)`: a page of a monitor in a context of its own, closed with the test."""


def executable() -> str:
    """The browser of this machine; fails the test where there is none."""
    names = (os.environ.get("ACR_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if found is None:
        pytest.fail("Chromium is missing: apt-get install chromium, or name it in ACR_CHROMIUM")
    return found


class Trouble:
    """What browsers complained of: messages of the console, exceptions, requests that failed."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._expected: list[str] = []

    def expect(self, *patterns: str) -> None:
        """Complaints that match one of these are what the test provokes."""
        self._expected += patterns

    def watch(self, page: Page) -> None:
        """Keep what goes wrong in this page."""
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.found.append(f"exception: {error}"))
        page.on("requestfailed", self._failed)

    @property
    def unexpected(self) -> list[str]:
        """What no test provokes."""
        return [one for one in self.found if not any(re.search(e, one) for e in self._expected)]

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            where = message.location.get("url", "")
            self.found.append(f"{message.type}: {message.text} [{where}]")

    def _failed(self, request: Request) -> None:
        # The page ends its requests by itself when it has no more use for them.
        if request.failure != "net::ERR_ABORTED":
            self.found.append(f"request: {request.url} {request.failure}")


def audit(page: Page) -> None:
    """Fail at what axe finds moderate, serious or critical in the page as it is."""
    found = Axe().run(page).response["violations"]
    told = [
        f"{one['impact']} {one['id']}: {one['help']}\n    {node['target']} {node['html'][:300]}"
        + "".join(f"\n    {check['message']}" for check in [*node["any"], *node["all"]])
        for one in found
        if one["impact"] != "minor"
        for node in one["nodes"]
    ]
    assert not told, "\n".join(told)


def fits(page: Page) -> bool:
    """Whether the page needs no scrolling to the side."""
    return bool(
        page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )
