"""The page in a real browser: complete without a network, on a phone, in the dark, on paper."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.diagnose.samples import collapsing, jsonl, rollouts
from tests.web.browser import DESKTOP, PHONE, Trouble, audit, fits
from tests.web.conftest import chromium, trouble

__all__ = ["chromium", "trouble"]

Shown = Callable[..., Page]

PAPER = "getComputedStyle(document.body).backgroundColor"
WHITE, DARK = "rgb(255, 255, 255)", "rgb(18, 22, 28)"


@pytest.fixture
def path(written: Callable[..., Any], story: str, tmp_path: Path) -> Path:
    """The page of a run beside two logs."""
    logs = [
        jsonl(tmp_path / "a-log-with-quite-a-long-name-that-no-phone-can-show.jsonl", rollouts()),
        jsonl(tmp_path / "collapsing.jsonl", collapsing()),
    ]
    written(story, *(part for log in logs for part in ("--compare", log)))
    return tmp_path / "report.html"


@pytest.fixture
def shown(chromium: Browser, trouble: Trouble, path: Path) -> Iterator[Shown]:
    """The page, in a context without a network."""
    with ExitStack() as contexts:

        def show(**options: Any) -> Page:
            usual: dict[str, Any] = {"viewport": DESKTOP, "offline": True}
            page = contexts.enter_context(chromium.new_context(**usual | options)).new_page()
            trouble.watch(page)
            page.goto(f"file://{path}")
            return page

        yield show


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(shown: Shown, scheme: str) -> None:
    page = shown(color_scheme=scheme)
    assert page.evaluate(PAPER) == (WHITE if scheme == "light" else DARK)
    audit(page)


def test_it_fits_on_a_phone_and_its_letters_can_be_read_there(shown: Shown) -> None:
    page = shown(viewport=PHONE)
    assert fits(page)
    letters = page.locator("svg text").evaluate_all(
        # On the screen: the drawing is scaled.
        """all => all.map(one => parseFloat(getComputedStyle(one).fontSize)
                               * one.getScreenCTM().a)"""
    )
    assert len(letters) > 100
    assert min(letters) > 8


def test_nothing_in_a_drawing_is_cut_off(shown: Shown) -> None:
    outside = (
        shown()
        .locator("svg")
        .evaluate_all(
            """all => all.flatMap(svg => {
            const frame = svg.getBoundingClientRect();
            return [...svg.querySelectorAll("text")].filter(one => {
                const box = one.getBoundingClientRect();
                return box.left < frame.left - 2 || box.right > frame.right + 2
                    || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
            }).map(one => `${svg.querySelector("title").textContent}: ${one.textContent}`);
        })"""
        )
    )
    assert outside == []


def test_on_paper_it_is_light(shown: Shown) -> None:
    page = shown(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(PAPER) == WHITE
