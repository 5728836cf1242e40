"""The page: one file that needs nothing else, with everything from logs escaped."""

import itertools
import re

import pytest

from monitor_service.diagnose import panels, svg
from monitor_service.diagnose.binned import binned
from tests.diagnose.samples import acr, collapsing, jsonl, judged, rising, rollouts
from tests.report.parsed import Page

pytest.importorskip("matplotlib")


def written(tmp_path, **logs) -> str:
    paths = [jsonl(tmp_path / f"{name}.jsonl", rows) for name, rows in logs.items()]
    target = tmp_path / "report.html"
    assert acr(*paths, "--html", target).exit_code == 0
    return target.read_text()


def test_the_page_loads_nothing_and_runs_nothing(tmp_path):
    text = written(tmp_path, good=rising(), bad=collapsing())
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.tags.count("svg") == page.tags.count("figure") > 10
    assert all(link.startswith("#") for link in [*page.loads, *page.links])
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
    drawn = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert all("var(--ink)" in one for one in drawn)
    assert any("var(--critical)" in one for one in drawn)
    assert not any(re.search(r"#01[0-9a-f]{2}01", one) for one in drawn)


def test_every_figure_has_a_picture_that_is_told_in_words_too(tmp_path):
    page = Page(written(tmp_path, bad=collapsing()))
    titles = [picture["title"] for picture in page.pictures]
    for title in ("Alarms", "ACR", "Reward", "Entropy", "KL", "Gradient norm"):
        assert any(told.startswith(title) and told.endswith("steps 1 to 60") for told in titles)
    told = {picture["title"]: picture["desc"] for picture in page.pictures}
    assert "no_signal: since step" in told["Alarms, steps 1 to 60"]
    # From 0.2 + 0.6 / 60 = 0.21 to 0.2 + 0.6 * 30 / 60 = 0.5, give or take 0.02; then 0.
    reward = r"reward 0\.(19|2)\d* at first, 0 at last, from 0 to 0\.5"
    assert re.match(reward, told["Reward, steps 1 to 60"])


def test_every_picture_and_header_can_be_read_out(tmp_path):
    page = Page(written(tmp_path, good=rising(), bad=collapsing()))
    assert page.unscoped == 0
    assert all(one["role"] == "img" and one["title"] and one["desc"] for one in page.pictures)
    assert len(page.ids) == len(set(page.ids))
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_groups_are_stacked_where_a_log_tells_their_sides(tmp_path):
    sided = Page(written(tmp_path, rollouts=rollouts()))
    assert "Groups by outcome, and ACR" in sided.words
    assert "all wrong all correct mixed" in sided.words
    # TRL's share does not say which side the groups without a signal are on.
    assert "Groups by outcome" not in Page(written(tmp_path, shares=rising())).words


def test_names_from_logs_are_text_not_markup(tmp_path):
    rows = [{**row, "<script>alert(1)</script>": 1} for row in rising(30)]
    path = jsonl(tmp_path / "<img src=x onerror=alert(1)>.jsonl", rows)
    target = tmp_path / "report.html"
    assert acr(path, "--html", target).exit_code == 0
    text = target.read_text()
    page = Page(text)
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


def test_long_series_are_drawn_in_bins_that_keep_their_extremes(tmp_path):
    rows = [{"step": step, "reward": 0.5, "grad_norm": 1.0} for step in range(1, 10_001)]
    rows[7_776]["grad_norm"] = 99.0
    found = binned(judged(jsonl(tmp_path / "run.jsonl", rows)), panels.MOST_BINS)
    # ceil(10,000 / 120) = 84 steps a bin, ceil(10,000 / 84) = 120 bins; step 7,777 is in bin 92.
    assert (found.total, found.steps_per_bin, len(found.columns["step"])) == (10_000, 84, 120)
    assert (found.low["step"][92], found.high["step"][92]) == (7_729, 7_812)
    assert (found.low["grad_norm"][92], found.high["grad_norm"][92]) == (1.0, 99.0)
    assert found.columns["grad_norm"][92] == pytest.approx((83 + 99) / 84)


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(svg, "find_spec", lambda name: None)
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
