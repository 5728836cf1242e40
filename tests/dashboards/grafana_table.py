"""What Grafana makes of a table panel and the answers to its queries.

The law, from Grafana's documentation and from its source for what that leaves open:

- An instant query in the format `table` is a frame of rows with `Time`, a column for each label,
  and `Value #REFID`; of a panel with a single such query, `Value`. No sample: no frame.
- A range query is one frame for each series. `timeSeriesTable` makes one frame of them: a column
  for each label, and `Trend #REFID` with the points. Frames that its filter does not name stay as
  they are. Without a filter a frame of one row, which has a time and a number, is a series too.
- `merge` joins rows that agree in every column that all frames have, unless they contradict each
  other in another.
- `organize` leaves out, orders and renames columns by their names before it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
Frames = dict[str, list[Row]]
"""By the letter of the query they answer."""
Answers = Mapping[str, Sequence[Mapping[str, Any]]]

_POINTS = "points of a series"


def table(panel: Mapping[str, Any], answers: Answers) -> list[Row]:
    """The rows that are shown, by heading; a cell without a value is absent.

    Args:
        panel: As Grafana stores it.
        answers: Letter of the query -> `result` of Prometheus.
    """
    frames = _frames(panel["targets"], answers)
    for step in panel["transformations"]:
        frames = _STEPS[step["id"]](frames, step)
    (rows,) = frames.values() if frames else [[]]
    return rows


def _frames(targets: Sequence[Mapping[str, Any]], answers: Answers) -> Frames:
    is_alone = sum(target.get("format") == "table" for target in targets) == 1
    frames: Frames = {}
    for target in targets:
        ref_id = target["refId"]
        value = "Value" if is_alone else f"Value #{ref_id}"
        frames[ref_id] = [
            {"Time": one["value"][0], **one["metric"], value: float(one["value"][1])}
            if target.get("format") == "table"
            else {**one["metric"], _POINTS: one["values"]}
            for one in answers[ref_id]
        ]
    return {ref_id: rows for ref_id, rows in frames.items() if rows}


def _time_series_table(frames: Frames, step: Mapping[str, Any]) -> Frames:
    ref_id = step["filter"]["options"]
    series = [
        {f"Trend #{ref_id}" if name == _POINTS else name: cell for name, cell in row.items()}
        for row in frames.get(ref_id, [])
    ]
    return {**frames, ref_id: series} if series else frames


def _merge(frames: Frames, _: Mapping[str, Any]) -> Frames:
    columns = [set().union(*rows) for rows in frames.values()]
    key = set.intersection(*columns) if columns else set()
    assert key or len(frames) < 2, f"nothing to join by: {columns}"
    merged: list[Row] = []
    for row in (row for rows in frames.values() for row in rows):
        for known in merged:
            agrees = all(known[name] == row[name] for name in known.keys() & row.keys())
            if agrees and all(known.get(name) == row.get(name) for name in key):
                known.update(row)
                break
        else:
            merged.append(dict(row))
    return {"merged": merged} if merged else {}


def _organize(frames: Frames, step: Mapping[str, Any]) -> Frames:
    options = step["options"]
    left_out = {name for name, is_out in options["excludeByName"].items() if is_out}
    order = options["indexByName"]
    return {
        ref_id: [
            {
                options["renameByName"].get(name, name): row[name]
                for name in sorted(row, key=lambda name: order.get(name, len(order)))
                if name not in left_out
            }
            for row in rows
        ]
        for ref_id, rows in frames.items()
    }


_STEPS = {"timeSeriesTable": _time_series_table, "merge": _merge, "organize": _organize}
