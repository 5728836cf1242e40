"""A page that is open while its monitor is away: it says so, comes back, and has missed nothing."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.servers import AcrServe, acr_serve, short_folder
from tests.service.reports import body, new_run_id
from tests.web.browser import GONE, audit
from tests.web.runs import create, delete, make, order, report

AWAY = "net::ERR_"
"""Whatever way a browser has to say that nobody answers."""


@pytest.fixture(scope="module")
def monitor() -> Iterator[AcrServe]:
    """`acr serve` of this module's own: others would notice that it is restarted."""
    with short_folder() as folder, acr_serve(folder) as server:
        yield server


def connection(page: Page, word: str) -> None:
    expect(page.get_by_role("banner").get_by_text(word, exact=True)).to_be_visible()


def shows_step(page: Page, step: int) -> None:
    expect(page.get_by_role("main").get_by_text(f"step {step}", exact=True).first).to_be_visible()


def test_the_list_comes_back_with_what_happened_while_it_was_lost(opened, monitor, trouble):
    trouble.expect(AWAY, GONE)
    prefix = new_run_id()
    moves, ends, goes = (f"{prefix}-{name}" for name in ("moves", "ends", "goes"))
    for run_id in (moves, ends, goes):
        make(monitor.url, run_id, 1)
    page = opened(f"/#/?q={prefix}")
    rows = page.locator("tbody").get_by_role("row")
    expect(rows).to_have_count(3)
    connection(page, "live")
    monitor.kill9()
    connection(page, "reconnecting …")
    said = page.get_by_role("status").filter(has_text="The connection to the monitor is lost")
    expect(said).to_have_count(1)
    # What was known stays, to be looked at.
    expect(rows).to_have_count(3)
    audit(page)
    monitor.start()
    report(monitor.url, moves, [body(2)])
    order(monitor.url, ends, "end", attempt=1, how="finished")
    delete(monitor.url, goes)
    create(monitor.url, f"{prefix}-new")
    connection(page, "live")
    expect(page.get_by_role("status").filter(has_text="Connected again")).to_have_count(1)
    expect(rows).to_have_count(3)
    links = page.locator("tbody").get_by_role("link")
    expect(links).to_have_text([f"{prefix}-new", ends, moves])
    expect(rows.nth(1)).to_contain_text("finished")
    expect(rows.nth(2).get_by_role("cell").nth(4)).to_have_text("2")
    # And it goes on live.
    report(monitor.url, moves, [body(3)])
    expect(rows.nth(2).get_by_role("cell").nth(4)).to_have_text("3")


def test_a_run_comes_back_with_the_steps_it_missed(opened, monitor, trouble):
    trouble.expect(AWAY)
    run_id = new_run_id()
    make(monitor.url, run_id, 5)
    page = opened(f"/#/runs/{run_id}")
    shows_step(page, 5)
    connection(page, "live")
    monitor.kill9()
    connection(page, "reconnecting …")
    shows_step(page, 5)
    monitor.start()
    report(monitor.url, run_id, [body(6), body(7)])
    connection(page, "live")
    shows_step(page, 7)
    report(monitor.url, run_id, [body(8)])
    shows_step(page, 8)


def test_a_page_that_was_opened_while_the_monitor_was_ending_begins_when_it_is_back(
    opened, monitor, trouble
):
    trouble.expect(AWAY, "status of 503")
    run_id = new_run_id()
    make(monitor.url, run_id, 1)
    page = opened("about:blank")
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    page.goto("/")
    expect(page.get_by_role("alert")).to_have_text("the monitor does not answer")
    page.unroute("**/v1/**")
    expect(page.get_by_role("link", name=run_id)).to_be_visible()
