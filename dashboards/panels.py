"""The house style of our panels, so that a dashboard states nothing but its content.

Every panel says in `empty` why it may show nothing.
"""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common, dashboard

from dashboards import palette

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

# Finest step of a query with a rate. Grafana makes `$__rate_interval` four times this, which holds
# several scrapes; a training step may well be longer, and `lines` bridges the gaps it leaves.
RATE_STEP = "15s"

NOTHING = "Nothing was reported, or the monitor was not scraped, in the time shown."

_FULL_LINE_WIDTH_PX = 2
_STACK_OPACITY_PERCENT = 45


def query(expr: str, legend: str = "", *, ref_id: str = "A") -> prometheus.Dataquery:
    """One PromQL query drawn over the dashboard's time range."""
    target = prometheus.Dataquery().expr(expr).ref_id(ref_id).legend_format(legend).range()
    target.datasource(DATASOURCE)
    return target.interval(RATE_STEP) if "$__rate_interval" in expr else target


def queries(expressions: Mapping[str, str]) -> list[prometheus.Dataquery]:
    """Legend -> expression, lettered A, B, C in the order given."""
    return [
        query(expr, legend, ref_id=chr(ord("A") + index))
        for index, (legend, expr) in enumerate(expressions.items())
    ]


def levels(
    *steps: tuple[float, str], base: str = palette.MAIN
) -> dashboard_builders.ThresholdsConfig:
    """Colours by value: `base` below the first level, then each colour from its level upwards."""
    thresholds = [dashboard.Threshold(value=None, color=base)]
    thresholds += [dashboard.Threshold(value=value, color=color) for value, color in steps]
    return (
        dashboard_builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps(thresholds)
    )


def named(values: Mapping[str, tuple[str, str]]) -> list[dashboard.ValueMapping]:
    """Words and colours in place of numbers: value -> (text, colour)."""
    results = {
        value: dashboard.ValueMappingResult(text=text, color=tint, index=index)
        for index, (value, (text, tint)) in enumerate(values.items())
    }
    return [dashboard.ValueMap(options=results)]


def properties(**values: object) -> list[dashboard.DynamicConfigValue]:
    """Field overrides; `custom__axisPlacement` stands for `custom.axisPlacement`."""
    return [
        dashboard.DynamicConfigValue(id_val=name.replace("__", "."), value=value)
        for name, value in values.items()
    ]


def color(name: str) -> dict[str, str]:
    """The value of a `color` override that pins one colour."""
    return {"mode": "fixed", "fixedColor": name}


def on_the_right(unit: str, tint: str, **more: object) -> list[dashboard.DynamicConfigValue]:
    """Overrides of a series that has another unit than the rest, and an axis of its own."""
    return properties(unit=unit, custom__axisPlacement="right", color=color(tint), **more)


def figures(
    title: str,
    targets: Sequence[prometheus.Dataquery],
    *,
    description: str,
    empty: str,
    unit: str,
    span: int,
    decimals: int = 0,
    thresholds: dashboard_builders.ThresholdsConfig | None = None,
) -> stat.Panel:
    """The newest figures, large; behind a query over time also its recent course."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(list(targets))
        .no_value(empty)
        .unit(unit)
        .decimals(decimals)
        .thresholds(thresholds or levels())
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(4)
        .span(span)
    )


def lines(
    title: str,
    targets: Sequence[prometheus.Dataquery],
    *,
    description: str,
    empty: str,
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
        .no_value(empty)
        .unit(unit)
        .color_scheme(
            dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME)
        )
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


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """The same panel with its series stacked as areas."""
    return (
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
        .fill_opacity(_STACK_OPACITY_PERCENT)
        .line_width(1)
    )


def states(
    title: str,
    targets: Sequence[prometheus.Dataquery],
    *,
    description: str,
    empty: str,
    values: Mapping[str, tuple[str, str]],
    height: int = 7,
) -> statetimeline.Panel:
    """One row for each series, coloured by its value: value -> (text, colour)."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(list(targets))
        .no_value(empty)
        .unit("none")
        .mappings(named(values))
        .merge_values(True)
        .legend(common_builders.VizLegendOptions().show_legend(False))
        .span(12)
        .height(height)
    )
