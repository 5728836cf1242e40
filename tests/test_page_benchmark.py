"""The benchmark of the page: it sees the page drawn, and fails when that takes too long."""

import json

import pytest

from benchmarks import page

pytestmark = pytest.mark.e2e


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of 1,000 steps is what is judged."""
    monkeypatch.setattr(page, "JUDGED", page.LEVELS[0])


@pytest.mark.usefixtures("judged")
def test_a_page_is_seen_drawn_followed_and_zoomed(tmp_path, capsys, monkeypatch):
    # Other tests keep the machine busy.
    monkeypatch.setattr(page, "MOST_SHOWN_S", 60.0)
    path = tmp_path / "page.json"
    assert page.main(["--rounds", "1", "--most", "1000", "--json", str(path)]) == 0
    (found,) = json.loads(path.read_text())["read"]
    assert found["steps"] == 1_000
    # No browser has loaded a page and drawn seven charts within 50 ms.
    assert 0.05 < found["shown_s"]["value"] < 60
    assert 0 < found["wait_ms"]["value"] < 60_000
    assert 0 < found["zoom_ms"]["value"] < 60_000
    assert 10_000 < found["history_bytes"] < 1_000_000
    assert "1,000" in capsys.readouterr().out


@pytest.mark.usefixtures("judged")
def test_a_page_that_takes_too_long_fails(capsys, monkeypatch):
    monkeypatch.setattr(page, "MOST_SHOWN_S", 0.01)
    assert page.main(["--rounds", "1", "--most", "1000"]) == 1
    assert "FAILS" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--most", "999"]])
def test_what_cannot_be_measured_is_refused(options):
    with pytest.raises(SystemExit):
        page.parsed(options)
