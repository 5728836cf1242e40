"""The dashboard "ACR overview": which of all runs need a look."""

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard

from dashboards import frame, links, palette, panels, tables
from dashboards.promql import each_run, gauge, grown, one_for_each_run, or_none, ranks, ratio, worst
from dashboards.run import ACR_LEVELS

_ALL = ""
_MOST_LINES = 12
_MOST_ALARMS = 20
_STATES = {
    "training": palette.GOOD,
    "waiting": palette.QUIET,
    "silent": palette.CRITICAL,
    "ended": palette.INFO,
}
_DELIVERIES = {
    "delivered": palette.GOOD,
    "failed": palette.WARNING,
    "refused": palette.CRITICAL,
    "expired": palette.CRITICAL,
}


def build() -> dashboard.Dashboard:
    """The whole dashboard, ready to be written as JSON."""
    return frame.framed(
        "ACR overview",
        links.OVERVIEW,
        description="All runs of a monitor: which of them need a look, and whether people hear of "
        "it. A click on a run leads to its dashboard.",
        since="now-6h",
        refresh="30s",
        links=[
            links.to_page("All runs in the monitor", links.RUNS_PAGE),
            links.to_dashboard("One run", links.RUN),
        ],
        parts=[
            _states_now(),
            _alarms_now(),
            _untold(),
            _runs(),
            _collapse(),
            _outcomes(),
            _alarms(),
            _states(),
            _deliveries(),
        ],
    )


def _states_now() -> stat.Panel:
    panel = _now(
        "Runs",
        {state: gauge("acr_runs", where=f'state="{state}"') for state in _STATES},
        description="Runs by how they stand. waiting: nothing was reported yet. silent: reports "
        "stopped although the trainer did not say that it ended, so look at its log; the table "
        "names them by the verdict reports_stopped.",
        span=9,
    )
    for state, color in _STATES.items():
        panel.override_by_name(state, _when_any(color))
    return panel


def _alarms_now() -> stat.Panel:
    severities = {rank: palette.SEVERITIES[rank] for rank in "321"}
    panel = _now(
        "Alarms",
        {
            name: f"count({ranks(_ALL)} == {rank}) or vector(0)"
            for rank, (name, _) in severities.items()
        },
        description="Alarms that are raised now, of all runs. Begin with the critical ones: the "
        "table names the worst of each run. An info needs nothing done.",
        span=9,
    )
    for name, color in severities.values():
        panel.override_by_name(name, _when_any(color))
    return panel


def _untold() -> stat.Panel:
    panel = _now(
        "Alerts that did not get through",
        {
            outcome: grown("acr_alert_deliveries_total", "sink", where=f'outcome="{outcome}"')
            for outcome in ("failed", "refused", "expired")
        },
        description="Deliveries in the time shown. failed is repeated, refused and expired are "
        "given up: people have not heard of an alarm. GET /v1/alerts says which sink and why.",
        span=6,
    )
    for outcome in ("failed", "refused", "expired"):
        panel.override_by_name(outcome, _when_any(_DELIVERIES[outcome]))
    return panel


def _now(title: str, counts: dict[str, str], *, description: str, span: int) -> stat.Panel:
    targets = [target.instant() for target in panels.queries(counts)]
    return panels.figures(
        title,
        targets,
        description=description,
        empty="No answer from the monitor.",
        unit="none",
        span=span,
    ).graph_mode(common.BigValueGraphMode.NONE)


def _when_any(color: str) -> list[dashboard.DynamicConfigValue]:
    """A count in this colour, from 1 on."""
    return panels.properties(thresholds=panels.levels((1, color), base=palette.QUIET).build())


