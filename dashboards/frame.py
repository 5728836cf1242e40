"""What both dashboards have around their panels: data source, address of the page, links."""

from collections.abc import Iterable, Sequence

from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard

from dashboards import panels

Part = dashboard_builders.Row | stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel

DEFAULT_MONITOR_URL = "http://127.0.0.1:8400"


def framed(
    title: str,
    uid: str,
    *,
    description: str,
    since: str,
    refresh: str,
    variables: Iterable[dashboard_builders.QueryVariable] = (),
    annotations: Iterable[dashboard_builders.AnnotationQuery] = (),
    links: Sequence[dashboard_builders.DashboardLink],
    parts: Iterable[Part],
) -> dashboard.Dashboard:
    """The whole dashboard, ready to be written as JSON.

    Args:
        title: Its name.
        uid: The last part of its address, by which links find it.
        description: Shown beside its name.
        since: Beginning of the time range it opens with, such as `now-1h`.
        refresh: How often it asks anew, such as `10s`.
        variables: Asked of the data source, after those that both dashboards have.
        annotations: Marks on the graphs.
        links: Above the panels.
        parts: Panels and the rows above them, from the top left.
    """
    builder = (
        dashboard_builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["acr", "grpo"])
        .time(since, "now")
        .refresh(refresh)
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .links(list(links))
        .annotations(list(annotations))
        .with_variable(
            dashboard_builders.DatasourceVariable("datasource")
            .label("Data source")
            .type("prometheus")
        )
    )
    for variable in variables:
        builder.with_variable(variable)
    builder.with_variable(_monitor_url())
    for number, part in enumerate(parts, start=1):
        if isinstance(part, dashboard_builders.Row):
            builder.with_row(part.id(number))
        else:
            builder.with_panel(part.id(number))
    return builder.build()


def run_variable() -> dashboard_builders.QueryVariable:
    """Which run is shown."""
    values = "label_values(acr_run_info, run)"
    return (
        dashboard_builders.QueryVariable("run")
        .label("Run")
        .datasource(panels.DATASOURCE)
        .query(values)
        .definition(values)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )


def _monitor_url() -> dashboard_builders.TextBoxVariable:
    address = dashboard.VariableOption(text=DEFAULT_MONITOR_URL, value=DEFAULT_MONITOR_URL)
    return (
        dashboard_builders.TextBoxVariable("monitor_url")
        .label("Monitor")
        .description("Where your browser reaches the monitor, for the links to its page.")
        .default_value(DEFAULT_MONITOR_URL)
        .current(address)
        .options([address])
    )
