"""The event log of a run: live, by kind, page by page."""

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.servers import AcrServe
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id
from tests.web.browser import PHONE, Opened, audit, fits
from tests.web.runs import create, make, order, report

pytestmark = pytest.mark.e2e

NASTY = "<script>alert(1)</script> <i>& 🙂</i>"


@pytest.fixture
def run_id(monitor: AcrServe) -> str:
    """A run with three steps and two events: its creation, and that its batches are small."""
    name = new_run_id()
    make(monitor.url, name, num_steps=3)
    return name


def shown(opened: Opened, run_id: str, **options: Any) -> Page:
    page = opened(f"/#/runs/{run_id}", **options)
    log(page).get_by_role("listitem").last.wait_for()
    return page


def log(page: Page) -> Locator:
    return page.get_by_label("Events, newest first")


def events(page: Page) -> Locator:
    return log(page).locator(".event")


def reasons(page: Page) -> list[str]:
    """What is told of all events, without what they changed."""
    texts = events(page).locator(".message").all_text_contents()
    return [text.partition("seed")[0].strip() for text in texts]


def choose(page: Page, kinds: str) -> None:
    page.get_by_role("group", name="Kinds of events").get_by_role("button", name=kinds).click()


def changed(monitor: AcrServe, run_id: str, times: int) -> None:
    """An event for each of so many changes, "change 1" the first."""
    for number in range(1, times + 1):
        fields = {"seed": number, "reason": f"change {number}", "actor": "ana"}
        order(monitor.url, run_id, "settings", method="PATCH", **fields)


def test_events_show_when_they_happen_and_lead_to_their_step(
    opened: Opened, monitor: AcrServe, run_id: str
) -> None:
    page = shown(opened, run_id)
    expect(events(page)).to_have_count(2)
    expect(events(page).last).to_contain_text("created")
    # Step 5 after step 3: one is missing.
    report(monitor.url, run_id, [body(5)])
    expect(events(page).first).to_contain_text("1 steps were never reported before step 5")
    expect(events(page).first.locator("time")).to_contain_text("now")
    link = events(page).first.get_by_role("link", name="step 5")
    expect(link).to_have_attribute("href", f"#/runs/{run_id}/steps/5")


def test_what_people_ordered_shows_old_and_new(
    opened: Opened, monitor: AcrServe, run_id: str
) -> None:
    page = shown(opened, run_id)
    fields = {"target": "wrong", "reason": NASTY, "actor": "<b>ana</b>"}
    order(monitor.url, run_id, "settings", method="PATCH", **fields)
    expect(events(page).first).to_contain_text(f"<b>ana</b>: {NASTY}")
    expect(events(page).first).to_contain_text("target both → wrong")
    assert page.locator("main script, main i:has-text('🙂')").count() == 0


def test_alarms_tell_how_bad_they_are(opened: Opened, monitor: AcrServe) -> None:
    name = new_run_id()
    create(monitor.url, name)
    # 64 groups of one value in a batch of 70, and the rest alike: nothing tells answers apart.
    hopeless = [{"step": step, "rewards": [WRONG] * 70} for step in range(1, 80)]
    report(monitor.url, name, hopeless)
    page = shown(opened, name)
    choose(page, "alarms")
    expect(events(page).first).to_contain_text("alarm raised")
    assert events(page).first.locator(".badge").get_attribute("data-level") in (
        "warning",
        "critical",
    )


def test_kinds_are_chosen_and_what_comes_later_keeps_to_them(
    opened: Opened, monitor: AcrServe, run_id: str
) -> None:
    page = shown(opened, run_id)
    choose(page, "settings")
    expect(log(page)).to_contain_text("None of this kind")
    changed(monitor, run_id, 2)
    expect(events(page)).to_have_count(2)
    report(monitor.url, run_id, [body(7)])
    order(monitor.url, run_id, "kill", actor="ana")
    expect(events(page).first).to_contain_text("killed")
    expect(events(page)).to_have_count(3)
    choose(page, "data")
    expect(events(page)).to_have_count(2)
    expect(events(page).first).to_contain_text("were never reported before step 7")
    expect(events(page).last).to_contain_text("too few for acr_source batch")
    choose(page, "lifecycle")
    expect(events(page)).to_have_count(1)
    expect(events(page)).to_contain_text("created")


def test_older_events_come_page_by_page_and_newer_ones_touch_none_of_them(
    opened: Opened, monitor: AcrServe, run_id: str
) -> None:
    changed(monitor, run_id, 250)
    page = shown(opened, run_id)
    # A page has 100; there are 250 changes and what was before.
    older = log(page).get_by_role("button", name="Older events")
    for count in (100, 200, 252):
        expect(events(page)).to_have_count(count)
        if count < 252:
            older.click()
    expect(older).to_be_hidden()
    expect(events(page).last).to_contain_text("created")
    assert reasons(page)[:250] == [f"ana: change {number}" for number in range(250, 0, -1)]
    page.evaluate(
        """() => {
          window.touched = 0;
          const lists = [...document.querySelectorAll(".log ol")].slice(1);
          const watching = new MutationObserver((found) => (window.touched += found.length));
          for (const list of lists) watching.observe(list, {subtree: true, childList: true});
        }"""
    )
    order(monitor.url, run_id, "kill", actor="ana")
    expect(events(page)).to_have_count(253)
    expect(events(page).first).to_contain_text("killed")
    assert page.evaluate("window.touched") == 0


def test_many_events_at_once_are_each_there_once(
    opened: Opened, monitor: AcrServe, run_id: str
) -> None:
    page = shown(opened, run_id)
    changed(monitor, run_id, 150)
    expect(events(page)).to_have_count(152)
    assert reasons(page)[:150] == [f"ana: change {number}" for number in range(150, 0, -1)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_log_is_accessible(opened: Opened, monitor: AcrServe, run_id: str, scheme: str) -> None:
    changed(monitor, run_id, 20)
    page = shown(opened, run_id, color_scheme=scheme)
    audit(page)


def test_it_fits_a_phone(opened: Opened, monitor: AcrServe, run_id: str) -> None:
    wide = {"reason": "x" * 400, "actor": "a" * 128, "target": "wrong"}
    order(monitor.url, run_id, "settings", method="PATCH", **wide)
    report(monitor.url, run_id, [body(5, rewards=[MIXED, CORRECT])])
    page = shown(opened, run_id, viewport=PHONE, is_mobile=True, has_touch=True)
    assert fits(page)
