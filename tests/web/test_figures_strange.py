"""Runs that are not like others: hardly begun, without rewards, rewritten, gone, or badly named."""

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.servers import acr_serve
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id
from tests.web.browser import audit, fits
from tests.web.figures import colours, columns, figure, height, plot, says, token
from tests.web.runs import create, make, order, report

pytestmark = pytest.mark.e2e

NASTY = "<img src=x onerror=alert(1)> & 🙂"


def shown(page: Page) -> dict[str, str]:
    """What the chart of the outcomes says, once the newest step is there."""
    figure(page)
    return says(page)


def test_one_step_is_as_wide_as_the_chart(opened, monitor):
    run_id = new_run_id()
    make(monitor.url, run_id, 1)
    page = opened(f"/#/runs/{run_id}")
    assert shown(page)["At"] == "step 1"
    assert says(page)["mixed"] == "50 %"  # Two groups of four.
    assert any(
        all(abs(a - b) <= 3 for a, b in zip(one, token(page, "mixed"), strict=True))
        for one in colours(page)
    )
    expect(page.get_by_role("main")).to_contain_text("1 step, 1 to 1")
    audit(page)


def test_rewards_that_are_all_missing_are_no_zeros(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    nothing = [[None] * 4] * 3
    report(monitor.url, run_id, [{"step": step, "rewards": nothing} for step in (1, 2, 3)])
    page = opened(f"/#/runs/{run_id}")
    said = shown(page)
    assert said["unscored"] == "100 %"
    assert "ACR of the step" not in said  # There is none.
    expect(page.get_by_text("Reward: no completion was scored.")).to_be_visible()
    audit(page)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"beta": 0.0}, "beta is 0, so there is no reference model."),
        ({"beta": 0.1}, "not reported."),
        ({}, "not reported."),
    ],
)
def test_a_figure_that_nobody_reports_is_a_line_that_says_so(opened, monitor, config, why):
    run_id = new_run_id()
    make(monitor.url, run_id, 3, config=config)
    page = opened(f"/#/runs/{run_id}")
    figure(page, "Reward")
    expect(page.get_by_text("KL to the reference:")).to_have_text(f"KL to the reference: {why}")
    expect(page.get_by_role("figure", name="KL")).to_have_count(0)
    expect(page.get_by_text("Entropy: not reported.")).to_be_visible()


