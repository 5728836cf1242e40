"""The stand-in for what Grafana does to tables keeps to the law that it states."""

from typing import Any

import pytest

from tests.dashboards.grafana_table import table

AT_S = 1000.0
MERGED = {"id": "merge", "options": {}}
TREND = {
    "id": "timeSeriesTable",
    "filter": {"id": "byRefId", "options": "B"},
    "options": {"B": {"stat": "lastNotNull"}},
}


def sample(value: str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [AT_S, value]}


def panel(*formats: str, transformations: list[dict[str, Any]]) -> dict[str, Any]:
    targets = [
        {"refId": ref_id, "format": kind} for ref_id, kind in zip("ABC", formats, strict=False)
    ]
    return {"targets": targets, "transformations": transformations}


def organized(**renamed: str) -> dict[str, Any]:
    options = {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": renamed}
    return {"id": "organize", "options": options}


def test_rows_of_one_run_are_joined_and_a_run_that_one_query_lacks_stays():
    asked = panel("table", "table", transformations=[MERGED, organized()])
    answers = {"A": [sample("1", run="a"), sample("2", run="b")], "B": [sample("3", run="b")]}
    assert table(asked, answers) == [
        {"run": "a", "Value #A": 1.0},
        {"run": "b", "Value #A": 2.0, "Value #B": 3.0},
    ]


def test_rows_that_contradict_each_other_stay_apart():
    asked = panel("table", "table", transformations=[MERGED, organized()])
    answers = {
        "A": [sample("1", run="a", mode="off"), sample("1", run="a", mode="active")],
        "B": [sample("3", run="a")],
    }
    assert [row["mode"] for row in table(asked, answers)] == ["off", "active"]


def test_a_trend_joins_by_its_labels_although_it_has_no_time():
    points = [[AT_S - 1, "1"], [AT_S, "2"]]
    asked = panel("table", "time_series", "table", transformations=[TREND, MERGED, organized()])
    answers = {
        "A": [sample("2", run="a")],
        "B": [{"metric": {"run": "a"}, "values": points}],
        "C": [sample("9", run="a")],
    }
    row = {"run": "a", "Value #A": 2.0, "Trend #B": points, "Value #C": 9.0}
    assert table(asked, answers) == [row]


def test_columns_are_left_out_ordered_and_renamed_by_the_names_they_had():
    organize = organized(rule="verdict")
    organize["options"]["indexByName"] = {"rule": 0, "run": 1}
    organize["options"]["excludeByName"]["Value #B"] = True
    asked = panel("table", "table", transformations=[MERGED, organize])
    answers = {"A": [sample("1", run="a")], "B": [sample("1", run="a", rule="stall")]}
    (row,) = table(asked, answers)
    assert list(row.items()) == [("verdict", "stall"), ("run", "a"), ("Value #A", 1.0)]


def test_a_table_of_a_single_query_has_no_letter_in_its_column():
    asked = panel("table", transformations=[organized()])
    assert table(asked, {"A": [sample("1", run="a")]}) == [{"run": "a", "Value": 1.0}]


def test_no_answer_at_all_is_no_row():
    asked = panel("table", "table", transformations=[MERGED, organized()])
    assert table(asked, {"A": [], "B": []}) == []


def test_a_trend_without_a_filter_is_refused():
    with pytest.raises(KeyError, match="filter"):
        table(
            panel("table", transformations=[{"id": "timeSeriesTable", "options": {}}]),
            {"A": [sample("1", run="a")]},
        )
