"""The dashboards as they are checked in: up to date, well formed, and made of what exists."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from dashboards import build
from dashboards.queries import queries
from monitor_service.exposition import METRIC_NAMES

JSON_FILES = sorted(build.JSON_DIR.glob("*.json"))
VARIABLES = {"run": "run-a", "__rate_interval": "1m", "__range": "1h", "__interval": "15s"}
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}

PAGE = re.compile(r"\$\{monitor_url\}/#/(runs/RUN(/steps/STEP)?)?")
"""The views of the built-in page that dashboards lead to."""
IN_A_LINK = {"__value", "__field", "__url_time_range"}
"""Grafana's own, in the links of a cell or a series."""


def _document(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


DOCUMENTS = {path.stem: _document(path) for path in JSON_FILES}
EVERY_DOCUMENT = [pytest.param(document, id=uid) for uid, document in DOCUMENTS.items()]
EVERY_QUERY = [
    pytest.param(query, id=f"{uid}: {query.panel} {query.ref_id}")
    for uid, document in DOCUMENTS.items()
    for query in queries(document, VARIABLES)
]
PANELS = {
    f"{uid}: {panel['title']}": panel
    for uid, document in DOCUMENTS.items()
    for panel in document["panels"]
    if panel["type"] != "row"
}
EVERY_PANEL = [pytest.param(panel, id=name) for name, panel in PANELS.items()]


def _metric_names(expr: promql_parser.Expr) -> set[str]:
    names: set[str] = set()

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            names.add(node.name)
        return True

    promql_parser.walk(expr, visit)
    return names


def _inside(part: Any) -> Iterator[dict[str, Any]]:
    """Every object within a document, itself included."""
    if isinstance(part, dict):
        yield part
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _inside(one)


def _links(document: dict[str, Any]) -> list[str]:
    return [one["url"] for one in _inside(document) if "url" in one]


def test_the_files_checked_in_are_what_the_code_builds():
    assert build.outdated() == []
    assert set(JSON_FILES) == set(build.render())


def test_the_check_says_which_files_are_out_of_date(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "JSON_DIR", tmp_path)
    with pytest.raises(SystemExit, match=r"acr-overview\.json, acr-run\.json"):
        build.main(["--check"])
    build.main([])
    build.main(["--check"])


@pytest.mark.parametrize("query", EVERY_QUERY)
def test_every_query_uses_only_metrics_that_the_monitor_exposes(query):
    names = _metric_names(promql_parser.parse(query.expr))
    assert names
    assert names <= METRIC_NAMES


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_every_panel_says_what_it_shows_in_which_unit_and_why_it_may_be_empty(panel):
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["noValue"].endswith(".")


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_every_panel_asks_the_data_source_the_user_chose(panel):
    asked = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == PROMETHEUS for source in asked)


@pytest.mark.parametrize("document", EVERY_DOCUMENT)
def test_every_panel_has_a_number_and_a_name_of_its_own(document):
    for name in ("id", "title"):
        counts = Counter(panel[name] for panel in document["panels"])
        assert max(counts.values()) == 1, counts


@pytest.mark.parametrize("document", EVERY_DOCUMENT)
def test_the_panels_fill_the_grid_without_overlap(document):
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in document["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    height = max(y for _, y in cells) + 1
    assert len(cells) == len(set(cells)) == 24 * height


@pytest.mark.parametrize("document", EVERY_DOCUMENT)
def test_every_link_leads_to_a_dashboard_of_ours_or_to_a_view_of_the_page(document):
    links = _links(document)
    assert links
    for url in links:
        plain = url.replace("${__value.raw:percentencode}", "RUN")
        plain = plain.replace("${run:percentencode}", "RUN").replace("${__value.raw}", "STEP")
        assert PAGE.fullmatch(plain) or url.partition("?")[0].removeprefix("/d/") in DOCUMENTS, url


@pytest.mark.parametrize("document", EVERY_DOCUMENT)
def test_a_link_to_the_other_dashboard_keeps_time_data_source_and_address(document):
    kept = {"${datasource:queryparam}", "${monitor_url:queryparam}", "${__url_time_range}"}
    for link in _inside(document):
        if link.get("url", "").startswith("/d/"):
            keeps_all = link.get("keepTime") and link.get("includeVars")
            assert keeps_all or kept <= set(link["url"].partition("?")[2].split("&"))


@pytest.mark.parametrize("document", EVERY_DOCUMENT)
def test_every_variable_that_is_used_is_there(document):
    there = {variable["name"] for variable in document["templating"]["list"]}
    text = json.dumps([document["panels"], document["annotations"], document["links"]])
    used = set(re.findall(r"\$\{?(\w+)", text))
    assert used <= there | VARIABLES.keys() - {"run"} | IN_A_LINK
    assert there <= used


def test_the_address_of_the_page_is_one_that_a_user_can_change():
    for document in DOCUMENTS.values():
        (address,) = [one for one in document["templating"]["list"] if one["name"] == "monitor_url"]
        assert address["type"] == "textbox"
        assert address["query"] == address["current"]["value"] == "http://127.0.0.1:8400"


def test_what_happened_is_asked_in_the_place_of_every_grafana():
    measured = [
        one
        for one in DOCUMENTS["acr-run"]["annotations"]["list"]
        if one["datasource"] == PROMETHEUS
    ]
    assert len(measured) == 4
    for one in measured:
        assert one["expr"] == one["target"]["expr"]
        assert one["step"] == one["target"]["interval"]


def test_annotations_of_the_command_are_found_by_the_tags_it_writes():
    (told,) = [
        one
        for one in DOCUMENTS["acr-run"]["annotations"]["list"]
        if one["datasource"] == {"type": "grafana", "uid": "-- Grafana --"}
    ]
    assert told["target"]["type"] == "tags"
    assert told["target"]["tags"] == ["acr", "run:${run}"]
    assert told["target"]["matchAny"] is False


def test_a_colour_has_one_meaning_and_a_meaning_one_colour():
    colors: dict[str, set[str]] = defaultdict(set)
    for panel in PANELS.values():
        for override in panel["fieldConfig"]["overrides"]:
            for change in override["properties"]:
                if change["id"] == "color" and override["matcher"]["id"] == "byName":
                    colors[override["matcher"]["options"]].add(change["value"]["fixedColor"])
    assert {name: tints for name, tints in colors.items() if len(tints) > 1} == {}
    outcomes = ("mixed", "all_correct", "all_wrong", "uniform_other", "unscored")
    assert len({tint for name in outcomes for tint in colors[name]}) == len(outcomes)
    # Whatever is about a side has the colour of its groups.
    for side in ("wrong", "correct"):
        assert colors[side] == colors[f"{side}, shadow"] == colors[f"all_{side}"]


def test_an_empty_cell_does_not_say_why_the_table_is_empty():
    tables = [panel for panel in PANELS.values() if panel["type"] == "table"]
    assert len(tables) == 2
    for panel in tables:
        first = panel["fieldConfig"]["overrides"][0]
        assert first["matcher"] == {"id": "byRegexp", "options": "/.*/"}
        assert first["properties"] == [{"id": "noValue", "value": "-"}]


def test_a_variable_that_is_not_filled_in_is_an_error():
    with pytest.raises(KeyError, match="run"):
        queries(DOCUMENTS["acr-run"], {"__rate_interval": "1m", "__range": "1h"})
