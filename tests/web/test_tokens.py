"""Who the reader is to the monitor: with the token they typed in, or without one."""

from collections.abc import Iterator

import pytest
import redis
from playwright.sync_api import Page, expect

from monitor_service.store.keys import TOKENS
from tests.servers import AcrServe, acr_serve, eventually, short_folder
from tests.service.guarded import issued
from tests.service.reports import new_run_id
from tests.web.browser import PHONE, audit, fits
from tests.web.runs import create, get, make

NEEDED = "This monitor needs a token"
UNAUTHORIZED = "status of 401"


@pytest.fixture(scope="module")
def monitor() -> Iterator[AcrServe]:
    """`acr serve` that needs a token."""
    with short_folder() as folder, acr_serve(folder) as server:
        issued(server.redis_url, "control", name="root")
        yield server


@pytest.fixture
def token(monitor: AcrServe):
    """Issues a token, and waits until the monitor knows it."""

    def issue(*scopes: str, **fields) -> str:
        text = issued(monitor.redis_url, *scopes, **fields)
        eventually(lambda: get(monitor.url, "/v1/me", token=text) is not None, "it is known")
        return text

    return issue


def enter(page: Page, text: str) -> None:
    page.get_by_label("Token", exact=True).fill(text)
    page.get_by_role("button", name="Continue").click()


def expect_asked(page: Page, why: str = "") -> None:
    """The page asks for a token, and says what was wrong with the last one."""
    expect(page.get_by_role("heading", level=1)).to_have_text(NEEDED)
    expect(page.get_by_role("alert")).to_have_text([why] if why else [])


def expect_runs(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")


def test_a_token_is_asked_for_and_kept_until_the_tab_is_closed(opened, token, trouble):
    trouble.expect(UNAUTHORIZED)
    page = opened()
    expect_asked(page)
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    enter(page, f"  {token('control', name='ana')}\n")
    expect_runs(page)
    expect(page.get_by_role("banner")).to_contain_text("ana · may change settings")
    page.reload()
    expect_runs(page)
    # Another tab has to be told again.
    other = page.context.new_page()
    trouble.watch(other)
    other.goto(page.url)
    expect_asked(other)


def test_a_token_that_is_forgotten_is_nowhere_any_more(opened, token, trouble):
    trouble.expect(UNAUTHORIZED)
    page = opened()
    enter(page, token("read"))
    page.get_by_role("button", name="Forget token").click()
    expect_asked(page)
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [0, 0]
    page.reload()
    expect_asked(page)


def test_what_no_token_looks_like_is_said_without_asking_the_monitor(opened, trouble):
    trouble.expect(UNAUTHORIZED)
    page = opened()
    expect_asked(page)
    before = len(trouble.found)
    for text in ("hunter2", "Bearer acr_1a2b3c4d_abc", "acr_1a2b3c4d_🙂", "acr_1a2b3c4d_"):
        enter(page, text)
        expect(page.get_by_role("alert")).to_contain_text("A token looks like acr_1a2b3c4d_")
    assert len(trouble.found) == before
    audit(page)


def test_a_wrong_token_says_so_and_another_one_is_taken(opened, token, trouble):
    trouble.expect(UNAUTHORIZED)
    page = opened()
    enter(page, f"acr_00000000_{'x' * 43}")
    expect_asked(page, "no such token, or it was revoked")
    assert page.evaluate("sessionStorage.length") == 0
    enter(page, token("read"))
    expect_runs(page)


def test_a_token_that_reads_only_says_so(opened, token, trouble):
    trouble.expect(UNAUTHORIZED)
    page = opened()
    enter(page, token("read", name="looker"))
    expect(page.get_by_role("banner")).to_contain_text("looker · read-only")


def test_a_token_of_a_trainer_is_told_from_one_that_reads(opened, token, trouble):
    trouble.expect(UNAUTHORIZED)
    page = opened()
    enter(page, token("report", name="gpu-7"))
    expect(page.get_by_role("heading", level=1)).to_have_text("This token may not read")
    expect(page.get_by_role("main")).to_contain_text("gpu-7")
    expect(page.get_by_role("banner")).to_contain_text("gpu-7 · only reports")
    audit(page)
    enter(page, token("read"))
    expect_runs(page)


def test_a_token_of_some_runs_shows_those_and_says_so(opened, monitor, token, trouble):
    trouble.expect(UNAUTHORIZED)
    prefix = new_run_id()
    for name in (f"{prefix}-mine", new_run_id()):
        create(monitor.url, name, token=token("report"))
    page = opened()
    enter(page, token("read", runs=f"{prefix}-*"))
    expect(page.locator("tbody").get_by_role("link")).to_have_text([f"{prefix}-mine"])
    expect(page.get_by_role("main")).to_contain_text(
        f"1 run, those that this token is for: {prefix}-*"
    )


def test_a_token_that_expires_while_the_page_is_open_is_asked_for_again(opened, token, trouble):
    trouble.expect(UNAUTHORIZED)
    page = opened()
    enter(page, token("read", name="brief", expires_in_s=6))
    expect_runs(page)
    expect_asked(page, "the token 'brief' has expired")
    enter(page, token("read"))
    expect_runs(page)


def test_a_token_that_is_revoked_while_the_page_is_open_is_asked_for_again(
    opened, monitor, token, trouble
):
    trouble.expect(UNAUTHORIZED)
    run_id, reader = new_run_id(), token("read")
    make(monitor.url, run_id, token=token("report"))
    page = opened(f"/#/runs/{run_id}")
    enter(page, reader)
    expect(page.get_by_role("heading", level=1)).to_have_text(run_id)
    with redis.Redis.from_url(monitor.redis_url) as client:
        client.hdel(TOKENS, reader.split("_")[1])
    expect_asked(page, "no such token, or it was revoked")
    # Nothing of the run is left for whoever comes next.
    expect(page.get_by_text(run_id)).to_have_count(0)
    enter(page, token("read"))
    expect(page.get_by_role("heading", level=1)).to_have_text(run_id)


def test_the_first_token_of_a_monitor_shuts_a_page_that_is_open(opened, folder, trouble):
    trouble.expect(UNAUTHORIZED)
    with acr_serve(folder) as other:
        page = opened(base_url=other.url)
        expect(page.get_by_role("banner")).to_contain_text("no token needed")
        first = issued(other.redis_url, "read", name="first")
        expect_asked(page)
        enter(page, first)
        expect(page.get_by_role("banner")).to_contain_text("first")
        page.goto("about:blank")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
def test_asking_for_a_token_is_open_to_everybody(opened, token, trouble, scheme, size):
    trouble.expect(UNAUTHORIZED)
    page = opened(color_scheme=scheme, **({"viewport": size} if size else {}))
    expect_asked(page)
    audit(page)
    enter(page, f"acr_00000000_{'x' * 43}")
    expect_asked(page, "no such token, or it was revoked")
    audit(page)
    # By the keyboard alone.
    page.keyboard.type(token("control", name="a-name-as-long-as-names-of-people-may-be-in-here"))
    page.keyboard.press("Enter")
    expect_runs(page)
    assert fits(page)
    audit(page)
