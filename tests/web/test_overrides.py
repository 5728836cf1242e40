"""Settings that are changed for a while: their ends, and what is left of them."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.servers import AcrServe
from tests.service.reports import new_run_id
from tests.web.browser import Opened, Trouble
from tests.web.settings_form import cell, field, review, send, shown
from tests.web.trainer import Trainer

pytestmark = pytest.mark.e2e


@pytest.fixture
def trainer(monitor: AcrServe) -> Trainer:
    """A run at step 3 whose threshold of 0.5 only people move."""
    found = Trainer(monitor.url, new_run_id(), settings={"controller": "fixed"})
    found.trains(3)
    return found


@pytest.fixture
def client(monitor: AcrServe) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=monitor.url, trust_env=False) as found:
        yield found


@pytest.fixture
def page(opened: Opened, trainer: Trainer) -> Page:
    return shown(opened, trainer)


def test_a_change_for_a_while_returns_by_itself(page: Page, trainer: Trainer) -> None:
    field(page, "threshold").fill("0.3")
    review(page).get_by_label("for a while").check()
    review(page).get_by_role("button", name="10 min").click()
    review(page).get_by_label("or steps").fill("2")
    send(page)
    override = page.locator(".overrides")
    expect(override).to_contain_text("Override 1 acts")
    expect(override).to_contain_text("2 steps or 9 min")
    expect(cell(page, "threshold", "Requested")).to_contain_text("0.3 by override 1")
    expect(field(page, "threshold")).to_have_value("0.5")
    trainer.trains()
    expect(override).to_contain_text("applied @ step 4")
    expect(override).to_contain_text("1 step or 9 min")
    trainer.trains()
    expect(override).to_be_hidden()
    expect(cell(page, "threshold", "Requested")).not_to_contain_text("by override")


def test_an_override_is_ended_before_its_time(page: Page, trainer: Trainer) -> None:
    field(page, "mode").select_option("shadow")
    review(page).get_by_label("for a while").check()
    send(page)
    page.locator(".overrides").get_by_role("button", name="End now").click()
    dialog = page.get_by_role("dialog", name="End override 1")
    dialog.get_by_role("button", name="End override 1").click()
    expect(page.locator(".overrides")).to_be_hidden()
    expect(page.get_by_label("Orders, newest first")).to_contain_text("ended override 1")
    assert trainer.settings().overrides == ()


def test_overrides_that_contradict_each_other_let_nothing_act(
    page: Page, client: httpx.Client, trainer: Trainer
) -> None:
    # Ends at 0.55, begins at 0.6: fine, until the second is over and it begins at 0.5 again.
    for settings, steps in (
        ({"exit_threshold": 0.55}, 500),
        ({"threshold": 0.6}, 1),
        ({"controller": "guarded"}, 500),
    ):
        wanted = {"settings": settings, "expires_in_steps": steps, "expires_in_s": 900}
        reply = client.post(
            f"/v1/runs/{trainer.run_id}/overrides", json={**wanted, "reason": "to see"}
        )
        assert reply.is_success, reply.text
    cards = page.locator(".overrides > li")
    expect(cards).to_have_count(3)
    trainer.trains()
    expect(cards).to_have_count(2)
    expect(cards.first).to_contain_text("contradicts the settings or another override")
    expect(cell(page, "mode", "Requested")).to_contain_text("off by overrides that contradict")


def test_ends_of_an_override_have_bounds(page: Page, trainer: Trainer, trouble: Trouble) -> None:
    trouble.expect("status of 422")
    field(page, "threshold").fill("0.3")
    review(page).get_by_label("for a while").check()
    steps, time = review(page).get_by_label("or steps"), review(page).get_by_label("Time")
    steps.fill("501")
    send(page)
    assert steps.evaluate("input => input.validity.rangeOverflow")
    steps.fill("10")
    time.fill("soon")
    send(page)
    assert time.evaluate("input => input.validity.patternMismatch")
    time.fill("25 h")
    send(page)
    # 24 h are 86,400 s; the monitor says so.
    expect(review(page)).to_contain_text("required: a number of seconds in [1, 86400]")
    expect(time).to_have_attribute("aria-invalid", "true")
    assert trainer.settings().overrides == ()


def test_a_profile_is_for_good(page: Page) -> None:
    page.get_by_label("Settings", exact=True).get_by_role("button", name="settings").click()
    field(page, "profile").select_option("observe")
    expect(review(page)).to_contain_text("sets every setting of its bundle")
    review(page).get_by_label("for a while").check()
    expect(review(page)).to_contain_text("profile can be changed for good only")
    expect(review(page).get_by_role("button", name="Send")).to_be_disabled()
