"""A run of 100,000 steps: all of it is drawn, in no more points than can be seen."""

import re

import pytest
from playwright.sync_api import Page, expect

from benchmarks.reports import Reports
from tests.servers import AcrServe
from tests.service.reports import new_run_id
from tests.web.browser import PHONE, Opened
from tests.web.figures import columns, figure, place, plot, says
from tests.web.long import COMPLETIONS, GROUPS, deliver, lengthened

pytestmark = pytest.mark.e2e

STEPS = 100_000
TITLES = (
    *("Group outcomes and ACR", "Reward", "Entropy", "KL to the reference", "Gradient norm"),
    *("Completion length", "Truncated completions"),
)
MOST_POINTS = 600


@pytest.fixture(scope="module")
def long_run(monitor: AcrServe) -> str:
    """A run of 100,000 steps."""
    run_id = new_run_id()
    lengthened(monitor, run_id, STEPS)
    return run_id


@pytest.fixture
def run(opened: Opened, long_run: str) -> Page:
    """Its page."""
    page = opened(f"/#/runs/{long_run}")
    for title in TITLES:
        figure(page, title)
    return page


def test_all_of_it_is_drawn_in_points_that_can_be_seen(run, monitor, long_run):
    # 1280 px are 600 bins at most: ceil(100,000 / 600) = 167 steps each.
    expect(run.get_by_role("main")).to_contain_text(
        "100,000 steps, 1 to 100,000; each point is the mean of 167"
    )
    for title in TITLES:
        expect(plot(run, title)).to_have_attribute("aria-valuemax", str(STEPS))
    plot(run).press("Home")
    assert says(run)["At"] == "steps 1 to 167"
    found = columns(monitor.url, long_run, "kl", "all_wrong", bins=600)
    assert len(found["kl"]) == 599 <= MOST_POINTS
    plot(run).press("ArrowRight")
    # KL is step / 100,000: of steps 168 to 334 it is 0.00251, from 0.00168 to 0.00334.
    assert says(run, "KL to the reference")["KL"] == "0.00251 (0.00168 to 0.00334)"
    assert says(run)["all wrong"] == f"{round(100 * found['all_wrong'][1] / GROUPS)} %"


def drag(page: Page, start: float, end: float) -> None:
    """Over this share of the width of a chart."""
    page.mouse.move(*place(page, start))
    page.mouse.down()
    page.mouse.move(*place(page, end), steps=3)
    page.mouse.up()


def test_looking_closer_shows_single_steps(run, monitor, long_run):
    drag(run, 0.5, 0.52)  # About 2,000 steps, and of these a tenth.
    expect(run.get_by_role("main")).to_contain_text("each point is the mean of 4")
    drag(run, 0.5, 0.6)
    expect(run.get_by_role("main")).not_to_contain_text("each point is the mean of")
    plot(run).press("Home")
    first = int(plot(run).get_attribute("aria-valuenow") or 0)
    assert 50_000 < first < 52_000
    found = columns(monitor.url, long_run, "reward_mean", **{"from": first, "to": first})
    assert float(says(run, "Reward")["mean reward"]) == pytest.approx(
        found["reward_mean"][0], abs=6e-4
    )
    run.get_by_role("button", name="All steps").click()
    expect(run.get_by_role("main")).to_contain_text("each point is the mean of 167")


def test_a_click_on_a_point_of_many_steps_shows_those(run, long_run):
    plot(run).press("Home")
    plot(run).press("Enter")
    expect(run).to_have_url(re.compile(rf"#/runs/{long_run}\?from=1&to=167$"))
    expect(run.get_by_role("main")).to_contain_text("167 steps, 1 to 167")


def test_a_step_that_comes_fills_the_newest_point(opened, monitor):
    run_id = new_run_id()
    lengthened(monitor, run_id, 1_000)
    page = opened(f"/#/runs/{run_id}", viewport=PHONE)
    # 390 px are 195 bins: 6 steps each, and of 4 in the last.
    expect(page.get_by_role("main")).to_contain_text("each point is the mean of 6")
    reports = Reports(GROUPS, COMPLETIONS)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    for first, at in ((1_001, "steps 1,001 to 1,003"), (1_004, "steps 1,001 to 1,006")):
        deliver(monitor.url, run_id, [reports.of(step) for step in range(first, first + 3)])
        expect(figure(page).locator(".at")).to_contain_text(at)
    deliver(monitor.url, run_id, [reports.of(1_007)])
    expect(figure(page).locator(".at")).to_contain_text("step 1,007")
    expect(page.get_by_role("main")).to_contain_text("1,007 steps, 1 to 1,007")
    assert not [url for url in requests if "bins=" in url], "the history is not read again"


def test_a_run_that_has_outgrown_its_points_is_read_again(opened, monitor):
    run_id = new_run_id()
    lengthened(monitor, run_id, 301)
    page = opened(f"/#/runs/{run_id}", viewport=PHONE)
    # 195 bins: 2 steps each, which are 151; from 1.5 x 195 = 292 on coarser ones are asked for.
    expect(page.get_by_role("main")).to_contain_text("each point is the mean of 2")
    reports = Reports(GROUPS, COMPLETIONS)
    deliver(monitor.url, run_id, [reports.of(step) for step in range(302, 302 + 300)])
    # ceil(601 / 195) = 4; 3 when it is asked for before the last of them are recorded.
    expect(page.get_by_role("main")).to_contain_text(re.compile("each point is the mean of [34]"))
    expect(page.get_by_role("main")).to_contain_text("601 steps, 1 to 601")
