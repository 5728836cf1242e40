"""Tables of several queries, joined by a label that all of them have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import prometheus, table
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.panels import DATASOURCE, properties, query

_TREND_POINTS = 100
"""Of a line as small as a cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What one query adds to a table, from left to right.

    Attributes:
        expr: has one series for each row. Of its labels there are those of the join and `labels`.
        labels: label -> heading of its column.
        value: heading of the column of the value; "": there is none.
        is_trend: the value is a small graph of the time shown.
    """

    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str = ""
    is_trend: bool = False

    def target(self, ref_id: str) -> prometheus.Dataquery:
        """The query itself."""
        if self.is_trend:
            return query(self.expr, ref_id=ref_id)
        target = prometheus.Dataquery().expr(self.expr).ref_id(ref_id).instant()
        return target.format(PromQueryFormat.TABLE).datasource(DATASOURCE)

    def headings(self, ref_id: str) -> dict[str, str]:
        """Name that Grafana gives a column -> heading."""
        name = f"Trend #{ref_id}" if self.is_trend else f"Value #{ref_id}"
        return {**self.labels, name: self.value}


def joined(
    title: str,
    key: str,
    columns: Sequence[Columns],
    *,
    description: str,
    empty: str,
    unit: str,
    span: int,
    height: int,
) -> table.Panel:
    """One row for each value of the label `key`, which is the first column.

    Args:
        title: Shown above the table.
        key: The label.
        columns: At least two queries.
        description: What a row means and what to do with it.
        empty: Why there may be no row.
        unit: Unit of the columns that no override gives another.
        span: In grid columns, of 24.
        height: In grid rows.
    """
    lettered = {chr(ord("A") + index): one for index, one in enumerate(columns)}
    headings = {key: key}
    for ref_id, one in lettered.items():
        headings |= one.headings(ref_id)
    shown = {name: heading for name, heading in headings.items() if heading}
    organize = {
        "excludeByName": {"Time": True} | {name: True for name in headings if name not in shown},
        "indexByName": {name: index for index, name in enumerate(shown)},
        "renameByName": {name: heading for name, heading in shown.items() if name != heading},
    }
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets([one.target(ref_id) for ref_id, one in lettered.items()])
        .no_value(empty)
        .unit(unit)
        # What `empty` says is of the whole table.
        .override_by_regexp("/.*/", properties(noValue="-"))
        .span(span)
        .height(height)
    )
    for ref_id in (ref_id for ref_id, one in lettered.items() if one.is_trend):
        panel.max_data_points(_TREND_POINTS).with_transformation(_trend(ref_id))
    return panel.with_transformation(
        dashboard.DataTransformerConfig(id_val="merge", options={})
    ).with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organize))


def _trend(ref_id: str) -> dashboard.DataTransformerConfig:
    """Without the filter a table of one row would pass for a time series as well."""
    return dashboard.DataTransformerConfig(
        id_val="timeSeriesTable",
        filter_val=dashboard.MatcherConfig(id_val="byRefId", options=ref_id),
        options={ref_id: {"stat": "lastNotNull"}},
    )


SPARKLINE = common.TableSparklineCellOptions(
    line_width=1, fill_opacity=10, show_points=common.VisibilityMode.NEVER, hide_value=True
)
"""The cell of a trend."""
