"""The dashboard "ACR run": one run, in the order in which people ask."""

from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common, dashboard

from dashboards import annotations, frame, links, palette, panels, policy, steering
from dashboards.promql import THIS_RUN, gauge, or_none, ranks, rate, ratio, worst

# Above it the paper sees runs stall. Healthy runs do get there: it asks for a look, no more.
ACR_LEVELS = ((0.35, palette.WARNING),)


def build() -> dashboard.Dashboard:
    """The whole dashboard, ready to be written as JSON."""
    return frame.framed(
        "ACR run",
        links.RUN,
        description="Does this run learn, why not, what does the controller do about it, does the "
        "trainer hear it, and is the policy healthy.",
        since="now-1h",
        refresh="10s",
        variables=[frame.run_variable()],
        annotations=annotations.of_run(),
        links=[
            links.to_page("This run in the monitor", links.RUN_PAGE),
            links.to_dashboard("All runs", links.OVERVIEW),
        ],
        parts=[
            dashboard_builders.Row("Does it learn?"),
            *_now(),
            _reward(),
            _collapse(),
            dashboard_builders.Row("Why not?"),
            _outcomes(),
            _alarms(),
            dashboard_builders.Row("What does the controller do?"),
            *steering.controller(),
            dashboard_builders.Row("Does the trainer hear it?"),
            *steering.loop(),
            dashboard_builders.Row("Is the policy healthy?"),
            *policy.health(),
        ],
    )


def _now() -> list[stat.Panel]:
    verdict = (
        panels.figures(
            "Verdict",
            # Instant, as all that would go on showing what has ended.
            [panels.query(worst(), "{{rule}}").instant()],
            description="The most severe alarm that is raised now, none when nothing was found. "
            "A click leads to the monitor, which says why and what to do; below are all alarms.",
            empty="The monitor does not show this run now.",
            unit="none",
            span=6,
        )
        .mappings(panels.named(palette.SEVERITIES))
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
        .graph_mode(common.BigValueGraphMode.NONE)
        .data_links([links.to_page("Cause and advice", links.RUN_PAGE)])
    )
    smoothed = panels.figures(
        "ACR, smoothed",
        [panels.query(gauge("acr_smoothed_ratio"))],
        description="Share of groups that teach nothing, because all their completions got the "
        "same reward; over the last groups, with a half-life of 64. Healthy runs are seen anywhere "
        "up to 93 %, so look below at which groups they are before you act.",
        empty=panels.NOTHING,
        unit="percentunit",
        span=4,
        decimals=1,
        thresholds=panels.levels(*ACR_LEVELS),
    )
    reward = panels.figures(
        "Reward, newest step",
        [panels.query(gauge("acr_reward_mean"))],
        description="Mean reward of the newest step, in units of the reward function. One step is "
        "noisy: go by its course.",
        empty=panels.NOTHING,
        unit="none",
        span=4,
        decimals=3,
    )
    gain = panels.figures(
        "Reward gained",
        [panels.query(f"{_mean_reward('10m')} - {_mean_reward('$__range')}").instant()],
        description="Mean of the last ten minutes less that of the time shown. About 0 over hours "
        "while the verdict is stall: the run learns nothing. Below 0: look for when the reward "
        "turned, and what was changed then.",
        empty="The monitor did not show this run in the last ten minutes.",
        unit="none",
        span=4,
        decimals=3,
    )
    step = panels.figures(
        "Step",
        [panels.query(gauge("acr_step"))],
        description="Newest step reported. A click shows its groups in the monitor.",
        empty="The monitor did not show this run.",
        unit="none",
        span=3,
    ).data_links([links.to_page("Groups of this step", links.GROUPS_PAGE)])
    age = panels.figures(
        "Last report",
        [panels.query(f"time() - {gauge('acr_last_report_timestamp_seconds')}").instant()],
        description="Age of the newest report. When it is unusual for this run the alarm "
        "reports_stopped is raised: look at the trainer's log, and at its network. Without that "
        "alarm an old report is of a run that has ended.",
        empty="Nothing was reported, or the monitor does not show this run now.",
        unit="s",
        span=3,
    ).graph_mode(common.BigValueGraphMode.NONE)
    return [verdict, smoothed, reward, gain, step, age]


