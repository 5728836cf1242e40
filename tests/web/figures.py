"""Charts of the page as a reader has them: what they say, what is drawn, and how they are moved."""

import re
from typing import Any

import httpx
from playwright.sync_api import Locator, Page

OUTCOMES = "Group outcomes and ACR"

Colour = tuple[int, int, int]
"""Red, green and blue, each of 0 to 255."""


def figure(page: Page, title: str = OUTCOMES) -> Locator:
    """The chart with this title, once it is there."""
    found = page.get_by_role("figure", name=title)
    found.wait_for()
    return found


def plot(page: Page, title: str = OUTCOMES) -> Locator:
    """Where it is drawn, which takes keys and the pointer."""
    return figure(page, title).get_by_role("slider")


def says(page: Page, title: str = OUTCOMES) -> dict[str, str]:
    """The values of its legend by their labels; `At` says of which steps they are."""
    entries = figure(page, title).locator(".legend > div")
    pairs = entries.evaluate_all(
        "all => all.map(one => ['dt', 'dd'].map(tag => one.querySelector(tag).textContent.trim()))"
    )
    return dict(pairs)


def columns(url: str, run_id: str, *names: str, **query: Any) -> dict[str, list[Any]]:
    """What the API says of a run's steps."""
    params = {"fields": ",".join(names), **query}
    reply = httpx.get(f"{url}/v1/runs/{run_id}/steps", params=params, trust_env=False)
    found: dict[str, list[Any]] = reply.raise_for_status().json()["columns"]
    return found


def place(page: Page, share: float, title: str = OUTCOMES) -> tuple[float, float]:
    """A point of the screen, inside the axes: 0 is the left edge of them and 1 the right one."""
    over = figure(page, title).locator(".u-over")
    over.scroll_into_view_if_needed()
    axes = over.bounding_box()
    assert axes is not None
    return axes["x"] + share * axes["width"], axes["y"] + axes["height"] / 2


def colours(page: Page, title: str = OUTCOMES) -> set[Colour]:
    """What its canvas shows that covers enough to be seen; how opaque it is does not matter."""
    found: list[list[int]] = (
        figure(page, title)
        .locator("canvas")
        .evaluate(
            """canvas => {
          const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const counts = new Map();
          for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] < 64) continue;
            const name = data.slice(at, at + 3).join(",");
            counts.set(name, (counts.get(name) ?? 0) + 1);
          }
          const seen = [...counts].filter(([, count]) => count > 8);
          return seen.map(([name]) => name.split(",").map(Number));
        }"""
        )
    )
    return {(red, green, blue) for red, green, blue in found}


def height(page: Page, title: str, share: float) -> int:
    """Pixels from the lowest to the highest point of its line, right of this share of the width."""
    found: int = (
        figure(page, title)
        .locator("canvas")
        .evaluate(
            """(canvas, [share, wanted]) => {
          const {width, height} = canvas;
          const left = Math.round(width * share);
          const {data} = canvas.getContext("2d").getImageData(left, 0, width - left, height);
          const rows = [];
          for (let at = 0; at < data.length; at += 4) {
            const isIt = data[at + 3] > 200 && wanted.every((part, of) => data[at + of] === part);
            if (isIt) rows.push(Math.floor(at / 4 / (width - left)));
          }
          return Math.max(...rows) - Math.min(...rows);
        }""",
            [share, token(page, "raw")],
        )
    )
    return found


def token(page: Page, name: str) -> Colour:
    """A colour of the page's stylesheet, as it is in the theme of now."""
    text: str = page.evaluate(
        "name => import('/assets/theme.js').then(({colour}) => colour(name))", name
    )
    red, green, blue = map(int, re.findall(r"\d+", text)[:3])
    return red, green, blue


def rate(value: float) -> str:
    """As the page writes it."""
    return f"{value:.2f}"
