"""The frame of every view: ways to go, theme, and where the keyboard is."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.service.reports import new_run_id
from tests.web.browser import PHONE, audit, fits
from tests.web.runs import make


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_a_link_leads_to_a_view_that_is_titled_and_focused(page, monitor):
    run_id = new_run_id()
    make(monitor.url, run_id)
    expect(page).to_have_title("ACR monitor")
    page.get_by_role("link", name=run_id).click()
    expect(page).to_have_url(f"{monitor.url}/#/runs/{run_id}")
    expect(page).to_have_title(re.compile(rf"^{run_id}"))
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.go_back()
    heading(page, "Runs")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page).to_have_title("ACR monitor")


def test_who_opens_the_page_is_not_moved_anywhere(page):
    heading(page, "Runs")
    assert page.evaluate("document.activeElement === document.body")


def test_the_frame_can_be_skipped(page):
    heading(page, "Runs")
    page.keyboard.press("Tab")
    skip = page.get_by_role("button", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()


@pytest.mark.parametrize("path", ["/nothing", "/runs/a/b", "/runs/a/steps/", "/<b>bold</b>"])
def test_an_address_that_is_none_says_so(opened, path):
    page = opened(f"/#{path}")
    heading(page, "There is no such page")
    expect(page.get_by_role("main")).to_contain_text(path.replace("<", "%3C").replace(">", "%3E"))
    audit(page)
    page.get_by_role("link", name="All runs").click()
    heading(page, "Runs")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("%F0%9F%99%82", "🙂"),
        ("100%", "100%"),
        ("a%2Fb", "a/b"),
        ("%3Cimg%20src=x%3E", "<img src=x>"),
    ],
)
def test_an_id_that_no_run_can_have_is_shown_as_it_is(opened, trouble, written, shown):
    trouble.expect("status of 4..")
    page = opened(f"/#/runs/{written}")
    heading(page, shown)
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.locator("main img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_as_light_or_dark_as_the_system(opened, scheme):
    page = opened(color_scheme=scheme)
    heading(page, "Runs")
    assert background(page) == {"light": "rgb(244, 245, 247)", "dark": "rgb(15, 19, 24)"}[scheme]
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    assert background(page) == {"dark": "rgb(244, 245, 247)", "light": "rgb(15, 19, 24)"}[scheme]


def test_a_theme_that_was_chosen_stays_whatever_the_system_says(opened):
    page = opened(color_scheme="light")
    page.get_by_label("Theme").select_option("dark")
    assert background(page) == "rgb(15, 19, 24)"
    page.reload()
    expect(page.get_by_label("Theme")).to_have_value("dark")
    assert background(page) == "rgb(15, 19, 24)"
    page.get_by_label("Theme").select_option("auto")
    assert background(page) == "rgb(244, 245, 247)"
    assert page.evaluate("localStorage.length") == 0


def test_a_browser_that_keeps_nothing_shows_the_page_all_the_same(opened):
    forbidden = """for (const name of ["localStorage", "sessionStorage"])
      Object.defineProperty(window, name, {get() { throw new DOMException("no", "SecurityError") }})
    """
    page = opened()
    page.add_init_script(forbidden)
    page.reload()
    heading(page, "Runs")
    light = background(page)
    page.get_by_label("Theme").select_option("dark")
    assert background(page) != light


def test_a_monitor_without_tokens_says_that_none_is_needed(page):
    expect(page.get_by_role("banner")).to_contain_text("no token needed")
    expect(page.get_by_role("button", name="Forget token")).to_have_count(0)


def test_the_page_says_so_when_the_monitor_answers_nothing_of_use_and_goes_on_when_it_does(
    opened, trouble
):
    trouble.expect("status of 503")
    page = opened("about:blank")
    problem = '{"type": "about:blank", "title": "", "status": 503, "detail": "Redis is away"}'
    page.route("**/v1/me", lambda route: route.fulfill(status=503, body=problem))
    page.goto("/")
    heading(page, "The monitor cannot be asked")
    expect(page.get_by_role("alert")).to_have_text("Redis is away")
    audit(page)
    page.unroute("**/v1/me")
    heading(page, "Runs")


def test_a_view_that_cannot_be_fetched_offers_to_load_the_page_again(opened, trouble):
    trouble.expect("ERR_FAILED", "status of 503", "dynamically imported")
    page = opened("about:blank")
    page.route("**/assets/views/runs.js", lambda route: route.abort())
    page.goto("/")
    heading(page, "The monitor cannot be asked")
    page.unroute("**/assets/views/runs.js")
    page.get_by_role("button", name="Load the page again").click()
    heading(page, "Runs")


def turn_away(page: Page, is_away: bool) -> None:
    """As when the reader goes to another tab, or comes back."""
    page.evaluate(
        """isAway => {
            Object.defineProperty(document, "hidden", {value: isAway, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_away,
    )


def test_a_tab_that_nobody_looks_at_lets_go_of_its_stream(opened):
    page = opened("about:blank")
    page.clock.install()
    page.goto("/")
    live = page.get_by_text("live", exact=True)
    expect(live).to_be_visible()
    turn_away(page, True)
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/v1/stream")):
        page.clock.run_for(20_000)
    with page.expect_response("**/v1/stream"):
        turn_away(page, False)
    expect(live).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
def test_the_frame_is_open_to_everybody(opened, monitor, scheme, size):
    make(monitor.url, new_run_id())
    page = opened(color_scheme=scheme, **({"viewport": size} if size else {}))
    expect(page.get_by_role("table")).to_be_visible()
    assert fits(page)
    audit(page)
