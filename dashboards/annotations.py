"""What happened to a run, marked on its graphs.

The marks from metrics need nothing set up, and are as exact as the graph's points are apart. Those
that `acr grafana annotate` wrote say who did it and why.
"""

from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard

from dashboards import palette, panels
from dashboards.promql import begun, changed, gauge, rate

_GRAFANA = common.DataSourceRef(type_val="grafana", uid="-- Grafana --")
_MOST_MARKS = 500


def of_run() -> list[dashboard_builders.AnnotationQuery]:
    """All of the chosen run."""
    return [
        _measured(
            "Intervening",
            f"{rate('acr_intervened_steps_total')} > 0",
            title="groups were injected",
            color=palette.INJECTED,
        ),
        _measured(
            "Settings changed",
            changed("acr_settings_revision"),
            title="somebody changed the settings",
            color=palette.INFO,
        ),
        _measured(
            "Alarms raised",
            begun("acr_alarm_active", "rule", "severity"),
            title="{{rule}} ({{severity}})",
            color=palette.WARNING,
        ),
        _measured(
            "Killed",
            f"{gauge('acr_killed')} > 0",
            title="killed, until somebody re-arms",
            color=palette.CRITICAL,
        ),
        _written(),
    ]


def _measured(
    name: str, expr: str, *, title: str, color: str
) -> dashboard_builders.AnnotationQuery:
    """A mark where `expr` is above 0, or a region as long as it stays there."""
    target = panels.query(expr, ref_id="Anno").interval(panels.RATE_STEP)
    return (
        dashboard_builders.AnnotationQuery()
        .name(name)
        .datasource(panels.DATASOURCE)
        .enable(True)
        .icon_color(color)
        .target(target)
        # Where older Grafanas look for it.
        .expr(expr)
        .step(panels.RATE_STEP)
        .title_format(title)
    )


def _written() -> dashboard_builders.AnnotationQuery:
    return (
        dashboard_builders.AnnotationQuery()
        .name("Told by acr grafana annotate")
        .datasource(_GRAFANA)
        .enable(True)
        .icon_color(palette.QUIET)
        .target(_Tagged("acr", "run:${run}"))
    )


class _Tagged(Builder[Dataquery]):
    """Annotations that Grafana keeps itself and that have all of these tags."""

    def __init__(self, *tags: str) -> None:
        self._target = dashboard.AnnotationTarget(
            limit=_MOST_MARKS, match_any=False, tags=list(tags), type_val="tags"
        )

    def build(self) -> Dataquery:
        return UnknownDataquery(self._target.to_json())