def _runs() -> table.Panel:
    mode = one_for_each_run(f"{each_run('acr_acting_mode', 'mode')} == 1")
    info = one_for_each_run(each_run("acr_run_info", "controller"))
    wrong = gauge("acr_smoothed_collapsed_ratio", "run", where='outcome="all_wrong"')
    runs = tables.joined(
        "Every run",
        "run",
        [
            tables.Columns(expr=worst(_ALL), labels={"rule": "verdict"}, value="severity"),
            tables.Columns(expr=each_run("acr_smoothed_ratio"), value="ACR"),
            tables.Columns(expr=each_run("acr_smoothed_ratio"), value="trend", is_trend=True),
            tables.Columns(expr=wrong, value="all wrong"),
            tables.Columns(expr=each_run("acr_reward_mean"), value="reward"),
            tables.Columns(expr=each_run("acr_threshold_ratio"), value="threshold"),
            tables.Columns(expr=mode, labels={"mode": "mode"}),
            tables.Columns(expr=info, labels={"controller": "controller"}),
            tables.Columns(expr=each_run("acr_step"), value="step"),
            tables.Columns(
                expr=f"time() - {each_run('acr_last_report_timestamp_seconds')}",
                value="last report",
            ),
        ],
        description="Every run the monitor shows, the worst first. verdict is its most severe "
        "alarm; ACR is smoothed over the last groups, with its course beside it and the part of it "
        "that is all-wrong. Click a run to look into it. An old last report without a critical "
        "verdict is of a run that has ended; after a day without a report a run leaves.",
        empty="The monitor shows no run: nothing was reported in the last day.",
        unit="none",
        span=24,
        height=11,
    ).sort_by([common_builders.TableSortByFieldState().display_name("severity").desc(True)])
    share = {"unit": "percentunit", "decimals": 1}
    to_run = [
        {"title": "Show this run", "url": links.CLICKED_RUN},
        {"title": "Open it in the monitor", "url": links.CLICKED_RUN_PAGE, "targetBlank": True},
    ]
    columns: dict[str, dict[str, object]] = {
        "run": {"links": to_run},
        "severity": {
            "mappings": panels.named(palette.SEVERITIES),
            "custom__cellOptions": {"type": "color-text"},
        },
        "ACR": {
            **share,
            "thresholds": panels.levels(*ACR_LEVELS).build(),
            "custom__cellOptions": {"type": "color-text"},
        },
        "trend": {
            "custom__cellOptions": tables.SPARKLINE,
            "color": panels.color(palette.MAIN),
            "min": 0,
            "max": 1,
        },
        "all wrong": share,
        "reward": {"decimals": 3},
        "threshold": share,
        "last report": {"unit": "s", "decimals": 0},
    }
    for heading, values in columns.items():
        runs.override_by_name(heading, panels.properties(**values))
    return runs


def _collapse() -> timeseries.Panel:
    newest = "max by (run) (last_over_time(acr_smoothed_ratio[$__range] @ end()))"
    shown = f"{each_run('acr_smoothed_ratio')} and on (run) topk({_MOST_LINES}, {newest})"
    return (
        panels.lines(
            f"Smoothed ACR, the {_MOST_LINES} highest",
            [panels.query(shown, "{{run}}")],
            description="The runs whose newest ACR in the time shown is highest. High alone is no "
            "fault; high and flat for long, with a reward that does not rise, is a stall. Click a "
            "line to look into its run.",
            empty=panels.NOTHING,
            unit="percentunit",
            span=12,
            height=9,
        )
        .min(0)
        .max(1)
        .data_links([links.to("Show this run", links.LABELLED_RUN)])
    )


def _outcomes() -> timeseries.Panel:
    groups = "sum by (outcome) (max by (run, outcome) (rate(acr_groups_total[$__rate_interval])))"
    outcomes = panels.stacked(
        panels.lines(
            "Group outcomes, all runs",
            [panels.query(ratio(groups, f"sum({groups})"), "{{outcome}}")],
            description="Shares of all groups that all runs reported. What is not mixed taught "
            "nothing: that much of the generation was spent in vain. Much of one kind in most runs "
            "points to the data or the reward, not to a run.",
            empty="No group was reported in the time shown.",
            unit="percentunit",
            span=12,
            height=9,
        )
        .min(0)
        .max(1)
    )
    return panels.colored(outcomes, palette.OUTCOMES)


def _alarms() -> statetimeline.Panel:
    worst_ones = f"topk({_MOST_ALARMS}, {ranks(_ALL)} > 1)"
    return panels.states(
        "Warnings and critical alarms",
        [panels.query(or_none(worst_ones, run="all runs", rule="none"), "{{run}}: {{rule}}")],
        description=f"What was raised when, of all runs; the {_MOST_ALARMS} most severe at any "
        "time. Many runs at once point to what they share: data, reward, cluster, network. "
        "reports_stopped: the trainer is silent, look at its log.",
        empty="No answer from the monitor in the time shown.",
        values=palette.SEVERITIES,
        height=9,
    ).data_links([links.to("Show this run", links.LABELLED_RUN)])


def _states() -> timeseries.Panel:
    states = panels.stacked(
        panels.lines(
            "Runs by state",
            [panels.query(gauge("acr_runs", "state", where='state!="deleted"'), "{{state}}")],
            description="How many trained, waited, were silent or had ended. Several that fall "
            "silent together point to the network or the cluster.",
            empty="No answer from the monitor in the time shown.",
            unit="suffix: runs",
            span=6,
            height=9,
        ).min(0)
    )
    return panels.colored(states, _STATES)


def _deliveries() -> timeseries.Panel:
    outcomes = gauge("acr_alert_deliveries_total", "sink", "outcome", where=_ALL)
    deliveries = panels.lines(
        "Alert deliveries",
        [panels.query(outcomes, "{{sink}} {{outcome}}")],
        description="Since the store was new, by sink. A rising failed, refused or expired: people "
        "do not hear of alarms; acr alerts test tries every sink and says what it answers.",
        empty="No alert was sent yet.",
        unit="suffix: alerts",
        span=6,
        height=9,
    ).min(0)
    for outcome, color in _DELIVERIES.items():
        deliveries.override_by_regexp(
            f"/ {outcome}$/", panels.properties(color=panels.color(color))
        )
    return deliveries