def _mean_reward(window: str) -> str:
    return f"max(avg_over_time(acr_reward_mean{{{THIS_RUN}}}[{window}]))"


def _reward() -> timeseries.Panel:
    reward = panels.lines(
        "Reward",
        [panels.query(gauge("acr_reward_mean"), "mean reward")],
        description="Mean reward of each step. Flat while ACR is high: the run is stalled, see "
        "below which groups collapse. Rising while held-out accuracy does not: suspect the reward.",
        empty=panels.NOTHING,
        unit="none",
        span=12,
        height=8,
    )
    return panels.colored(reward, {"mean reward": palette.MAIN})


def _collapse() -> timeseries.Panel:
    sides = "acr_smoothed_collapsed_ratio"
    acr = (
        panels.lines(
            "ACR and threshold",
            panels.queries(
                {
                    "newest step": gauge("acr_ratio"),
                    "smoothed": gauge("acr_smoothed_ratio"),
                    "all_wrong": gauge(sides, where=f'{THIS_RUN}, outcome="all_wrong"'),
                    "all_correct": gauge(sides, where=f'{THIS_RUN}, outcome="all_correct"'),
                    "effective": gauge("acr_effective_ratio"),
                    "threshold": gauge("acr_threshold_ratio"),
                }
            ),
            description="ACR of the newest step, and smoothed with its sides. Above the dashed "
            "threshold the controller injects; effective is what is left then, and falls by "
            "construction: it is no sign of learning. Where it always lies above the threshold, or "
            "never, the threshold decides nothing: move it, or the controller.",
            empty=panels.NOTHING,
            unit="percentunit",
            span=12,
            height=8,
        )
        .min(0)
        .max(1)
        .override_by_name("newest step", panels.properties(custom__lineWidth=1))
        .override_by_name(
            "threshold", panels.properties(custom__lineStyle={"fill": "dash", "dash": [8, 6]})
        )
    )
    colors = {
        "newest step": palette.QUIET,
        "smoothed": palette.MAIN,
        "all_wrong": palette.WRONG,
        "all_correct": palette.CORRECT,
        "effective": palette.INJECTED,
        "threshold": palette.THRESHOLD,
    }
    return panels.colored(acr, colors)


def _outcomes() -> timeseries.Panel:
    groups = rate("acr_groups_total", "outcome")
    outcomes = panels.stacked(
        panels.lines(
            "Group outcomes",
            [panels.query(ratio(groups, f"sum({groups})"), "{{outcome}}")],
            description="Shares of all groups reported; no step is missed between scrapes. Only "
            "mixed groups teach. Much all_wrong: prompts too hard, try more completions per prompt "
            "or a higher temperature. Much all_correct: prompts too easy by now, move on to harder "
            "ones. uniform_other is partial credit or a constant reward: look at the reward "
            "function. unscored: the reward failed.",
            empty="No group was reported in the time shown.",
            unit="percentunit",
            span=12,
            height=8,
        )
        .min(0)
        .max(1)
    )
    return panels.colored(outcomes, palette.OUTCOMES)


def _alarms() -> statetimeline.Panel:
    return panels.states(
        "Alarms",
        [panels.query(or_none(ranks(), rule="none"), "{{rule}}")],
        description="The health rules that were raised, and how severe they were; none while "
        "nothing was. Cause and advice are in the monitor, see the link; reports_stopped is raised "
        "by silence, all others by reports.",
        empty="No answer from the monitor in the time shown.",
        values=palette.SEVERITIES,
        height=8,
    ).links([links.to_page("Cause and advice", links.RUN_PAGE)])
