"""The page: one file that needs nothing else, with everything from logs escaped."""

import re
from html.parser import HTMLParser

import pytest

from monitor_service.diagnose import plots
from tests.diagnose.samples import acr, collapsing, jsonl, judged, rising

pytest.importorskip("matplotlib")


class Page(HTMLParser):
    """Tags of a page, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action") and value:
                self.loads.append(value)
            if name == "id" and value:
                self.ids.append(value)


def written(tmp_path, **logs) -> str:
    paths = [jsonl(tmp_path / f"{name}.jsonl", rows) for name, rows in logs.items()]
    target = tmp_path / "report.html"
    assert acr(*paths, "--html", target).exit_code == 0
    return target.read_text()


def test_the_page_loads_nothing_and_runs_nothing(tmp_path):
    text = written(tmp_path, good=rising(), bad=collapsing())
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.tags.count("svg") == 2
    assert all(link.startswith("#") for link in page.loads)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_several_logs_have_a_table_of_contents_that_leads_to_them(tmp_path):
    text = written(tmp_path, good=rising(), bad=collapsing())
    for index in (0, 1):
        assert f'href="#log-{index}"' in text
        assert f'id="log-{index}"' in text
    assert "Collapsed at step 31" in text


def test_both_colour_schemes_get_colours_from_variables(tmp_path):
    text = written(tmp_path, bad=collapsing())
    assert "prefers-color-scheme: dark" in text
    svg = text[text.index("<svg") : text.index("</svg>")]
    assert "var(--critical)" in svg
    assert not re.search(r"#0[1-9]0[1-9]0[1-9]", svg)


def test_plots_have_axes_labels_and_marks_of_alarms(tmp_path):
    one = judged(jsonl(tmp_path / "run.jsonl", collapsing()))
    svg = plots.svg(one)
    for text in ("reward", "ACR", "entropy", "KL", "gradient norm", "step", "no_signal"):
        assert f">{text}" in svg or f"> {text}" in svg


def test_names_from_logs_are_text_not_markup(tmp_path):
    rows = [{**row, "<script>alert(1)</script>": 1} for row in rising(30)]
    path = jsonl(tmp_path / "<img src=x onerror=alert(1)>.jsonl", rows)
    target = tmp_path / "report.html"
    assert acr(path, "--html", target).exit_code == 0
    text = target.read_text()
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "&lt;img src=x" in text


def test_numbers_beyond_reason_are_drawn_without_complaint(tmp_path):
    rows = rising(30)
    rows[5] |= {"grad_norm": 1e308, "reward": -1e308}
    rows[6] |= {"grad_norm": 1e-308, "reward": 1e308}
    assert "<svg" in written(tmp_path, wild=rows)


def test_a_single_row_is_drawn(tmp_path):
    assert "<svg" in written(tmp_path, one=rising(1) + rising(1))


def test_long_series_are_thinned_and_keep_their_extremes():
    column = {step: float(step % 7) for step in range(50_000)} | {31_337: 99.0}
    steps, points = plots.thinned(column)
    assert len(steps) <= plots.MAX_POINTS
    assert max(points) == 99.0


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    path = jsonl(tmp_path / "run.jsonl", rising(30))
    ended = acr(path, "--html", tmp_path / "report.html")
    assert ended.exit_code == 2
    assert "acr-monitor[diagnose]" in re.sub(r"[\s│]+", "", ended.output)
    assert acr(path).exit_code == 0


def test_a_page_that_cannot_be_written_is_wrong_usage(tmp_path):
    path = jsonl(tmp_path / "run.jsonl", rising(30))
    assert acr(path, "--html", tmp_path / "no" / "such" / "folder.html").exit_code == 2


def test_control_characters_in_a_name_do_not_reach_the_page(tmp_path):
    path = jsonl(tmp_path / "run\x1b[31m.jsonl", rising(30))
    target = tmp_path / "report.html"
    assert acr(path, tmp_path / "run\x07nowhere", "--html", target).exit_code == 1
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", target.read_text())
