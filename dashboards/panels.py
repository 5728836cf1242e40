"""The house style of our panels, so that a dashboard states nothing but its content."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

# Finest step of a query with a rate. Grafana makes `$__rate_interval` four times this, which holds
# several scrapes; a training step may well be longer, and `lines` bridges the gaps it leaves.
RATE_STEP = "15s"

OUTCOME_COLORS = {
    "mixed": "green",
    "all_correct": "blue",
    "all_wrong": "red",
    "uniform_other": "orange",
    "unscored": "#8e8e8e",
}

_FULL_LINE_WIDTH_PX = 2
_STACK_OPACITY_PERCENT = 45


def query(expr: str, legend: str = "", *, ref_id: str = "A") -> prometheus.Dataquery:
    """One PromQL query drawn over the dashboard's time range."""
    target = prometheus.Dataquery().expr(expr).ref_id(ref_id).legend_format(legend).range()
    target.datasource(DATASOURCE)
    return target.interval(RATE_STEP) if "$__rate_interval" in expr else target


def instant(expr: str, *, ref_id: str = "A") -> prometheus.Dataquery:
    """One PromQL query evaluated now, as a table."""
    target = prometheus.Dataquery().expr(expr).ref_id(ref_id).instant()
    return target.format(PromQueryFormat.TABLE).datasource(DATASOURCE)


def queries(expressions: Mapping[str, str]) -> list[prometheus.Dataquery]:
    """Legend -> expression, lettered A, B, C in the order given."""
    return [
        query(expr, legend, ref_id=chr(ord("A") + index))
        for index, (legend, expr) in enumerate(expressions.items())
    ]


def levels(*steps: tuple[float, str], base: str = "green") -> dashboard_builders.ThresholdsConfig:
    """Colours by value: `base` below the first level, then each colour from its level upwards."""
    thresholds = [dashboard.Threshold(value=None, color=base)]
    thresholds += [dashboard.Threshold(value=value, color=color) for value, color in steps]
    return (
        dashboard_builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps(thresholds)
    )


def properties(**values: object) -> list[dashboard.DynamicConfigValue]:
    """Field overrides; `custom__axisPlacement` stands for `custom.axisPlacement`."""
    return [
        dashboard.DynamicConfigValue(id_val=name.replace("__", "."), value=value)
        for name, value in values.items()
    ]


def color(name: str) -> dict[str, str]:
    """The value of a `color` override that pins one colour."""
    return {"mode": "fixed", "fixedColor": name}


def stat_panel(
    title: str,
    target: prometheus.Dataquery,
    *,
    description: str,
    unit: str,
    thresholds: dashboard_builders.ThresholdsConfig,
    decimals: int = 0,
) -> stat.Panel:
    """One figure with its recent course behind it; six of them fill a row."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(target)
        .unit(unit)
        .decimals(decimals)
        .thresholds(thresholds)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(4)
        .span(4)
    )


def lines(
    title: str,
    targets: Sequence[prometheus.Dataquery],
    *,
    description: str,
    unit: str,
    span: int,
    height: int = 7,
) -> timeseries.Panel:
    """Lines over time; missing points are bridged, because steps are rarer than scrapes."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(list(targets))
        .unit(unit)
        .line_width(_FULL_LINE_WIDTH_PX)
        .fill_opacity(0)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(True)
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull"])
        )
        .span(span)
        .height(height)
    )


def colored(panel: timeseries.Panel, colors: Mapping[str, str]) -> timeseries.Panel:
    """The same panel with fixed colours: name of a series -> colour."""
    for series, name in colors.items():
        panel.override_by_name(series, properties(color=color(name)))
    return panel


def states(
    title: str,
    targets: Sequence[prometheus.Dataquery],
    *,
    description: str,
    values: Mapping[str, tuple[str, str]],
) -> statetimeline.Panel:
    """One row for each series, coloured by its value: value -> (text, colour)."""
    results = {
        value: dashboard.ValueMappingResult(text=text, color=tint, index=index)
        for index, (value, (text, tint)) in enumerate(values.items())
    }
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(list(targets))
        .unit("none")
        .mappings([dashboard.ValueMap(options=results)])
        .merge_values(True)
        .legend(common_builders.VizLegendOptions().show_legend(False))
        .span(12)
        .height(7)
    )


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """The same panel with its series stacked as areas."""
    return (
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
        .fill_opacity(_STACK_OPACITY_PERCENT)
        .line_width(1)
    )


def table_panel(
    title: str,
    columns: Mapping[str, str],
    *,
    labels: str,
    description: str,
    unit: str,
    height: int = 7,
) -> table.Panel:
    """One row per label set, one column per expression; labels the queries share join the rows.

    Args:
        title: Shown above the table.
        columns: Column heading -> expression. Every expression must keep the joining label.
        labels: An expression whose labels become columns while its value is dropped.
        description: What a row means and what to do with it.
        unit: Unit of the columns that no override gives another.
        height: In grid rows.
    """
    targets = [
        instant(expr, ref_id=chr(ord("A") + index))
        for index, expr in enumerate([*columns.values(), labels])
    ]
    values = [f"Value #{target.build().ref_id}" for target in targets]
    organize = {
        "excludeByName": {"Time": True, values[-1]: True},
        "renameByName": dict(zip(values[:-1], columns, strict=True)),
    }
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(list(targets))
        .with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organize))
        .unit(unit)
        .span(24)
        .height(height)
    )
