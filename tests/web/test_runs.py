"""The list of runs: what it shows, how it is searched, and that it moves."""

import re
import time
from collections.abc import Iterator

import msgspec
import pytest
import redis
from playwright.sync_api import Locator, Page, expect

from monitor_service.store.keys import RunKeys
from tests.servers import AcrServe, acr_serve, short_folder
from tests.service.acr import stuck
from tests.service.reports import CORRECT, MIXED, WRONG, body, new_run_id
from tests.web.browser import GONE, PHONE, audit, fits
from tests.web.runs import create, delete, make, order, report


@pytest.fixture
def empty() -> Iterator[AcrServe]:
    """A monitor that has no runs."""
    with short_folder() as folder, acr_serve(folder) as server:
        yield server


def row(page: Page, run_id: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=run_id, exact=True))


def expect_rows(page: Page, *run_ids: str) -> None:
    """Exactly these, from the top."""
    expect(page.locator("tbody").get_by_role("link")).to_have_text(run_ids)


def search(page: Page, text: str) -> None:
    page.get_by_label("Search by id").fill(text)


# What a row shows


def test_a_run_is_shown_with_what_tells_whether_it_learns(page, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id, tags={"model": "qwen3"})
    report(monitor.url, run_id, stuck(70))
    shown = row(page, run_id)
    expect(shown).to_contain_text("training")
    # 12 of 16 groups all-wrong for more than 50 steps, and a reward that stays.
    expect(shown).to_contain_text("warning: stall")
    expect(shown).to_contain_text("Stalled since step 5: most groups")
    cells = shown.get_by_role("cell")
    expect(cells.nth(4)).to_have_text("70")
    expect(cells.nth(5)).to_contain_text("0.75")
    # (4 mixed groups * 0.5) / 16 groups
    expect(cells.nth(6)).to_have_text("0.125")
    expect(cells.nth(7)).to_have_text(re.compile(r"^\d+ s ago$"))
    expect(shown.get_by_role("img")).to_have_attribute(
        "aria-label", "Smoothed ACR over the last 60 steps: 0.75 to 0.75"
    )


def test_an_age_grows_by_itself(page, monitor):
    run_id = new_run_id()
    make(monitor.url, run_id)
    age = row(page, run_id).get_by_role("cell").nth(7)
    expect(age).to_have_text("2 s ago")
    expect(age).to_have_text("3 s ago")


def test_ages_are_right_where_the_clock_of_the_reader_is_wrong(opened, monitor):
    run_id = new_run_id()
    make(monitor.url, run_id)
    page = opened("about:blank")
    page.clock.install(time=time.time() - 3600)
    page.goto("/")
    expect(row(page, run_id).get_by_role("cell").nth(7)).to_have_text(re.compile(r"^\d+ s ago$"))