def test_a_single_value_among_missing_ones_is_drawn(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    report(
        monitor.url,
        run_id,
        [body(step, scalars={"entropy": 1.0} if step == 2 else {}) for step in (1, 2, 3)],
    )
    page = opened(f"/#/runs/{run_id}")
    assert says(page, "Entropy")["entropy"] == "–"
    plot(page, "Entropy").press("ArrowLeft")
    assert says(page, "Entropy")["entropy"] == "1"
    assert token(page, "raw") in colours(page, "Entropy")


def test_a_spike_leaves_the_rest_to_be_seen(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    norms = {20: 500.0, 30: 0.0}
    report(
        monitor.url,
        run_id,
        [body(step, scalars={"grad_norm": norms.get(step, 0.5)}) for step in range(1, 41)],
    )
    page = opened(f"/#/runs/{run_id}")
    expect(plot(page, "Gradient norm")).to_have_accessible_description(
        re.compile("gradient norm 0.5 at step 40, between 0 and 500 over")
    )
    # On an even axis 0 and 0.5 would be a thousandth of the height apart, which is 120 pixels.
    assert height(page, "Gradient norm", 0.6) > 10
    audit(page)


def test_what_people_wrote_stays_text(opened, monitor):
    run_id = new_run_id()
    make(monitor.url, run_id, 3, tags={"<b>tag</b>": NASTY}, config={"<i>name</i>": NASTY})
    notes = {"notes": f"{NASTY}\n" + "long " * 1000}
    httpx.patch(f"{monitor.url}/v1/runs/{run_id}", json=notes, trust_env=False).raise_for_status()
    order(monitor.url, run_id, "settings", method="PATCH", threshold=0.3, reason=NASTY)
    page = opened(f"/#/runs/{run_id}", viewport={"width": 390, "height": 844})
    figure(page)
    assert page.locator("main img, main b:has-text('tag'), main i").count() == 0
    expect(page.get_by_text(f"<b>tag</b>: {NASTY}")).to_be_visible()
    plot(page).press("End")
    expect(figure(page)).to_contain_text(NASTY)
    assert fits(page)
    audit(page)


def test_a_long_name_does_not_widen_the_page(opened, monitor):
    run_id = "a" * 128
    make(monitor.url, run_id, 2)
    page = opened(f"/#/runs/{run_id}", viewport={"width": 390, "height": 844})
    figure(page)
    assert fits(page)


def test_a_run_that_is_not_there_says_so(opened, trouble):
    trouble.expect("404")
    page = opened("/#/runs/nobody")
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    expect(page.get_by_role("heading", level=1)).to_have_text("nobody")
    audit(page)


def test_a_run_that_is_deleted_while_it_is_looked_at_says_by_whom_and_why(opened, monitor, trouble):
    trouble.expect("409")
    run_id = new_run_id()
    make(monitor.url, run_id, 3)
    page = opened(f"/#/runs/{run_id}")
    figure(page)
    url = f"{monitor.url}/v1/runs/{run_id}"
    httpx.delete(url, params={"actor": "ana", "reason": NASTY}, trust_env=False).raise_for_status()
    expect(page.get_by_role("alert")).to_contain_text("ana")
    expect(page.get_by_role("alert")).to_contain_text(NASTY)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("ana")


def test_a_resumption_replaces_what_came_after(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    report(monitor.url, run_id, [step_of(step, WRONG) for step in range(1, 11)])
    page = opened(f"/#/runs/{run_id}")
    expect(plot(page)).to_have_attribute("aria-valuemax", "10")
    create(monitor.url, run_id, resume_from_step=4)
    expect(plot(page)).to_have_attribute("aria-valuemax", "4")
    report(monitor.url, run_id, [step_of(step, CORRECT, attempt=2) for step in (5, 6)])
    expect(plot(page)).to_have_attribute("aria-valuemax", "6")
    assert says(page)["all correct"] == "100 %"
    expect(figure(page)).to_contain_text("new attempt")
    expect(page.get_by_role("main")).to_contain_text("attempt 2")
    plot(page).press("Home")
    assert says(page)["all wrong"] == "100 %"
    found = columns(monitor.url, run_id, "all_correct")["all_correct"]
    assert found == [0, 0, 0, 0, 1, 1]


def step_of(step: int, group: list[float], **fields: Any) -> dict[str, Any]:
    return {"step": step, "rewards": [group], **fields}


def test_what_came_while_the_monitor_was_away_is_drawn_after(opened, trouble, tmp_path):
    trouble.expect("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "Failed to load", "request:")
    with acr_serve(tmp_path) as monitor:
        run_id = new_run_id()
        make(monitor.url, run_id, 3)
        page = opened(f"{monitor.url}/#/runs/{run_id}")
        expect(plot(page)).to_have_attribute("aria-valuemax", "3")
        monitor.restart()
        report(monitor.url, run_id, map(body, (4, 5)))
        expect(plot(page)).to_have_attribute("aria-valuemax", "5")
        expect(page.get_by_role("main")).to_contain_text("step 5")
        plot(page).press("ArrowLeft")
        assert says(page)["At"] == "step 4"


def test_verdicts_say_why_and_what_to_do_and_go_when_they_are_over(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    # No signal is 64 groups in a row without a gradient: 8 steps, and 10 more to be sure.
    report(monitor.url, run_id, [judged(step, WRONG, 0.0) for step in range(1, 31)])
    page = opened(f"/#/runs/{run_id}")
    verdict = page.get_by_role("article").filter(has_text="no signal")
    expect(verdict).to_contain_text("critical")
    expect(verdict).to_contain_text("since step")
    expect(verdict).to_contain_text("What to do.")
    told = httpx.get(f"{monitor.url}/v1/runs/{run_id}", trust_env=False).json()
    expect(page.get_by_role("main")).to_contain_text(told["headline"])
    assert told["verdicts"][0]["cause"] in verdict.inner_text()
    audit(page)
    report(monitor.url, run_id, [judged(step, MIXED, 1.0) for step in range(31, 51)])
    expect(verdict).to_have_count(0)
    page.get_by_text("Earlier alarms").click()
    expect(
        page.get_by_role("listitem").filter(has_text="no signal, critical, steps")
    ).to_be_visible()
    audit(page)


def test_the_worst_verdict_is_told_in_full_and_others_when_they_are_opened(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    report(monitor.url, run_id, [judged(step, WRONG, 0.0) for step in range(1, 111)])
    page = opened(f"/#/runs/{run_id}")
    run = httpx.get(f"{monitor.url}/v1/runs/{run_id}", trust_env=False).json()
    told = run["verdicts"]
    first, second = page.get_by_role("article").nth(0), page.get_by_role("article").nth(1)
    expect(first).to_contain_text(told[0]["advice"])
    expect(second.get_by_text(told[1]["advice"])).to_be_hidden()
    # What is done about it, and the levers, are on the first screen.
    expect(page.get_by_text(run["controller"])).to_be_in_viewport()
    expect(page.get_by_role("button", name="Kill")).to_be_in_viewport()
    second.get_by_text("since step").click()
    expect(second.get_by_text(told[1]["advice"])).to_be_visible()
    audit(page)


def judged(step: int, group: list[float], grad_norm: float) -> dict[str, Any]:
    return {"step": step, "rewards": [group] * 8, "scalars": {"grad_norm": grad_norm}}


def test_the_forecast_comes_after_a_hundred_steps_and_the_result_when_it_is_known(opened, monitor):
    run_id = new_run_id()
    make(monitor.url, run_id, 99)
    page = opened(f"/#/runs/{run_id}")
    expect(page.get_by_role("main")).to_contain_text("Forecast after 100 steps.")
    report(monitor.url, run_id, [body(100)])
    # ACR is 0.5 at every step: 0.514 - 0.296 x 0.5 = 0.366.
    expect(page.get_by_role("main")).to_contain_text("Forecast 37 %")
    order(monitor.url, run_id, "result", accuracy=0.412, benchmark=NASTY[:20])
    expect(page.get_by_role("main")).to_contain_text(f"Result 41 % on {NASTY[:20]}")
