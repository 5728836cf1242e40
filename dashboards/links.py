"""Where a click leads: from one dashboard to the other, and to the page that the monitor serves."""

from grafana_foundation_sdk.builders import dashboard as dashboard_builders

OVERVIEW = "acr-overview"
RUN = "acr-run"

_PAGE = "${monitor_url}/#"
# What the other dashboard keeps of this one. `includeVars` is for links that name no run.
_KEPT = "${datasource:queryparam}&${monitor_url:queryparam}&${__url_time_range}"

RUNS_PAGE = f"{_PAGE}/"
RUN_PAGE = f"{_PAGE}/runs/${{run:percentencode}}"
GROUPS_PAGE = f"{RUN_PAGE}/steps/${{__value.raw}}"
"""The groups of the step whose number was clicked."""

CLICKED_RUN_PAGE = f"{_PAGE}/runs/${{__value.raw:percentencode}}"
CLICKED_RUN = f"/d/{RUN}?var-run=${{__value.raw:percentencode}}&{_KEPT}"
"""The dashboard of the run whose name was clicked."""
LABELLED_RUN = f"/d/{RUN}?var-run=${{__field.labels.run:percentencode}}&{_KEPT}"
"""The dashboard of the run whose series was clicked."""


def to_page(title: str, url: str) -> dashboard_builders.DashboardLink:
    """To the monitor's own page, in a tab of its own."""
    return to(title, url).target_blank(True)


def to_dashboard(title: str, uid: str) -> dashboard_builders.DashboardLink:
    """To another dashboard, with the time range and the variables of this one."""
    return to(title, f"/d/{uid}").keep_time(True).include_vars(True)


def to(title: str, url: str) -> dashboard_builders.DashboardLink:
    """To an address, as it stands."""
    link = dashboard_builders.DashboardLink(title).url(url)
    # The SDK would hide it in a menu; without a placement it stands above the panels.
    link.build().placement = None  # type: ignore[assignment]
    return link
