"""What is written about the project agrees with the project."""

import re
import tomllib
from pathlib import Path

import pytest

from monitor_service.__about__ import __version__
from monitor_service.api.errors import STATUS, problem_type
from monitor_service.engine.settings import TUNABLE
from monitor_service.engine.virtual import STRATEGIES
from monitor_service.exposition import METRIC_NAMES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
README = (ROOT / "README.md").read_text()


DEPENDENCIES = {
    re.split(r"[\[<>=!;~ ]", one)[0]: one
    for extra in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for one in extra
    if not one.startswith(PROJECT["name"])
}


def test_the_newest_changelog_entry_is_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == __version__


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_every_dependency_is_bounded_and_has_its_reason(name: str) -> None:
    assert f"`{name}" in (ROOT / "docs" / "dependencies.md").read_text()
    assert "<" in DEPENDENCIES[name] or "==" in DEPENDENCIES[name]


@pytest.mark.parametrize("name", [*TUNABLE, *sorted(METRIC_NAMES)])
def test_every_setting_and_metric_is_in_the_reference(name: str) -> None:
    assert f"`{name}" in REFERENCE


def test_the_readme_shows_metrics_that_exist() -> None:
    shown = set(re.findall(r"`(acr_[a-z_]+)", README.partition("## Metrics")[2]))
    assert shown - METRIC_NAMES == set()
    assert len(shown) >= 10


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
def test_every_error_is_in_the_reference(kind: type) -> None:
    assert problem_type(kind) in REFERENCE


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_is_explained(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "control.md").read_text()


def test_the_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE)) <= targets


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda path: path.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
