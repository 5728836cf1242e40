"""The dashboard as it is checked in: up to date, well formed, and made of metrics that exist."""

import json
from pathlib import Path

import promql_parser
import pytest

from dashboards import build
from dashboards.queries import queries
from monitor_service.exposition import METRIC_NAMES

JSON_FILES = sorted(build.JSON_DIR.glob("*.json"))
VARIABLES = {"run": "run-a", "__rate_interval": "1m", "__range": "1h"}


def _document(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


EVERY_QUERY = [
    pytest.param(query, id=f"{path.stem}: {query.panel} {query.ref_id}")
    for path in JSON_FILES
    for query in queries(_document(path), VARIABLES)
]
EVERY_PANEL = [
    pytest.param(panel, id=f"{path.stem}: {panel['title']}")
    for path in JSON_FILES
    for panel in _document(path)["panels"]
]


def _metric_names(expr: promql_parser.Expr) -> set[str]:
    names: set[str] = set()

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            names.add(node.name)
        return True

    promql_parser.walk(expr, visit)
    return names


def test_the_files_checked_in_are_what_the_code_builds():
    assert build.outdated() == []
    assert set(JSON_FILES) == set(build.render())


def test_the_check_says_which_file_is_out_of_date(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "JSON_DIR", tmp_path)
    with pytest.raises(SystemExit, match=r"acr-run\.json"):
        build.main(["--check"])
    build.main([])
    build.main(["--check"])


@pytest.mark.parametrize("query", EVERY_QUERY)
def test_every_query_uses_only_metrics_that_the_monitor_exposes(query):
    names = _metric_names(promql_parser.parse(query.expr))
    assert names
    assert names <= METRIC_NAMES


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_every_panel_says_what_it_shows_and_in_which_unit(panel):
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_every_panel_asks_the_data_source_the_user_chose(panel):
    asked = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in asked)


@pytest.mark.parametrize("path", JSON_FILES, ids=lambda path: path.stem)
def test_the_panels_fill_the_grid_without_overlap(path):
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in _document(path)["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    height = max(y for _, y in cells) + 1
    assert len(cells) == len(set(cells)) == 24 * height


def test_a_variable_that_is_not_filled_in_is_an_error():
    document = _document(JSON_FILES[0])
    with pytest.raises(KeyError, match="run"):
        queries(document, {"__rate_interval": "1m", "__range": "1h"})
