"""The form of a run's settings, as a test finds its parts."""

from typing import Any

from playwright.sync_api import Locator, Page

from tests.web.browser import Opened
from tests.web.trainer import Trainer


def shown(opened: Opened, trainer: Trainer, **options: Any) -> Page:
    """The view of a run, its form loaded."""
    page = opened(f"/#/runs/{trainer.run_id}", **options)
    row(page, "threshold").wait_for()
    return page


def form(page: Page) -> Locator:
    """All of it, with what became of the newest change."""
    return page.locator(".settings-form")


def row(page: Page, name: str) -> Locator:
    """The row of a setting."""
    return page.get_by_role("row").filter(has=page.locator(f"#setting-{name}"))


def cell(page: Page, name: str, title: str) -> Locator:
    """The cell of a setting under one of the table's titles."""
    return row(page, name).locator(f'td[data-title="{title}"]')


def field(page: Page, name: str) -> Locator:
    """The input of a setting."""
    return page.locator(f"#setting-{name}")


def review(page: Page) -> Locator:
    """What is about to be sent."""
    return page.get_by_role("form", name="Changes to send")


def send(page: Page, reason: str = "to see", label: str = "Send") -> None:
    """Give a reason, and send."""
    review(page).get_by_label("Reason").fill(reason)
    review(page).get_by_role("button", name=label, exact=True).click()
