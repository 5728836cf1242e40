"""The levers of a run: mode, kill and re-arm, commands to the trainer, and who may pull them."""

from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.servers import AcrServe, acr_serve, short_folder
from tests.service.guarded import issued
from tests.service.reports import body, new_run_id
from tests.web.browser import PHONE, Opened, Trouble, audit, fits
from tests.web.runs import make, order, report
from tests.web.trainer import Trainer

pytestmark = pytest.mark.e2e


@pytest.fixture
def trainer(monitor: AcrServe) -> Trainer:
    """A run at step 3, mode active."""
    found = Trainer(monitor.url, new_run_id())
    found.trains(3)
    return found


@pytest.fixture
def page(opened: Opened, trainer: Trainer) -> Page:
    return shown(opened, trainer.run_id)


def shown(opened: Opened, run_id: str, **options: Any) -> Page:
    """The view of a run, its levers there."""
    page = opened(f"/#/runs/{run_id}", **options)
    lever(page, "active").wait_for()
    return page


def lever(page: Page, label: str) -> Locator:
    return page.locator(".levers").get_by_role("button", name=label, exact=True)


def newest(page: Page) -> Locator:
    """What is told of the newest orders, beside the levers."""
    return page.get_by_label("Newest orders")


def pull(page: Page, label: str, title: str = "", *, reason: str = "") -> Locator:
    """Pull a lever and confirm it; the dialog."""
    title = title or label
    lever(page, label).click()
    dialog = page.get_by_role("dialog", name=title)
    if reason:
        dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=title).click()
    return dialog


def test_shadow_is_switched_on_and_off(page: Page, trainer: Trainer) -> None:
    expect(lever(page, "active")).to_have_attribute("aria-pressed", "true")
    pull(page, "shadow", "Switch to shadow", reason="is it us?")
    expect(lever(page, "shadow")).to_have_attribute("aria-pressed", "true")
    expect(newest(page)).to_contain_text("mode active → shadow")
    expect(newest(page)).to_contain_text("waiting for the trainer")
    trainer.trains()
    expect(newest(page)).to_contain_text("applied @ step 4")
    pull(page, "active", "Switch to active", reason="it was not us")
    expect(newest(page)).to_contain_text("mode shadow → active")
    expect(lever(page, "active")).to_have_attribute("aria-pressed", "true")


def test_what_was_as_configured_is_told_so(page: Page, trainer: Trainer) -> None:
    order(*(trainer.url, trainer.run_id, "settings"), method="PATCH", beta=0.04, reason="it drifts")
    expect(newest(page)).to_contain_text("beta as configured → 0.04")


def test_the_mode_that_holds_asks_nothing(page: Page) -> None:
    lever(page, "active").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_another_mode_needs_a_reason(page: Page, trainer: Trainer) -> None:
    dialog = pull(page, "off", "Switch to off")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_label("Reason")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    # Whoever left it is back where they were, and nothing was ordered.
    expect(lever(page, "off")).to_be_focused()
    assert trainer.settings().revision == 1


def test_a_kill_is_confirmed_without_a_reason_and_lasts_until_the_re_arming(
    page: Page, trainer: Trainer
) -> None:
    lever(page, "Kill").click()
    dialog = page.get_by_role("dialog", name="Kill all interventions")
    expect(dialog).to_contain_text("Plain GRPO from the trainer's next batch on")
    dialog.get_by_role("button", name="Kill all interventions").click()
    expect(newest(page)).to_contain_text("killed all interventions")
    expect(lever(page, "Kill")).to_be_hidden()
    trainer.trains()
    expect(newest(page)).to_contain_text("applied @ step 4")
    expect(page.locator('td[data-title="Applied"]').first).to_contain_text("locked")
    pull(page, "Re-arm", reason="it was the data")
    expect(newest(page)).to_contain_text("re-armed the run")
    expect(lever(page, "Kill")).to_be_visible()
    expect(lever(page, "Re-arm")).to_be_hidden()
    assert trainer.settings().kill is None


def test_a_kill_stays_in_sight_whatever_is_ordered_after_it(page: Page, trainer: Trainer) -> None:
    pull(page, "Kill", "Kill all interventions", reason="losing it")
    pull(page, "shadow", "Switch to shadow", reason="for later")
    expect(newest(page)).to_contain_text("mode active → shadow")
    expect(newest(page)).to_contain_text("losing it")


def test_who_re_arms_after_a_kill_file_is_told_of_the_file(page: Page, trainer: Trainer) -> None:
    applied = {**body(4), "applied": {**_applied(), "killed_after_rearms": 0}}
    report(trainer.url, trainer.run_id, [applied])
    expect(newest(page)).to_contain_text("kill file killed all interventions")
    lever(page, "Re-arm").click()
    expect(page.get_by_role("dialog", name="Re-arm")).to_contain_text("remove that first")


def _applied() -> dict[str, Any]:
    return {
        "settings_version": 1,
        "through_step": 3,
        "mode": "locked",
        "threshold": 0.5,
        "triggered": False,
    }