def test_a_run_without_a_report_has_no_figures_and_not_zeros(page, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    shown = row(page, run_id)
    expect(shown).to_contain_text("waiting")
    assert [shown.get_by_role("cell").nth(n).inner_text() for n in (5, 6, 7)] == ["–"] * 3
    expect(shown.get_by_role("img")).to_have_count(0)


def test_a_run_whose_rewards_are_all_missing_has_no_rate(page, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    report(monitor.url, run_id, [body(step) | {"rewards": [[None] * 4] * 4} for step in (1, 2)])
    shown = row(page, run_id)
    expect(shown.get_by_role("cell").nth(4)).to_have_text("2")
    assert [shown.get_by_role("cell").nth(n).inner_text() for n in (5, 6)] == ["–"] * 2


def test_how_a_run_stands_is_a_word(page, monitor):
    killed, ended = new_run_id(), new_run_id()
    make(monitor.url, killed)
    order(monitor.url, killed, "kill", reason="why", actor="ana")
    make(monitor.url, ended)
    order(monitor.url, ended, "end", attempt=1, how="finished")
    expect(row(page, killed).get_by_role("cell").nth(2)).to_have_text("trainingkilled")
    expect(row(page, ended).get_by_role("cell").nth(2)).to_have_text("finished")


def test_a_run_whose_reports_have_stopped_is_silent(opened, monitor):
    run_id = new_run_id()
    make(monitor.url, run_id)
    with redis.Redis.from_url(monitor.redis_url) as client:
        last = msgspec.json.decode(client.hget(RunKeys(run_id).run, "last"))
        last["at_s"] -= 1200
        client.hset(RunKeys(run_id).run, "last", msgspec.json.encode(last))
    page = opened()
    cells = row(page, run_id).get_by_role("cell")
    expect(cells.nth(2)).to_have_text("silent")
    expect(cells.nth(3)).to_contain_text("critical: reports stopped")
    expect(cells.nth(7)).to_have_text("20 min ago")


def test_what_people_wrote_is_text(page, monitor):
    run_id, nasty = new_run_id(), "<img src=x onerror=alert(1)> 🙂 &amp; "
    create(monitor.url, run_id, tags={f"{nasty}name": nasty * 4, "a": "b" * 256})
    order(monitor.url, run_id, "", method="PATCH", notes=nasty * 20)
    shown = row(page, run_id)
    expect(shown).to_contain_text(f"{nasty}name: {nasty}")
    expect(shown).to_contain_text(nasty * 20)
    assert shown.locator("img:not(svg)").count() == 0
    assert fits(page)
    audit(page)


# Live


def test_a_new_run_appears_at_the_top_and_a_deleted_one_goes(page, monitor, trouble):
    trouble.expect(GONE)
    older, newer = new_run_id(), new_run_id()
    create(monitor.url, older)
    expect(row(page, older)).to_be_visible()
    create(monitor.url, newer)
    expect(page.locator("tbody").get_by_role("link").first).to_have_text(newer)
    delete(monitor.url, older)
    expect(row(page, older)).to_have_count(0)
    expect(row(page, newer)).to_be_visible()


def test_a_row_moves_with_its_run(page, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id)
    cells = row(page, run_id).get_by_role("cell")
    expect(cells.nth(4)).to_have_text("0")
    # ACR: 1 of 4, then 2 of 4; reward: (3 * 0.5 + 0) / 4, then (2 * 0.5 + 0 + 1) / 4.
    report(monitor.url, run_id, [body(1) | {"rewards": [MIXED] * 3 + [WRONG]}])
    expect(cells.nth(4)).to_have_text("1")
    expect(cells.nth(5)).to_contain_text("0.25")
    expect(cells.nth(6)).to_have_text("0.375")
    report(monitor.url, run_id, [body(2) | {"rewards": [MIXED, MIXED, WRONG, CORRECT]}])
    expect(cells.nth(4)).to_have_text("2")
    expect(cells.nth(5)).to_contain_text("0.50")
    expect(cells.nth(6)).to_have_text("0.5")
    # Smoothed: (1 + 2) of (4 + 4) groups.
    expect(row(page, run_id).get_by_role("img")).to_have_attribute(
        "aria-label", "Smoothed ACR over the last 2 steps: 0.25 to 0.38"
    )
    order(monitor.url, run_id, "end", attempt=1, how="stopped")
    expect(cells.nth(2)).to_have_text("stopped")


# Search


def test_the_list_is_searched_and_the_address_keeps_it(page, monitor):
    prefix = new_run_id()
    for name in ("math", "code"):
        create(monitor.url, f"{prefix}-{name}")
    expect(row(page, f"{prefix}-code")).to_be_visible()
    search(page, f"{prefix.upper()}-m")
    expect_rows(page, f"{prefix}-math")
    expect(page.get_by_role("main").get_by_role("status")).to_have_text("1 run")
    page.reload()
    expect(page.get_by_label("Search by id")).to_have_value(f"{prefix.upper()}-m")
    expect_rows(page, f"{prefix}-math")
    # A run that begins to be one of those appears, another does not.
    create(monitor.url, f"{prefix}-other")
    create(monitor.url, f"{prefix}-math-2")
    expect_rows(page, f"{prefix}-math-2", f"{prefix}-math")


def test_the_list_is_limited_to_a_state_which_runs_enter_and_leave(page, monitor, trouble):
    trouble.expect(GONE)
    prefix = new_run_id()
    for name in ("1", "2"):
        make(monitor.url, f"{prefix}-{name}")
    search(page, prefix)
    page.get_by_label("State").select_option("training")
    expect_rows(page, f"{prefix}-2", f"{prefix}-1")
    order(monitor.url, f"{prefix}-1", "end", attempt=1)
    expect_rows(page, f"{prefix}-2")
    page.get_by_label("State").select_option("ended")
    expect_rows(page, f"{prefix}-1")
    order(monitor.url, f"{prefix}-2", "end", attempt=1)
    expect_rows(page, f"{prefix}-2", f"{prefix}-1")
    delete(monitor.url, f"{prefix}-2")
    expect_rows(page, f"{prefix}-1")
    page.get_by_label("State").select_option("deleted")
    expect_rows(page, f"{prefix}-2")
    expect(row(page, f"{prefix}-2").get_by_role("cell").nth(2)).to_have_text("deleted")
    audit(page)


def test_the_list_is_limited_to_tags(page, monitor):
    prefix = new_run_id()
    for seed in ("1", "2"):
        create(monitor.url, f"{prefix}-{seed}", tags={"seed": seed, "data": "a: b"})
    search(page, prefix)
    row(page, f"{prefix}-1").get_by_role("button", name="seed: 1").click()
    expect_rows(page, f"{prefix}-1")
    page.get_by_role("button", name="No longer only with seed:1").click()
    expect_rows(page, f"{prefix}-2", f"{prefix}-1")
    field = page.get_by_label("Tag, as name:value")
    field.fill("seed")
    field.press("Enter")
    assert field.evaluate("field => field.validationMessage") == "A tag is written NAME:VALUE"
    field.fill("seed: 2")
    field.press("Enter")
    field.fill("data:a: b")
    field.press("Enter")
    expect_rows(page, f"{prefix}-2")
    assert page.url.endswith(f"#/?q={prefix}&tag=seed%3A2&tag=data%3Aa%3A+b")


def test_nothing_found_says_so(page, monitor):
    create(monitor.url, new_run_id())
    search(page, "no-such-run")
    expect(page.get_by_role("main")).to_contain_text("No such runs.")
    audit(page)
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_role("table")).to_be_visible()


def test_an_address_with_a_state_that_is_none_says_so(opened, monitor, trouble):
    trouble.expect("status of 422")
    create(monitor.url, new_run_id())
    page = opened("/#/?state=happy")
    expect(page.get_by_role("alert")).to_contain_text("must be one of waiting, training")
    page.get_by_label("State").select_option("waiting")
    expect(page.get_by_role("table")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_the_most_severe_come_first_when_that_is_asked_for(page, monitor):
    prefix = new_run_id()
    for name, rewards in (("stuck", [WRONG] * 4), ("fine", [MIXED] * 4), ("late", [MIXED] * 4)):
        create(monitor.url, f"{prefix}-{name}")
        report(
            monitor.url, f"{prefix}-{name}", [body(n) | {"rewards": rewards} for n in range(1, 71)]
        )
    report(monitor.url, f"{prefix}-stuck", [body(71) | {"rewards": [WRONG] * 4}])
    search(page, prefix)
    expect_rows(page, f"{prefix}-late", f"{prefix}-fine", f"{prefix}-stuck")
    page.get_by_label("Order").select_option("severity")
    expect_rows(page, f"{prefix}-stuck", f"{prefix}-late", f"{prefix}-fine")
    page.get_by_label("Order").select_option("reported")
    expect_rows(page, f"{prefix}-stuck", f"{prefix}-late", f"{prefix}-fine")


# Compare


def test_up_to_eight_runs_are_chosen_to_be_compared(page, monitor):
    prefix = new_run_id()
    names = [f"{prefix}-{number}" for number in range(9)]
    for name in names:
        create(monitor.url, name)
    search(page, prefix)
    for name in names[:8]:
        page.get_by_label(f"Compare {name}").check()
    chosen = page.get_by_role("region", name="Chosen runs")
    expect(chosen).to_contain_text("8 runs chosen, as many as compare shows")
    expect(page.get_by_label(f"Compare {names[8]}")).to_be_disabled()
    audit(page)
    page.get_by_label(f"Compare {names[0]}").uncheck()
    expect(page.get_by_label(f"Compare {names[8]}")).to_be_enabled()
    link = chosen.get_by_role("link", name="Compare")
    expect(link).to_have_attribute(
        "href", "#/compare?" + "&".join(f"run={name}" for name in names[1:8])
    )
    link.click()
    expect(page).to_have_url(
        f"{monitor.url}/#/compare?run={names[1]}&" + "&".join(f"run={name}" for name in names[2:8])
    )
    page.go_back()
    # The choice is still there.
    expect(page.get_by_label(f"Compare {names[1]}")).to_be_checked()
    page.get_by_role("button", name="Choose none").click()
    expect(chosen).to_have_count(0)


# Many, and none


def test_a_monitor_without_runs_says_how_to_begin_and_shows_the_first(opened, empty):
    page = opened(base_url=empty.url)
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(f'monitor_url="{empty.url}"')
    assert fits(page)
    audit(page)
    run_id = new_run_id()
    make(empty.url, run_id)
    expect(row(page, run_id)).to_be_visible()
    expect(page.get_by_role("heading", name="No runs yet")).to_have_count(0)
    page.goto("about:blank")


def test_a_thousand_runs_are_loaded_by_the_hundred_and_only_those_in_sight_are_followed(
    opened, empty
):
    names = [f"run-{number:04}" for number in range(1000)]
    for name in names:
        create(empty.url, name)
    page = opened("about:blank", base_url=empty.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(empty.url)
    rows = page.locator("tbody").get_by_role("link")
    expect(rows).to_have_count(100)
    expect(rows.first).to_have_text("run-0999")
    expect(page.get_by_role("main").get_by_role("status")).to_have_text(
        "the newest 100 of 1,000 runs"
    )
    more = page.get_by_role("button", name="Load more of 1,000")
    for loaded in range(200, 1001, 100):
        more.click()
        expect(rows).to_have_count(loaded)
    assert rows.all_inner_texts() == names[::-1]
    expect(more).to_have_count(0)
    # Below what is in sight a run is not asked for, until it comes into sight.
    assert not [url for url in asked if "/runs/run-0550" in url]
    with page.expect_request("**/v1/runs/run-0550/steps*"):
        row(page, "run-0550").scroll_into_view_if_needed()
    report(empty.url, "run-0550", [body(1)])
    expect(row(page, "run-0550").get_by_role("cell").nth(4)).to_have_text("1")
    # Who comes back finds the list where they left it.
    before = page.evaluate("scrollY")
    assert before > 5000
    row(page, "run-0550").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("run-0550")
    page.go_back()
    expect(rows).to_have_count(1000)
    assert page.evaluate("scrollY") == before
    page.goto("about:blank")


# For everybody


def test_the_list_is_used_by_the_keyboard_alone(page, monitor):
    run_id = new_run_id()
    create(monitor.url, run_id, tags={"seed": "1"})
    expect(row(page, run_id)).to_be_visible()
    search(page, run_id)
    expect_rows(page, run_id)
    page.get_by_label("Search by id").focus()
    order_of_tab = ["State", "Tag, as name:value", "Order", f"Compare {run_id}"]
    for label in order_of_tab:
        page.keyboard.press("Tab")
        expect(page.get_by_label(label)).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_label(f"Compare {run_id}")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(run_id)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
def test_the_list_is_open_to_everybody(opened, monitor, scheme, size):
    prefix = new_run_id()
    make(monitor.url, f"{prefix}-{'long-' * 20}", tags={"model": "qwen3"})
    create(monitor.url, f"{prefix}-stuck")
    report(monitor.url, f"{prefix}-stuck", stuck(70))
    order(monitor.url, f"{prefix}-stuck", "kill", reason="why")
    create(monitor.url, f"{prefix}-waiting")
    page = opened(f"/#/?q={prefix}", color_scheme=scheme, **({"viewport": size} if size else {}))
    page.get_by_label(f"Compare {prefix}-stuck").check()
    expect(page.get_by_role("img").first).to_be_visible()
    assert fits(page)
    audit(page)
    # Also as cards it is a table.
    expect(page.get_by_role("row")).to_have_count(4)
    expect(row(page, f"{prefix}-stuck").get_by_role("cell")).to_have_count(8)
