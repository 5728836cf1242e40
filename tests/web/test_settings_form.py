"""Settings as a form: what is requested, what the trainer made of it, who else changes it."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.servers import AcrServe, acr_serve, short_folder
from tests.service.orders import patched, run_of
from tests.service.reports import new_run_id
from tests.web.browser import PHONE, Opened, Trouble, audit, fits
from tests.web.settings_form import cell, field, form, review, row, send, shown
from tests.web.trainer import Trainer

pytestmark = pytest.mark.e2e

NASTY = '<img src=x onerror="alert(1)"> & 🙂'
REFUSAL = "no reference model: the run began with 0"


@pytest.fixture
def trainer(monitor: AcrServe) -> Trainer:
    """A run at step 3 whose threshold of 0.5 only people move, and that cannot turn beta."""
    found = Trainer(
        monitor.url, new_run_id(), refused={"beta": REFUSAL}, settings={"controller": "fixed"}
    )
    found.trains(3)
    return found


@pytest.fixture
def client(monitor: AcrServe) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=monitor.url, trust_env=False) as found:
        yield found


@pytest.fixture
def page(opened: Opened, trainer: Trainer) -> Page:
    """The view of that run, its form loaded."""
    return shown(opened, trainer)


def orders(page: Page) -> Locator:
    return page.get_by_label("Orders, newest first")


def test_a_change_is_sent_waits_for_the_trainer_and_is_applied_at_its_next_step(
    page: Page, trainer: Trainer, client: httpx.Client
) -> None:
    field(page, "threshold").fill("0.3")
    expect(review(page)).to_contain_text("1 change to send")
    expect(review(page).get_by_role("listitem")).to_have_text("threshold 0.5 → 0.3")
    send(page, "fewer groups than I thought")
    expect(form(page)).to_contain_text("waiting for the trainer")
    expect(cell(page, "threshold", "Applied")).to_contain_text("is waited for")
    trainer.trains()
    expect(form(page)).to_contain_text("applied @ step 4")
    expect(cell(page, "threshold", "Applied")).to_contain_text("0.3")
    expect(cell(page, "threshold", "Applied")).to_contain_text("@ step 4")
    expect(orders(page)).to_contain_text("fewer groups than I thought")
    settings = run_of(client, trainer.run_id)["settings"]
    # Only what was edited is sent: one revision, and everything else as it was.
    assert (settings["threshold"], settings["target"], settings["revision"]) == (0.3, "both", 2)


def test_what_the_trainer_ignores_is_told_with_its_reason(page: Page, trainer: Trainer) -> None:
    field(page, "beta").fill("0.02")
    field(page, "threshold").fill("0.3")
    send(page)
    trainer.trains()
    expect(form(page)).to_contain_text(f"applied @ step 4, but ignored beta: {REFUSAL}")
    expect(cell(page, "beta", "Requested").locator("input")).to_have_value("0.02")
    expect(cell(page, "beta", "Ignored because")).to_have_text(REFUSAL)
    expect(cell(page, "beta", "Applied")).to_contain_text("0")
    expect(cell(page, "threshold", "Ignored because")).to_be_empty()


def test_a_knob_that_is_emptied_goes_back_to_the_trainer(page: Page, trainer: Trainer) -> None:
    expect(field(page, "temperature")).to_have_attribute("placeholder", "as configured")
    field(page, "temperature").fill("1.2")
    send(page)
    trainer.trains()
    expect(cell(page, "temperature", "Applied")).to_contain_text("1.2")
    field(page, "temperature").fill("")
    expect(review(page).get_by_role("listitem")).to_have_text("temperature 1.2 → as configured")
    send(page)
    trainer.trains()
    expect(cell(page, "temperature", "Applied")).to_contain_text("as configured")
    assert trainer.settings().temperature is None


def test_nothing_is_sent_without_a_reason(
    page: Page, client: httpx.Client, trainer: Trainer
) -> None:
    field(page, "threshold").fill("0.3")
    review(page).get_by_role("button", name="Send").click()
    reason = review(page).get_by_label("Reason")
    expect(reason).to_be_focused()
    assert reason.evaluate("input => input.validity.valueMissing")
    assert run_of(client, trainer.run_id)["settings"]["revision"] == 1


@pytest.mark.parametrize("typed", ["1.5", "-0.1", "half", "", "NaN", "0,3"])
def test_a_value_out_of_range_is_told_beside_its_field(page: Page, typed: str) -> None:
    field(page, "threshold").fill(typed)
    expect(cell(page, "threshold", "Requested")).to_contain_text("must be a number: 0 to 1")
    expect(field(page, "threshold")).to_have_attribute("aria-invalid", "true")
    expect(review(page).get_by_role("button", name="Send")).to_be_disabled()


def test_nothing_is_sent_while_another_field_is_wrong(page: Page, trainer: Trainer) -> None:
    field(page, "target").select_option("wrong")
    field(page, "max_advantage").fill("7")
    expect(review(page)).to_contain_text("To be mended first: max_advantage.")
    expect(review(page).get_by_role("button", name="Send")).to_be_disabled()
    field(page, "max_advantage").fill("0.7")
    send(page)
    expect(form(page)).to_contain_text("waiting for the trainer")
    assert (trainer.settings().target, trainer.settings().max_advantage) == ("wrong", 0.7)


def test_what_the_monitor_refuses_is_told_beside_the_field(
    page: Page, trainer: Trainer, trouble: Trouble
) -> None:
    trouble.expect("status of 422")
    page.get_by_role("searchbox", name="Search the settings").fill("exit_thr")
    field(page, "exit_threshold").fill("0.6")
    page.get_by_role("searchbox", name="Search the settings").fill("controller")
    field(page, "controller").select_option("guarded")
    send(page)
    # By the rule of both together: the guarded controller cannot end above where it begins, 0.5.
    expect(cell(page, "exit_threshold", "Requested")).to_contain_text("below threshold (0.5)")
    expect(field(page, "exit_threshold")).to_have_value("0.6")
    field(page, "exit_threshold").fill("0.4")
    send(page)
    expect(form(page)).to_contain_text("waiting for the trainer")
    assert trainer.settings().exit_threshold == 0.4


def test_a_form_that_nobody_edits_follows_what_others_change(
    page: Page, client: httpx.Client, trainer: Trainer
) -> None:
    patched(client, trainer.run_id, threshold=0.4)
    expect(field(page, "threshold")).to_have_value("0.4")
    expect(review(page)).to_be_hidden()


def test_a_stale_form_shows_the_others_change_at_once_and_sends_mine_on_top_of_it(
    page: Page, client: httpx.Client, trainer: Trainer
) -> None:
    field(page, "threshold").fill("0.3")
    patched(
        client, trainer.run_id, threshold=0.4, target="wrong", reason="they are learnt", actor="ana"
    )
    expect(review(page)).to_contain_text("ana changed the settings while you were editing")
    expect(review(page)).to_contain_text("they are learnt")
    expect(review(page)).to_contain_text("target both → wrong")
    expect(field(page, "threshold")).to_have_value("0.3")
    expect(field(page, "target")).to_have_value("wrong")
    expect(review(page).locator(".differences").last).to_have_text("threshold 0.4 → 0.3")
    send(page, label="Send on top of it")
    expect(review(page)).to_be_hidden()
    settings = run_of(client, trainer.run_id)["settings"]
    assert (settings["threshold"], settings["target"]) == (0.3, "wrong")


def test_a_stale_form_can_be_discarded(page: Page, client: httpx.Client, trainer: Trainer) -> None:
    field(page, "threshold").fill("0.3")
    patched(client, trainer.run_id, threshold=0.4, actor="ana")
    review(page).get_by_role("button", name="Discard mine").click()
    expect(review(page)).to_be_hidden()
    expect(field(page, "threshold")).to_have_value("0.4")
    assert run_of(client, trainer.run_id)["settings"]["revision"] == 2


def test_who_is_overtaken_while_sending_keeps_what_was_typed(
    page: Page, client: httpx.Client, trainer: Trainer, trouble: Trouble
) -> None:
    trouble.expect("status of 412")

    def overtake(route: Route) -> None:
        if client.get(f"/v1/runs/{trainer.run_id}").json()["settings"]["revision"] == 1:
            patched(client, trainer.run_id, target="wrong", reason="was faster", actor="ana")
        route.continue_()

    page.route("**/settings", overtake)
    field(page, "threshold").fill("0.3")
    send(page)
    expect(review(page)).to_contain_text("ana changed the settings while you were editing")
    expect(review(page)).to_contain_text("was faster")
    expect(field(page, "threshold")).to_have_value("0.3")
    send(page, label="Send on top of it")
    expect(review(page)).to_be_hidden()
    assert (trainer.settings().threshold, trainer.settings().target) == (0.3, "wrong")


def test_what_is_changed_after_the_end_acts_when_the_training_resumes(
    page: Page, client: httpx.Client, trainer: Trainer
) -> None:
    client.post(f"/v1/runs/{trainer.run_id}/end", json={"attempt": 1})
    field(page, "threshold").fill("0.3")
    send(page)
    expect(form(page)).to_contain_text(
        "the training has ended (finished): it acts when that resumes"
    )


def test_settings_are_found_by_name_and_what_was_typed_stays_in_sight(page: Page) -> None:
    expect(field(page, "cooldown_steps")).to_be_hidden()
    field(page, "threshold").fill("0.3")
    search = page.get_by_role("searchbox", name="Search the settings")
    search.fill("cooldown")
    expect(field(page, "cooldown_steps")).to_be_visible()
    expect(field(page, "threshold")).to_have_value("0.3")
    expect(field(page, "target")).to_be_hidden()
    search.fill("no such thing")
    expect(form(page)).to_contain_text("No setting has “no such thing”")


def test_texts_of_people_are_texts(page: Page, client: httpx.Client, trainer: Trainer) -> None:
    field(page, "threshold").fill("0.3")
    review(page).get_by_label("Your name").fill("<b>ana</b>")
    send(page, NASTY)
    expect(orders(page)).to_contain_text(NASTY)
    expect(orders(page)).to_contain_text("<b>ana</b> changed the settings")
    expect(page.get_by_label("Events, newest first")).to_contain_text(f"<b>ana</b>: {NASTY}")
    assert page.locator("main img, main b:has-text('ana')").count() == 0
    # Whoever typed a name is asked for it no more.
    field(page, "threshold").fill("0.2")
    expect(review(page).get_by_label("Your name")).to_have_value("<b>ana</b>")


def test_a_setting_is_changed_with_the_keyboard_alone(page: Page, trainer: Trainer) -> None:
    page.get_by_role("searchbox", name="Search the settings").focus()
    while page.evaluate("document.activeElement.id") != "setting-threshold":
        page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("0.3")
    page.keyboard.press("Enter")
    # A reason is needed, so that is where it leads.
    page.keyboard.type("by hand")
    page.keyboard.press("Enter")
    expect(form(page)).to_contain_text("waiting for the trainer")
    assert trainer.settings().threshold == 0.3


def test_what_was_typed_outlives_a_restart_of_the_monitor(opened: Opened, trouble: Trouble) -> None:
    trouble.expect("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_EMPTY_RESPONSE")
    trouble.expect("ERR_CONNECTION_RESET")
    with short_folder() as folder, acr_serve(folder) as server:
        trainer = Trainer(server.url, "restarted", settings={"controller": "fixed"})
        trainer.trains(3)
        page = shown(opened, trainer, base_url=server.url)
        field(page, "threshold").fill("0.3")
        server.restart()
        trainer.trains()
        expect(cell(page, "threshold", "Applied")).to_be_visible()
        expect(page.get_by_role("columnheader", name="Applied")).to_contain_text("@ step 4")
        expect(field(page, "threshold")).to_have_value("0.3")
        send(page)
        trainer.trains()
        expect(form(page)).to_contain_text("applied @ step 5")
        page.close()


@pytest.mark.parametrize(
    ("path", "what"), [("fields", "settings"), ("history", "orders"), ("events", "events")]
)
def test_what_cannot_be_read_says_so_and_is_asked_for_again(
    opened: Opened, trainer: Trainer, trouble: Trouble, path: str, what: str
) -> None:
    trouble.expect("status of 503")
    page = opened()
    busy = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "busy"}
    asked = re.compile(rf"/v1/(.+/)?{path}(\?|$)")
    page.route(asked, lambda route: route.fulfill(status=503, json=busy))
    page.goto(f"/#/runs/{trainer.run_id}")
    failure = page.get_by_role("alert").filter(has_text=f"The {what} cannot be read: busy")
    failure.wait_for()
    page.unroute_all()
    failure.get_by_role("button", name="Try again").click()
    expect(failure).to_be_hidden()
    expect(page.get_by_label("Events, newest first")).to_contain_text("created")
    row(page, "threshold").wait_for()


def test_a_value_that_moves_by_itself_stands_still_under_the_cursor(
    page: Page, client: httpx.Client, trainer: Trainer
) -> None:
    field(page, "threshold").focus()
    patched(client, trainer.run_id, threshold=0.4)
    expect(cell(page, "threshold", "Applied")).to_contain_text("is waited for")
    expect(field(page, "threshold")).to_have_value("0.5")
    field(page, "target").focus()
    expect(field(page, "threshold")).to_have_value("0.4")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_is_accessible(
    opened: Opened, client: httpx.Client, trainer: Trainer, scheme: str
) -> None:
    page = shown(opened, trainer, color_scheme=scheme)
    field(page, "threshold").fill("7")
    field(page, "beta").fill("0.1")
    review(page).get_by_label("for a while").check()
    patched(client, trainer.run_id, threshold=0.4, actor="ana")
    expect(review(page)).to_contain_text("while you were editing")
    audit(page)


def test_it_fits_a_phone(opened: Opened, trainer: Trainer) -> None:
    page = shown(opened, trainer, viewport=PHONE, is_mobile=True, has_touch=True)
    field(page, "threshold").fill("0.3")
    review(page).get_by_label("for a while").check()
    assert fits(page)
    send(page)
    expect(form(page)).to_contain_text("waiting for the trainer")
    assert fits(page)