def test_a_checkpoint_is_ordered_and_taken_up(page: Page, trainer: Trainer) -> None:
    pull(page, "Save checkpoint")
    expect(newest(page)).to_contain_text("ordered a checkpoint")
    expect(newest(page)).to_contain_text("waiting for the trainer")
    trainer.trains()
    expect(newest(page)).to_contain_text("taken up @ step 4")


def test_a_stop_is_confirmed_and_an_ended_run_takes_no_commands(
    page: Page, trainer: Trainer
) -> None:
    pull(page, "Stop training", reason="it has converged")
    expect(newest(page)).to_contain_text("ordered the training to stop")
    trainer.trains()
    order(trainer.url, trainer.run_id, "end", attempt=1)
    expect(lever(page, "Stop training")).to_be_hidden()
    expect(lever(page, "Save checkpoint")).to_be_hidden()
    expect(newest(page)).to_contain_text("taken up @ step 4")


def test_a_command_that_another_attempt_dropped_is_told(page: Page, trainer: Trainer) -> None:
    pull(page, "Save checkpoint")
    expect(newest(page)).to_contain_text("waiting for the trainer")
    again = {"id": trainer.run_id, "resume_from_step": 2}
    httpx.post(f"{trainer.url}/v1/runs", json=again, trust_env=False).raise_for_status()
    expect(newest(page)).to_contain_text("dropped: another command, or a new attempt, came first")


def test_what_cannot_be_ordered_is_told_in_the_dialog(
    page: Page, trainer: Trainer, trouble: Trouble
) -> None:
    trouble.expect("status of 409")
    lever(page, "Kill").click()
    page.route("**/kill", lambda route: _after_deletion(trainer, route))
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Kill all interventions").click()
    expect(page.get_by_text("was deleted by ana: a mistake").first).to_be_visible()


def _after_deletion(trainer: Trainer, route: Any) -> None:
    gone = f"{trainer.url}/v1/runs/{trainer.run_id}"
    httpx.delete(gone, params={"actor": "ana", "reason": "a mistake"}, trust_env=False)
    route.continue_()


def test_orders_of_others_show_at_once_and_old_ones_page_by_page(
    opened: Opened, trainer: Trainer
) -> None:
    for number in range(60):
        order(
            *(trainer.url, trainer.run_id, "settings"),
            method="PATCH",
            seed=number + 1,
            reason=f"order {number}",
        )
    page = shown(opened, trainer.run_id)
    listed = page.get_by_label("Orders, newest first").locator("> li")
    # A page has 50.
    expect(listed).to_have_count(50)
    expect(listed.first).to_contain_text("order 59")
    expect(listed.first).to_contain_text("from 127.0.0.1, python-httpx")
    page.get_by_role("button", name="Older orders").click()
    expect(listed).to_have_count(60)
    expect(listed.last).to_contain_text("order 0")
    expect(page.get_by_role("button", name="Older orders")).to_be_hidden()
    order(trainer.url, trainer.run_id, "kill", actor="ana")
    expect(listed.first).to_contain_text("ana killed all interventions")
    expect(listed).to_have_count(61)


def test_a_token_that_may_only_read_sees_everything_and_orders_nothing(
    opened: Opened, trouble: Trouble
) -> None:
    trouble.expect("status of 401")
    with short_folder() as folder, acr_serve(folder) as server:
        make(server.url, "watched", num_steps=3)
        override: dict[str, Any] = {"settings": {"threshold": 0.3}, "reason": "to see"}
        override |= {"expires_in_steps": 9, "expires_in_s": 900}
        order(server.url, "watched", "overrides", **override)
        token = issued(server.redis_url, "read", name="reader")
        page = opened("/#/runs/watched", base_url=server.url)
        page.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
        lever(page, "active").wait_for()
        expect(
            page.get_by_text("Read-only: steering takes a token with the scope control")
        ).to_be_visible()
        for label in ("off", "shadow", "Kill", "Save checkpoint", "Stop training"):
            expect(lever(page, label)).to_be_disabled()
        expect(page.locator(".overrides")).to_contain_text("Override 1 acts")
        expect(page.get_by_role("button", name="End now")).to_be_hidden()
        expect(page.locator("#setting-threshold")).to_have_text("0.5")
        assert page.locator(".settings :is(input, select)").count() == 0
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_levers_and_dialogs_are_accessible(opened: Opened, trainer: Trainer, scheme: str) -> None:
    page = shown(opened, trainer.run_id, color_scheme=scheme)
    pull(page, "Kill", "Kill all interventions", reason="losing it")
    expect(newest(page)).to_contain_text("killed all interventions")
    audit(page)
    lever(page, "Re-arm").click()
    page.get_by_role("dialog", name="Re-arm").wait_for()
    audit(page)


def test_a_run_is_killed_with_the_keyboard_on_a_phone(opened: Opened, trainer: Trainer) -> None:
    page = shown(opened, trainer.run_id, viewport=PHONE, is_mobile=True, has_touch=True)
    lever(page, "Kill").focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    assert fits(page)
    page.keyboard.type("losing it")
    page.keyboard.press("Enter")
    expect(newest(page)).to_contain_text("losing it")
    assert fits(page)
    assert trainer.settings().kill
