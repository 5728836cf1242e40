"""The charts of a run: their values, the cursor, the live end, the zoom, marks and themes."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from monitor_service.engine.health.rules import RULE
from tests.servers import AcrServe
from tests.service.reports import CORRECT, MIXED, WRONG, new_run_id
from tests.web.browser import DESKTOP, PHONE, Opened, audit, fits
from tests.web.figures import colours, columns, figure, place, plot, rate, says, token
from tests.web.runs import create, order, report

pytestmark = pytest.mark.e2e

STEPS = 60


def reported(step: int) -> dict[str, Any]:
    """Of four groups all are wrong at first; every 20 steps another one is mixed, then right."""
    parts = [CORRECT, MIXED, WRONG][: 1 + step % 3]
    groups = [*parts, *[WRONG] * (4 - len(parts))]
    return {
        "step": step,
        "rewards": groups,
        "components": {
            "accuracy": {"mean": step / 100, "std": 0.1},
            "format": {"mean": 1.0, "std": 0.0},
        },
        "scalars": {
            "entropy": 2 - step / 100,
            "kl": step / 1000,
            "grad_norm": 0.5,
            "completion_length_mean": 100 + step,
            "completion_length_max": 400,
            "truncated_fraction": 0.25,
        },
        "applied": {
            "settings_version": step,
            "through_step": step - 1,
            "mode": "active",
            "threshold": 0.5,
            "triggered": step > 40,
            "injected_wrong": int(step > 40),
            "effective_acr": 0.25,
        },
    }


@pytest.fixture(scope="module")
def run_id(monitor: AcrServe) -> str:
    """A run that nothing happens to any more."""
    made = new_run_id()
    create(monitor.url, made)
    report(monitor.url, made, map(reported, range(1, STEPS + 1)))
    order(monitor.url, made, "settings", method="PATCH", threshold=0.4, reason="<b>bold</b> 🙂")
    return made


@pytest.fixture
def run(opened: Opened, run_id: str) -> Page:
    """Its page, with every chart there."""
    page = opened(f"/#/runs/{run_id}")
    figure(page, "Truncated completions")
    return page


def test_the_charts_say_what_the_api_says(run, monitor, run_id):
    plot(run).press("Home")
    for _ in range(9):
        plot(run).press("ArrowRight")
    found = columns(
        monitor.url, run_id, "acr", "acr_smoothed", "reward_mean", **{"from": 10, "to": 10}
    )
    said = says(run)
    assert said["At"] == "step 10"
    assert said["ACR of the step"] == rate(found["acr"][0])
    assert said["ACR, pooled"] == rate(found["acr_smoothed"][0])
    # Step 10 has a right group, a mixed one and two that are wrong.
    assert [said[name] for name in ("all wrong", "all correct", "mixed")] == [
        "50 %",
        "25 %",
        "25 %",
    ]
    assert said["injected groups"] == "0"
    assert says(run, "Reward")["mean reward"] == "0.375"  # (4 x 1 + 2 x 1) / 16 completions
    assert says(run, "Reward")["accuracy"] == "0.1"
    assert says(run, "Entropy")["entropy"] == "1.9"
    assert says(run, "KL to the reference")["KL"] == "0.01"
    assert says(run, "Completion length") == {"At": "step 10", "mean": "110", "longest": "400"}
    assert says(run, "Truncated completions")["cut at the limit"] == "25 %"


def test_one_cursor_is_on_all_charts(run):
    run.mouse.move(*place(run, 0.5))
    at = says(run)["At"]
    assert at in ("step 30", "step 31")
    assert says(run, "Entropy")["At"] == at
    run.mouse.move(0, 0)
    expect(figure(run, "Entropy").locator(".at")).to_contain_text(f"step {STEPS}")


def test_keys_move_the_cursor_and_are_read_out(run):
    slider = plot(run, "Entropy")
    slider.focus()
    expect(slider).to_have_attribute("aria-valuetext", f"step {STEPS}, the newest")
    slider.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "step 59: entropy 1.41")
    expect(slider).to_have_attribute("aria-valuenow", "59")
    slider.press("PageDown")  # A tenth of 59 places: 6.
    expect(slider).to_have_attribute("aria-valuenow", "53")
    slider.press("Escape")
    expect(slider).to_have_attribute("aria-valuetext", f"step {STEPS}, the newest")


def test_the_summary_tells_the_newest_value_and_its_bounds(run):
    # Entropy is 2 - step / 100.
    expect(plot(run, "Entropy")).to_have_accessible_description(
        "entropy 1.4 at step 60, between 1.4 and 1.99 over steps 1 to 60. "
        "Arrow keys move over the steps."
    )


def test_entropy_stands_beside_its_own_baseline(run):
    share = RULE["entropy_collapse"].raise_at
    said = says(run, "Entropy")
    baseline = float(said["own baseline"])
    assert 1.74 <= baseline <= 1.96  # Of steps 5 to 25: 2 - 0.25 to 2 - 0.05.
    assert float(said[f"collapsed below ({share} × baseline)"]) == pytest.approx(
        share * baseline, abs=0.005
    )


def test_the_table_has_the_newest_values(run):
    chart = figure(run, "Entropy")
    chart.get_by_text("Table").click()
    rows = chart.get_by_role("row")
    expect(rows).to_have_count(51)  # The head, and 50 of 60 steps.
    expect(rows.nth(1)).to_have_text("601.4")
    expect(rows.nth(50)).to_have_text("111.89")


def test_a_step_leads_to_its_groups(run, run_id):
    run.mouse.click(*place(run, 19.5 / STEPS))
    expect(run).to_have_url(re.compile(rf"#/runs/{run_id}/steps/20$"))


def test_enter_leads_to_the_groups_of_the_step_at_the_cursor(run, run_id):
    plot(run).press("ArrowLeft")
    plot(run).press("Enter")
    expect(run).to_have_url(re.compile(rf"#/runs/{run_id}/steps/59$"))


def test_dragging_looks_closer_in_all_charts_and_in_the_address(run, run_id):
    run.mouse.move(*place(run, 9.2 / STEPS, "Entropy"))
    run.mouse.down()
    run.mouse.move(*place(run, 19.8 / STEPS, "Entropy"), steps=5)
    run.mouse.up()
    expect(run).to_have_url(re.compile(rf"#/runs/{run_id}\?from=10&to=20$"))
    expect(figure(run).locator(".at")).to_contain_text("step 20")
    expect(plot(run, "KL to the reference")).to_have_attribute("aria-valuemin", "10")
    run.reload()
    expect(plot(run)).to_have_attribute("aria-valuemin", "10")
    expect(run.get_by_label("From")).to_have_value("10")
    run.mouse.dblclick(*place(run, 0.5))
    expect(run).to_have_url(re.compile(rf"#/runs/{run_id}$"))
    expect(plot(run)).to_have_attribute("aria-valuemin", "1")


def test_steps_can_be_typed_and_left_with_escape(run, run_id):
    run.get_by_label("From").fill("30")
    run.get_by_label("to", exact=True).fill("25")
    run.get_by_role("button", name="Show").click()
    expect(run).to_have_url(re.compile(r"\?from=25&to=30$"))
    expect(plot(run)).to_have_attribute("aria-valuemax", "30")
    plot(run).press("Escape")
    expect(plot(run)).to_have_attribute("aria-valuemax", str(STEPS))
    expect(run.get_by_role("button", name="All steps")).to_be_disabled()


@pytest.mark.parametrize("query", ["from=0&to=x", "from=", "to=-3", "from=1e3"])
def test_an_address_that_names_no_steps_shows_all(opened, run_id, query):
    page = opened(f"/#/runs/{run_id}?{query}")
    expect(plot(page)).to_have_attribute("aria-valuemax", str(STEPS))
    expect(plot(page)).to_have_attribute("aria-valuemin", "1")


def test_what_people_changed_is_marked_and_told_as_text(run):
    expect(figure(run)).to_contain_text("◆ settings changed")
    plot(run).press("End")
    expect(figure(run)).to_contain_text("<b>bold</b> 🙂")


def test_more_points_than_the_eye_sorts_are_drawn_with_their_mean(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    report(monitor.url, run_id, map(reported, range(1, 161)))
    page = opened(f"/#/runs/{run_id}")
    plot(page).press("End")
    # A fortieth of 160 points is 4: of entropy 2 - step / 100 the mean of steps 157 to 160.
    said = says(page, "Entropy")
    assert (said["entropy"], said["mean of 4 steps"]) == ("0.4", "0.415")
    assert says(page, "Reward")["accuracy"] == "1.59"  # Of step / 100: 1.585.
    expect(figure(page, "Reward")).to_contain_text("of each function; that as mean of 4 steps")
    # 64 groups are 16 steps of 4, but a fortieth of the points are 4, with 2, 2, 3, 2 all wrong.
    expect(figure(page)).to_contain_text("share of groups, mean of 4 steps")
    said = says(page)
    assert said["all wrong"] == "56 %"  # 9 / 16
    assert said["ACR of the step"] == "0.75"
    audit(page)


def test_outcomes_are_drawn_in_their_colours_of_either_theme(run):
    for theme in ("light", "dark"):
        run.get_by_label("Theme").select_option(theme)
        seen = colours(run)
        for name in ("wrong", "correct", "mixed", "threshold"):
            wanted = token(run, name)
            # Blending rounds.
            assert any(
                all(abs(a - b) <= 3 for a, b in zip(one, wanted, strict=True)) for one in seen
            )


def test_a_step_is_drawn_while_it_is_reported(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    report(monitor.url, run_id, map(reported, range(1, 4)))
    page = opened(f"/#/runs/{run_id}")
    expect(plot(page)).to_have_attribute("aria-valuemax", "3")
    page.evaluate("window.isTheSame = true")
    report(monitor.url, run_id, map(reported, range(4, 6)))
    expect(plot(page)).to_have_attribute("aria-valuemax", "5")
    assert says(page)["At"] == "step 5"
    assert says(page, "Reward")["accuracy"] == "0.05"
    expect(page.get_by_role("main")).to_contain_text("step 5")
    assert page.evaluate("window.isTheSame")


def test_the_cursor_stays_where_it_is_while_steps_come(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    report(monitor.url, run_id, map(reported, range(1, 11)))
    page = opened(f"/#/runs/{run_id}")
    plot(page, "Entropy").press("Home")
    plot(page, "Entropy").press("ArrowRight")
    report(monitor.url, run_id, map(reported, range(11, 31)))
    expect(plot(page)).to_have_attribute("aria-valuemax", "30")
    assert says(page)["At"] == "step 2"
    assert says(page, "Entropy")["At"] == "step 2"
    # By hand it stays where the hand is: in the middle.
    page.mouse.move(*place(page, 0.5))
    assert says(page, "Entropy")["At"] in ("step 15", "step 16")
    report(monitor.url, run_id, map(reported, range(31, 51)))
    expect(figure(page, "Entropy").locator(".at")).to_contain_text(re.compile("step 2[56]"))


def test_the_first_step_of_a_run_is_drawn_where_there_was_nothing(opened, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    page = opened(f"/#/runs/{run_id}")
    expect(page.get_by_role("main")).to_contain_text("Nothing was reported yet.")
    audit(page)
    report(monitor.url, run_id, [reported(1)])
    figure(page)
    assert says(page)["At"] == "step 1"
    assert len(colours(page)) > 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_who_does_not_see_or_has_a_phone_is_not_left_out(opened, run_id, size, scheme):
    page = opened(f"/#/runs/{run_id}", viewport=size, color_scheme=scheme)
    figure(page, "Truncated completions")
    assert fits(page)
    audit(page)


def test_a_finger_points_before_it_opens(opened, run_id):
    page = opened(f"/#/runs/{run_id}", viewport=PHONE, has_touch=True, is_mobile=True)
    page.touchscreen.tap(*place(page, 29.5 / STEPS))
    expect(figure(page).locator(".at")).to_contain_text("step 30")
    page.touchscreen.tap(*place(page, 29.5 / STEPS))
    expect(page).to_have_url(re.compile(r"/steps/30$"))


def test_a_run_is_saved_as_it_can_be_imported(run, run_id):
    with run.expect_download() as download:
        run.get_by_role("button", name="Export the run").click()
    assert download.value.suggested_filename == f"{run_id}.jsonl"
    lines = download.value.path().read_text().splitlines()
    assert sum('"kind":"step"' in line for line in lines) == STEPS
