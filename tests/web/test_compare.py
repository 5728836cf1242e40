"""Runs beside each other: what is said of each, how they are told apart, how many there may be."""

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.servers import AcrServe
from tests.service.reports import CORRECT, WRONG, body, new_run_id
from tests.web.browser import PHONE, Opened, audit, fits
from tests.web.figures import figure, plot, says
from tests.web.runs import create, make, report

pytestmark = pytest.mark.e2e


def made(monitor: AcrServe, num_steps: int = 20, **scalars: float) -> str:
    """A run whose rewards are 0 at first and 1 in its newest tenth."""
    run_id = new_run_id()
    create(monitor.url, run_id)
    report(
        monitor.url,
        run_id,
        [judged(step, num_steps, **scalars) for step in range(1, num_steps + 1)],
    )
    return run_id


def judged(step: int, num_steps: int, **scalars: float) -> dict[str, Any]:
    is_late = step > 0.9 * num_steps
    return {"step": step, "rewards": [CORRECT if is_late else WRONG], "scalars": scalars}


def compared(opened: Opened, *ids: str, **options: Any) -> Page:
    return opened("/#/compare?" + "&".join(f"run={one}" for one in ids), **options)


def row(page: Page, run_id: str) -> list[str]:
    """What the table says of a run."""
    found = page.get_by_role("row").filter(has=page.get_by_role("link", name=run_id, exact=True))
    found.get_by_role("cell").nth(3).wait_for()
    return [text.strip() for text in found.get_by_role("cell").all_inner_texts()]


def test_two_runs_are_told_apart_in_every_chart_and_in_a_table(opened, monitor):
    one, other = made(monitor, entropy=1.5, kl=0.25), made(monitor, 40, entropy=0.5)
    page = compared(opened, one, other)
    state, _, step, acr, effective, reward, entropy, kl, _ = row(page, one)
    assert (state, step, acr) == ("training", "20", "1.00")
    # The newest tenth of 20 steps are two, of reward 1.
    assert (effective, reward, entropy, kl) == ("–", "1", "1.5", "0.25")
    assert row(page, other)[7] == "–"
    assert set(says(page, "Entropy")) == {"At", one, other}
    assert set(says(page, "KL to the reference")) == {"At", one}
    strokes = figure(page, "Entropy").locator(".stroke path")
    looks = strokes.evaluate_all(
        "all => all.map(one => [one.getAttribute('stroke'), one.getAttribute('stroke-dasharray')])"
    )
    assert len({colour for colour, _ in looks}) == len({dash for _, dash in looks}) == 2
    audit(page)


def test_values_at_the_cursor_are_those_of_each_run(opened, monitor):
    short, long = made(monitor, 20), made(monitor, 40)
    page = compared(opened, short, long)
    assert says(page, "Reward") == {"At": "step 40", short: "1", long: "1"}  # The newest of each.
    plot(page, "Reward").press("End")
    assert says(page, "Reward") == {"At": "step 40", short: "–", long: "1"}
    plot(page, "Reward").press("Home")
    assert says(page, "Reward") == {"At": "step 1", short: "0", long: "0"}


def test_of_many_steps_running_means_are_compared(opened, monitor):
    short, long = made(monitor, 20), made(monitor, 160)
    page = compared(opened, short, long)
    expect(figure(page, "Reward")).to_contain_text("running mean over a fortieth of the steps")
    plot(page, "Reward").press("End")
    # Of steps 145 to 160 the reward is 1, before it is 0; a fortieth of 160 is 4.
    for _ in range(14):
        plot(page, "Reward").press("ArrowLeft")
    assert says(page, "Reward") == {"At": "step 146", short: "–", long: "0.5"}


def test_runs_are_added_and_removed_and_the_address_says_which(opened, monitor):
    one, other = made(monitor), made(monitor)
    page = opened("/#/compare")
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare")
    audit(page)
    for run_id in (one, other):
        page.get_by_role("combobox", name="Run").fill(run_id)
        page.get_by_role("button", name="Add").click()
        row(page, run_id)
    expect(page).to_have_url(re.compile(rf"#/compare\?run={one}&run={other}$"))
    page.get_by_role("button", name=f"Remove {one}").click()
    expect(page).to_have_url(re.compile(rf"#/compare\?run={other}$"))
    expect(page.get_by_role("link", name=one)).to_have_count(0)
    assert set(says(page, "Reward")) == {"At", other}


def test_the_monitor_says_which_runs_there_are(opened, monitor):
    run_id = made(monitor)
    page = opened("/#/compare")
    page.get_by_role("combobox", name="Run").fill(run_id[4:12])
    expect(page.locator(f"option[value={run_id}]")).to_have_count(1)


def test_eight_runs_can_be_told_apart_and_a_ninth_is_left_out(opened, monitor):
    ids = [made(monitor, 10) for _ in range(9)]
    page = compared(opened, *ids)
    for run_id in ids[:8]:
        row(page, run_id)
    expect(page.get_by_text(f"8 runs are compared at most; not here: {ids[8]}.")).to_be_visible()
    expect(page.get_by_role("button", name="Add")).to_be_disabled()
    assert set(says(page, "ACR, pooled")) == {"At", *ids[:8]}
    looks = (
        figure(page, "Reward")
        .locator(".stroke path")
        .evaluate_all("all => all.map(one => one.getAttribute('stroke-dasharray'))")
    )
    assert len(set(looks)) == 8
    audit(page)


def test_a_run_that_vanishes_says_so_and_leaves_the_charts(opened, monitor, trouble):
    trouble.expect("409")
    stays, goes = made(monitor), made(monitor)
    page = compared(opened, stays, goes)
    row(page, goes)
    url = f"{monitor.url}/v1/runs/{goes}"
    httpx.delete(url, params={"actor": "ana", "reason": "no use"}, trust_env=False)
    expect(page.get_by_role("table")).to_contain_text("no use")
    expect(figure(page, "Reward")).not_to_contain_text(goes)
    row(page, stays)


def test_a_run_that_never_was_takes_no_other_along(opened, monitor, trouble):
    trouble.expect("404")
    run_id = made(monitor)
    page = compared(opened, "nobody", run_id)
    row(page, run_id)
    expect(page.get_by_role("table")).to_contain_text("no run 'nobody'")


def test_steps_that_come_are_in_the_comparison(opened, monitor):
    run_id = new_run_id()
    make(monitor.url, run_id, 3)
    page = compared(opened, run_id)
    assert row(page, run_id)[2] == "3"
    report(monitor.url, run_id, [body(4)])
    expect(plot(page, "Reward")).to_have_attribute("aria-valuemax", "4")
    assert row(page, run_id)[2] == "4"


def test_a_part_of_the_steps_is_compared_as_the_address_says(opened, monitor):
    run_id = made(monitor, 40)
    page = opened(f"/#/compare?run={run_id}&from=11&to=20")
    expect(plot(page, "Reward")).to_have_attribute("aria-valuemin", "11")
    assert row(page, run_id)[5] == "0"  # Of steps 11 to 20 the newest tenth is step 20.
    page.get_by_role("button", name="All steps").click()
    expect(plot(page, "Reward")).to_have_attribute("aria-valuemax", "40")
    assert row(page, run_id)[5] == "1"


def test_it_says_that_single_runs_prove_nothing(opened):
    expect(opened("/#/compare").get_by_role("main")).to_contain_text("proves nothing")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(opened, monitor, scheme):
    page = compared(opened, made(monitor), made(monitor), viewport=PHONE, color_scheme=scheme)
    figure(page, "Reward")
    assert fits(page)
    audit(page)
