"""What is written about the project agrees with the project."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import trl

from monitor_service.__about__ import __version__
from monitor_service.api.errors import STATUS, problem_type
from monitor_service.engine.events import KINDS
from monitor_service.engine.health.rules import RULES
from monitor_service.engine.profiles import PROFILES
from monitor_service.engine.settings import TUNABLE, Settings
from monitor_service.engine.virtual import STRATEGIES
from monitor_service.exposition import METRIC_NAMES
from trainer.config import GRPOConfig
from trainer.methods.registry import METHODS

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


def section(heading: str) -> str:
    """The part of the reference under one heading, up to the next of its level."""
    level = heading.partition(" ")[0]
    (found,) = re.findall(
        rf"^{heading}\n(.*?)(?=^{level} |\Z)", REFERENCE, re.MULTILINE | re.DOTALL
    )
    return str(found)


def rows(text: str) -> dict[str, list[str]]:
    """First cell of every row of every table -> the others; a cell may name several things."""
    table = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return {name: rest for first, *rest in table for name in re.findall(r"`(\w+)`", first)}


def test_every_setting_is_in_the_reference_and_no_other() -> None:
    tunable = section("## Settings").partition("### Profiles")[0]
    assert set(rows(tunable)) == set(TUNABLE)


@pytest.mark.parametrize("name", TUNABLE)
def test_every_default_in_the_reference_is_the_default(name: str) -> None:
    stated = rows(section("## Settings").partition("### Profiles")[0])[name][1].strip("`")
    default = getattr(Settings(), name)
    words = {None: "null", True: "true", False: "false"}
    is_word = default is None or isinstance(default, bool)
    assert stated == (words[default] if is_word else str(default))


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_in_the_reference_with_its_values(name: str) -> None:
    table = section("### Profiles").partition("`paper`, `guarded` and")[0]
    header, _, *lines = [line for line in table.splitlines() if line.startswith("|")]
    column = [cell.strip() for cell in header.strip("|").split("|")].index(f"`{name}`")
    for line in lines:
        cells = [cell.strip().replace("*", "") for cell in line.strip("|").split("|")]
        fields = re.findall(r"`(\w+)`", cells[0])
        stated = [part.strip() for part in cells[column].split(",") if part.strip()]
        values = [str(PROFILES[name][field]) for field in fields if field in PROFILES[name]]
        plain = [value.replace("None", "null").removesuffix(".0").lower() for value in values]
        # One cell for fields that share their value.
        assert stated in (plain, plain[:1] if len(set(plain)) == 1 else plain), fields


def test_the_profiles_differ_from_the_defaults_only_where_the_reference_says() -> None:
    listed = set(re.findall(r"^\| (.*?) \|", section("### Profiles"), re.MULTILINE))
    named = {name for cell in listed for name in re.findall(r"`(\w+)`", cell)}
    for name, profile in PROFILES.items():
        moved = {field for field, value in profile.items() if value != getattr(Settings(), field)}
        assert moved <= named, name


def test_every_option_of_the_trainer_is_in_the_reference_and_no_other() -> None:
    theirs = {option.name for option in fields(trl.GRPOConfig)}
    ours = {option.name for option in fields(GRPOConfig)} - theirs
    listed = re.findall(r"^\| (.*?) \|", section("## GRPOConfig"), re.MULTILINE)
    assert {name for cell in listed for name in re.findall(r"`(\w+)`", cell)} == ours


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_explained_with_what_it_sets(name: str) -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    row = rows(page.partition("## Dynamic sampling")[0])[name]
    options = METHODS[name].options
    for option, value in options.items():
        told = value if isinstance(value, str) else f"{value:g}"
        stated = f"`{option}`" if value is True else f"`{option}: {told}`"
        # What stands at TRL's default is set all the same, and need not be told.
        is_default = value == getattr(trl.GRPOConfig, option, None)
        assert stated in row[1] or is_default, option


def test_every_metric_is_in_the_reference_and_no_other() -> None:
    assert set(rows(section("## Metrics"))) == METRIC_NAMES


def test_every_kind_of_event_is_in_the_reference_and_no_other() -> None:
    assert set(rows(section("## Events"))) == set(KINDS)


@pytest.mark.parametrize("name", [*(rule.name for rule in RULES), "reports_stopped"])
def test_every_health_rule_is_explained(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "health.md").read_text()


def test_every_route_is_in_the_reference() -> None:
    routes = re.compile(r'^@router\.(\w+)\(\s*"([^"]*)"', re.MULTILINE)
    prefix = re.compile(r'APIRouter\((?:prefix="([^"]*)")?')
    found = set()
    for path in (ROOT / "monitor_service" / "api" / "routes").glob("*.py"):
        text = path.read_text()
        if at := prefix.search(text):
            found |= {(verb.upper(), (at[1] or "") + rest) for verb, rest in routes.findall(text)}
    assert len(found) > 15
    described = set(re.findall(r"`([A-Z|]+) (/[^`]*)`", section("## REST")))
    assert {(verb, path.replace("{run_id}", "{id}")) for verb, path in found} == described


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


def anchors(page: Path) -> set[str]:
    """What links may name in a page: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda path: path.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
