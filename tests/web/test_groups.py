"""The groups of a step: outcomes, the map of rewards, and the ways between steps."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.servers import AcrServe, acr_serve, short_folder
from tests.service.orders import applied
from tests.service.reports import CORRECT, MIXED, WRONG, new_run_id
from tests.web.browser import PHONE, Opened, Trouble, audit, fits
from tests.web.runs import create, report

pytestmark = pytest.mark.e2e

PARTIAL = [0.25, 0.25, 0.25, 0.25]
UNSCORED = [None, None, None, None]


@pytest.fixture
def run_id(monitor: AcrServe) -> str:
    """A run with one step of five groups, one of each outcome."""
    return made(monitor, [MIXED, CORRECT, UNSCORED, WRONG, PARTIAL])


def made(monitor: AcrServe, rewards: Sequence[Any], num_steps: int = 1, **fields: Any) -> str:
    """A run with so many steps of these rewards; `fields` are further ones of the reports."""
    name = new_run_id()
    create(monitor.url, name)
    steps = range(1, num_steps + 1)
    report(monitor.url, name, [{"step": step, "rewards": rewards, **fields} for step in steps])
    return name


def shown(opened: Opened, run_id: str, step: int = 1, **options: Any) -> Page:
    page = opened(f"/#/runs/{run_id}/steps/{step}", **options)
    groups(page).first.wait_for()
    return page


def groups(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Groups").get_by_role("option")


def numbers(page: Page) -> list[str]:
    """Of the groups, as they are ordered."""
    return groups(page).locator(".number:first-child").all_inner_texts()


def detail(page: Page) -> Locator:
    return page.locator(".detail")


def test_a_step_shows_each_group_its_outcome_and_its_rewards(opened: Opened, run_id: str) -> None:
    page = shown(opened, run_id)
    expect(page.get_by_role("heading", level=1)).to_have_text("Groups of step 1")
    # The ones that ask for attention first: all wrong, other, mixed, all correct, unscored.
    assert numbers(page) == ["4", "5", "1", "2", "3"]
    outcomes = page.locator(".counts").get_by_role("listitem")
    expect(outcomes).to_have_text(
        [
            "1 all wrong 20 %",
            "1 other 20 %",
            "1 mixed 20 %",
            "1 all correct 20 %",
            "1 unscored 20 %",
        ]
    )
    expect(groups(page).nth(2)).to_have_attribute(
        "aria-label",
        "Group 1, mixed, mean 0.5, deviation 0.5, 4 completions scored: 1, 0, 1, 0",
    )
    # Four groups are scored, three of them collapsed: 3/4.
    expect(page.locator(".totals")).to_contain_text("0.75")


def test_colours_run_from_the_wrong_to_the_right_reward(opened: Opened, run_id: str) -> None:
    page = shown(opened, run_id)

    def colour(group: int, cell: int) -> str:
        cells = groups(page).nth(group).locator(".cells i")
        return str(cells.nth(cell).evaluate("cell => getComputedStyle(cell).backgroundColor"))

    wrong, correct = colour(0, 0), colour(3, 0)
    assert wrong != correct
    assert (colour(2, 0), colour(2, 1)) == (correct, wrong)
    assert colour(1, 0) not in (wrong, correct)
    expect(groups(page).nth(4).locator("i.unscored")).to_have_count(4)


def test_groups_are_ordered_by_outcome_by_mean_or_as_reported(opened: Opened, run_id: str) -> None:
    page = shown(opened, run_id)
    order = page.get_by_label("Order by")
    order.select_option("mean reward")
    # Means 0, 0.25, 0.5, 1; the group without any comes last.
    expect(groups(page).first).to_contain_text("all wrong")
    assert numbers(page) == ["4", "5", "1", "2", "3"]
    order.select_option("as reported")
    expect(groups(page).first).to_contain_text("mixed")
    assert numbers(page) == ["1", "2", "3", "4", "5"]


def test_a_group_is_looked_at_with_pointer_keyboard_and_finger(opened: Opened, run_id: str) -> None:
    page = shown(opened, run_id)
    expect(detail(page)).to_contain_text("Group 4")
    groups(page).nth(2).hover()
    expect(detail(page)).to_contain_text("Group 1")
    expect(detail(page)).to_contain_text("mean 0.5, standard deviation 0.5; 4 completions scored")
    page.get_by_role("heading", level=1).hover()
    expect(detail(page)).to_contain_text("Group 4")
    page.get_by_role("listbox", name="Groups").focus()
    page.keyboard.press("ArrowDown")
    expect(detail(page)).to_contain_text("Group 5")
    page.keyboard.press("End")
    expect(detail(page)).to_contain_text("Group 3")
    expect(groups(page).last).to_have_attribute("aria-selected", "true")
    chosen = groups(page).last.get_attribute("id")
    active = page.get_by_role("listbox").get_attribute("aria-activedescendant")
    assert active == chosen
    groups(page).nth(3).click()
    expect(groups(page).nth(3)).to_have_attribute("aria-selected", "true")


def test_the_steps_are_turned_with_links_and_arrow_keys(opened: Opened, monitor: AcrServe) -> None:
    run_id = made(monitor, [MIXED, WRONG], num_steps=3)
    page = shown(opened, run_id, step=2)
    page.get_by_role("link", name="Next step").click()
    title = page.get_by_role("heading", level=1)
    expect(title).to_have_text("Groups of step 3")
    expect(page.get_by_role("link", name="Next step")).to_be_hidden()
    # What comes makes a way on.
    report(monitor.url, run_id, [{"step": 4, "rewards": [MIXED]}])
    page.get_by_role("link", name="Newest: step 4").wait_for()
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text("Groups of step 4")
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text("Groups of step 3")
    page.get_by_role("link", name=run_id).click()
    expect(title).to_have_text(run_id)


def test_the_order_stays_while_steps_are_turned(opened: Opened, monitor: AcrServe) -> None:
    page = shown(opened, made(monitor, [WRONG, CORRECT, WRONG], num_steps=2), step=1)
    page.get_by_label("Order by").select_option("as reported")
    page.get_by_role("link", name="Next step").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Groups of step 2")
    expect(page.get_by_label("Order by")).to_have_value("reported")
    groups(page).first.wait_for()
    assert numbers(page) == ["1", "2", "3"]


def test_the_keyboard_stays_in_the_map_while_steps_are_turned(
    opened: Opened, monitor: AcrServe
) -> None:
    run_id = made(monitor, [MIXED, WRONG, CORRECT])
    report(monitor.url, run_id, [{"step": 2, "rewards": [WRONG]}])
    page = shown(opened, run_id, step=1)
    page.get_by_role("listbox", name="Groups").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".counts")).to_contain_text("100 %")
    # There are fewer groups here: the last one is chosen.
    expect(groups(page)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("listbox", name="Groups")).to_be_focused()


def test_what_the_trainer_injected_is_told(opened: Opened, monitor: AcrServe) -> None:
    done = applied(injected_wrong=1, injected_correct=2, effective_acr=0.25)
    page = shown(opened, made(monitor, [MIXED, WRONG, CORRECT, CORRECT], applied=done))
    expect(page.locator(".totals")).to_contain_text("1 all wrong, 2 all correct")
    expect(page.locator(".totals")).to_contain_text("0.25")


def test_accuracy_alone_shows_beside_a_sum(opened: Opened, monitor: AcrServe) -> None:
    sums = [[0.1, 0.1, 1.1, 1.1]]
    page = shown(opened, made(monitor, sums, primary=[[0, 0, 1, 1]]))
    expect(detail(page)).to_contain_text("Accuracy alone")
    expect(detail(page).locator(".values").first.get_by_role("listitem")).to_have_text(
        ["0.1", "0.1", "1.1", "1.1"]
    )
    expect(detail(page).locator(".values").last.get_by_role("listitem")).to_have_text(
        ["0", "0", "1", "1"]
    )
    # 1.1 is beyond the declared range of 0 to 1.
    expect(groups(page).first.locator("i.beyond")).to_have_count(2)


@pytest.mark.parametrize(
    ("rewards", "told"),
    [
        pytest.param([[1.0, 0.0, None], [1.0]], "1 completion scored", id="ragged"),
        pytest.param([[0.0, 1.0]], "2 completions scored", id="one group"),
        pytest.param([[None, None]], "0 completions scored", id="nothing scored"),
        pytest.param([[1.0]], "1 completion scored", id="one completion"),
    ],
)
def test_strange_steps_are_shown(
    opened: Opened, monitor: AcrServe, rewards: list[Any], told: str
) -> None:
    page = shown(opened, made(monitor, rewards))
    groups(page).last.click()
    expect(detail(page)).to_contain_text(told)
    expect(groups(page)).to_have_count(len(rewards))


def test_a_reward_without_bounds_is_shown_from_its_least_to_its_greatest(
    opened: Opened, monitor: AcrServe
) -> None:
    name = new_run_id()
    free = {"reward_low": None, "reward_high": None, "mode": "off"}
    create(monitor.url, name, settings=free)
    report(monitor.url, name, [{"step": 1, "rewards": [[-3, 7], [2, 2]]}])
    page = shown(opened, name)
    expect(page.locator(".scale")).to_contain_text("-3")
    expect(page.locator(".scale")).to_contain_text("7")


def test_a_large_step_draws_only_what_is_in_sight_and_scrolls_to_its_end(
    opened: Opened, monitor: AcrServe
) -> None:
    large = [[float((group + place) % 3 == 0) for place in range(16)] for group in range(1023)]
    page = shown(opened, made(monitor, [*large, [0.0] * 16]))
    page.get_by_label("Order by").select_option("as reported")
    expect(groups(page).first).to_have_attribute("aria-setsize", "1024")
    assert groups(page).count() < 100
    page.get_by_role("listbox", name="Groups").focus()
    page.keyboard.press("End")
    last = groups(page).last
    expect(last).to_have_attribute("aria-posinset", "1024")
    expect(last).to_be_in_viewport()
    expect(detail(page)).to_contain_text("Group 1024")
    assert groups(page).count() < 100
    page.keyboard.press("Home")
    expect(detail(page).get_by_role("heading", level=3)).to_have_text("Group 1")


def test_the_same_is_there_as_a_table_some_rows_at_a_time(
    opened: Opened, monitor: AcrServe
) -> None:
    page = shown(opened, made(monitor, [MIXED] * 150))
    page.get_by_text("As a table").click()
    rows = page.get_by_role("table").get_by_role("row")
    # The titles, and 100 at a time.
    expect(rows).to_have_count(101)
    expect(rows.nth(1)).to_contain_text("mixed")
    page.get_by_role("button", name="More of 150").click()
    expect(rows).to_have_count(151)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[AcrServe]:
    """A monitor that keeps the rewards of two steps."""
    monkeypatch.setenv("ACR_KEEP_REWARDS_STEPS", "2")
    with short_folder() as folder, acr_serve(folder) as server:
        yield server


def test_a_step_that_is_not_kept_says_so_and_leads_to_the_newest(
    opened: Opened, forgetful: AcrServe, trouble: Trouble
) -> None:
    trouble.expect("status of 404")
    run_id = made(forgetful, [MIXED], num_steps=5)
    page = opened(f"/#/runs/{run_id}/steps/1", base_url=forgetful.url)
    expect(page.get_by_role("alert")).to_contain_text("kept are those of steps 4 to 5")
    page.get_by_role("link", name="Newest: step 5").click()
    expect(groups(page)).to_have_count(1)
    page.close()


@pytest.mark.parametrize(
    ("step", "told"), [("7", "kept are those of steps 1 to 1"), ("soon", "must be a whole number")]
)
def test_a_step_that_is_none_is_told(
    opened: Opened, run_id: str, trouble: Trouble, step: str, told: str
) -> None:
    trouble.expect("status of 4(04|22)")
    page = opened(f"/#/runs/{run_id}/steps/{step}")
    expect(page.get_by_role("alert")).to_contain_text(told)
    expect(page.get_by_role("heading", level=1)).to_contain_text(step)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_groups_are_accessible(opened: Opened, run_id: str, scheme: str) -> None:
    page = shown(opened, run_id, color_scheme=scheme)
    page.get_by_text("As a table").click()
    audit(page)


def test_they_fit_a_phone(opened: Opened, monitor: AcrServe) -> None:
    run_id = made(monitor, [[0.0, 1.0] * 32] * 40)
    page = shown(opened, run_id, viewport=PHONE, is_mobile=True, has_touch=True)
    assert fits(page)
    groups(page).nth(3).tap()
    expect(detail(page)).to_contain_text("Group 4")
