"""Fixtures for tests in a browser: a monitor, Chromium, and pages that may not complain."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.servers import AcrServe, acr_serve, short_folder
from tests.web.browser import DESKTOP, PATIENCE_MS, Opened, Trouble, executable

expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the browser is a test of several processes."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def monitor() -> Iterator[AcrServe]:
    """`acr serve` without tokens, shared by the tests of a module."""
    with short_folder() as folder, acr_serve(folder) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser.

    Of a module, not of the session: while it is there this thread has a running event loop, in
    which no other can be run.
    """
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable())
        yield browser
        browser.close()


@pytest.fixture
def trouble() -> Iterator[Trouble]:
    """What the pages of a test complained of; fails it for what it did not expect."""
    found = Trouble()
    yield found
    assert not found.unexpected


@pytest.fixture
def opened(chromium: Browser, monitor: AcrServe, trouble: Trouble) -> Iterator[Opened]:
    """Opens pages, each in a fresh context: `opened("/#/runs/demo", color_scheme="dark")`.

    An address without a host is one of `monitor`; `base_url` names another.
    """
    with ExitStack() as contexts:

        def open_page(url: str = "/", **options: Any) -> Page:
            usual: dict[str, Any] = {"viewport": DESKTOP, "base_url": monitor.url}
            context = contexts.enter_context(chromium.new_context(**usual | options))
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            trouble.watch(page)
            page.goto(url)
            return page

        yield open_page


@pytest.fixture
def page(opened: Opened) -> Page:
    """The page of `monitor`, at its first view."""
    return opened()
