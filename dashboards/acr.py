"""The dashboard "ACR run": does the run learn, is the loop closed, does the intervention help."""

from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard

from dashboards import panels
from dashboards.promql import gauge, rate, ratio
from dashboards.steering import loop, steering

UID = "acr-run"

# Where the paper sees stalled runs, and where it sees runs that seldom end well.
ACR_LEVELS = ((0.35, "orange"), (0.5, "red"))

# A trainer that has heard nothing for 50 steps stops intervening and goes on as plain GRPO.
LAG_LEVELS_STEPS = ((5, "orange"), (50, "red"))

SILENCE_LEVELS_S = ((120, "orange"), (900, "red"))

# The three outcomes without a learning signal; together they make ACR.
COLLAPSED = 'outcome=~"all_correct|all_wrong|uniform_other"'
SCORED = 'outcome!="unscored"'


def build() -> dashboard.Dashboard:
    """The whole dashboard, ready to be written as JSON."""
    builder = (
        dashboard_builders.Dashboard("ACR run")
        .uid(UID)
        .description("Advantage collapse, intervention and health of one GRPO run.")
        .tags(["acr", "grpo"])
        .time("now-1h", "now")
        .refresh("10s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard_builders.DatasourceVariable("datasource")
            .label("Data source")
            .type("prometheus")
        )
        .with_variable(
            dashboard_builders.QueryVariable("run")
            .label("Run")
            .datasource(panels.DATASOURCE)
            .query("label_values(acr_run_info, run)")
            .definition("label_values(acr_run_info, run)")
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        )
        .annotation(_interventions())
    )
    content: list[stat.Panel | timeseries.Panel | statetimeline.Panel | table.Panel] = [
        *_headline(),
        *_collapse(),
        *loop(),
        *steering(),
        *_health(),
        _runs(),
    ]
    for number, panel in enumerate(content, start=1):
        builder.with_panel(panel.id(number))
    return builder.build()


def _interventions() -> dashboard_builders.AnnotationQuery:
    return (
        dashboard_builders.AnnotationQuery()
        .name("Intervening")
        .datasource(panels.DATASOURCE)
        .enable(True)
        .icon_color("purple")
        .expr(f"{rate('acr_intervened_steps_total')} > 0")
        .step(panels.RATE_STEP)
        .title_format("AVSPO intervening")
    )


def _headline() -> list[stat.Panel]:
    intervened = 'increase(acr_intervened_steps_total{run="$run"}[$__range])'
    steps = 'increase(acr_steps_total{run="$run"}[$__range])'
    return [
        panels.stat_panel(
            "ACR now",
            panels.query(gauge("acr_ratio")),
            description="Share of scored groups in the last step whose completions all got the "
            "same reward and so teach nothing. One step is noisy: act on the smoothed line below, "
            "and look at the split to see which side collapsed.",
            unit="percentunit",
            decimals=1,
            thresholds=panels.levels(*ACR_LEVELS),
        ),
        panels.stat_panel(
            "Effective ACR",
            panels.query(gauge("acr_effective_ratio")),
            description="Share of groups still without a signal after virtual samples were added. "
            "Equal to ACR when nothing was injected. A low figure shows that injection works, not "
            "that the model learns: judge that by the reward.",
            unit="percentunit",
            decimals=1,
            thresholds=panels.levels(*ACR_LEVELS),
        ),
        panels.stat_panel(
            "Threshold",
            panels.query(gauge("acr_threshold_ratio")),
            description="Threshold in force: the trainer intervenes on a step whose ACR is above "
            "it. An adaptive controller moves it; PATCH the settings of the run to move it "
            "yourself.",
            unit="percentunit",
            decimals=1,
            thresholds=panels.levels(base="blue"),
        ),
        panels.stat_panel(
            "Steps intervened",
            panels.query(f"max({intervened}) / (max({steps}) > 0)").instant(),
            description="Share of the steps in the chosen time range on which at least one group "
            "got virtual samples. Always 100 %: the threshold no longer decides anything. Always "
            "0 %: check the mode and the settings lag.",
            unit="percentunit",
            thresholds=panels.levels((0.5, "orange"), (0.9, "red"), base="blue"),
        ),
        panels.stat_panel(
            "Settings lag",
            panels.query(gauge("acr_settings_lag_steps")),
            description="How many steps old the settings were that the trainer applied last. One "
            "or two is normal. When it grows the trainer no longer hears the monitor; after 50 "
            "steps it goes on as plain GRPO. Check the network and Redis.",
            unit="suffix: steps",
            thresholds=panels.levels(*LAG_LEVELS_STEPS),
        ),
        panels.stat_panel(
            "Since last report",
            # Instant: over a range the last age of a run that is gone would look fresh.
            panels.query(f"time() - {gauge('acr_last_report_timestamp_seconds')}").instant(),
            description="Age of the newest report. Longer than a few training steps means that "
            "the trainer has stopped, hangs or cannot reach the monitor; it keeps its reports and "
            "sends them later.",
            unit="s",
            thresholds=panels.levels(*SILENCE_LEVELS_S),
        ),
    ]


def _collapse() -> list[timeseries.Panel]:
    groups = "acr_groups_total"
    all_groups = f"sum({rate(groups, 'outcome')})"
    scored = f"sum({rate(groups, 'outcome', where=SCORED)})"
    outcomes = panels.stacked(
        panels.lines(
            "Group outcomes",
            [panels.query(ratio(rate(groups, "outcome"), all_groups), "{{outcome}}")],
            description="What became of the groups, as shares of all groups reported; no step is "
            "missed between scrapes. Only mixed groups teach. Much all_wrong: prompts too hard, "
            "try more completions per group or a higher temperature. Much all_correct: prompts "
            "too easy, move on to harder data. uniform_other is partial credit or a constant "
            "reward: look at the reward function. unscored: the reward failed.",
            unit="percentunit",
            span=12,
            height=9,
        )
        .min(0)
        .max(1)
    )
    acr = (
        panels.lines(
            "ACR and threshold",
            panels.queries(
                {
                    "last step": gauge("acr_ratio"),
                    "all steps": ratio(f"sum({rate(groups, 'outcome', where=COLLAPSED)})", scored),
                    "smoothed": gauge("acr_smoothed_ratio"),
                    "effective": gauge("acr_effective_ratio"),
                    "threshold": gauge("acr_threshold_ratio"),
                }
            ),
            description="Raw ACR of the last step, of all steps in the interval, and smoothed "
            "over groups; effective ACR is what is left after injection. Steps above the dashed "
            "threshold are intervened on; shaded time is intervention. Smoothed ACR above 35 % "
            "for long deserves a look at the split: it names the cause.",
            unit="percentunit",
            span=12,
            height=9,
        )
        .min(0)
        .max(1)
        .override_by_name(
            "last step", panels.properties(color=panels.color("#8e8e8e"), custom__lineWidth=1)
        )
        .override_by_name("all steps", panels.properties(color=panels.color("orange")))
        .override_by_name("smoothed", panels.properties(color=panels.color("red")))
        .override_by_name("effective", panels.properties(color=panels.color("green")))
        .override_by_name(
            "threshold",
            panels.properties(
                color=panels.color("purple"), custom__lineStyle={"fill": "dash", "dash": [8, 6]}
            ),
        )
    )
    return [panels.colored(outcomes, panels.OUTCOME_COLORS), acr]


def _health() -> list[timeseries.Panel]:
    lengths = (
        panels.lines(
            "Completion length and truncation",
            panels.queries(
                {
                    "mean length": gauge("acr_completion_length_tokens"),
                    "truncated": gauge("acr_truncated_ratio"),
                }
            ),
            description="Mean tokens per completion, and on the right axis the share cut off at "
            "the limit. Truncated answers score as wrong and make all_wrong groups that no "
            "intervention can mend: raise the limit or mask them.",
            unit="suffix: tokens",
            span=12,
        )
        .min(0)
        .override_by_name(
            "truncated",
            panels.properties(
                unit="percentunit",
                max=1,
                custom__axisPlacement="right",
                color=panels.color("red"),
            ),
        )
    )
    progress = (
        panels.lines(
            "Progress and missing steps",
            panels.queries(
                {"step": gauge("acr_step"), "missing": gauge("acr_step_gaps_total")},
            ),
            description="Last step reported, and on the right axis the steps that never arrived, "
            "in total. A fall of the step is a resume from a checkpoint; growing missing steps "
            "mean that the trainer drops reports: see its log and the size of its spool.",
            unit="none",
            span=12,
        )
        .min(0)
        .override_by_name(
            "missing",
            panels.properties(
                unit="suffix: steps", custom__axisPlacement="right", color=panels.color("red")
            ),
        )
    )
    return [
        panels.lines(
            "Reward",
            [panels.query(gauge("acr_reward_mean"), "mean reward")],
            description="Mean reward of the last step. Flat while ACR is high: the run is "
            "stalled. Rising while held-out accuracy does not: suspect the reward.",
            unit="none",
            span=6,
        ),
        panels.lines(
            "Entropy",
            [panels.query(gauge("acr_entropy_nats"), "entropy")],
            description="Mean entropy per token, in nats. Judge it against the run's own "
            "beginning: a fall below a third of that warns of collapse. Raise the upper clip "
            "range or the entropy bonus, and stop injecting on the correct side.",
            unit="suffix: nats",
            span=6,
        ).min(0),
        panels.lines(
            "KL to the reference",
            [panels.query(gauge("acr_kl_nats"), "KL")],
            description="Divergence from the reference model, in nats per token. A jump means "
            "that the policy runs away: lower the learning rate or raise beta. Empty when beta is "
            "0, since no reference model is loaded then.",
            unit="suffix: nats",
            span=6,
        ),
        panels.lines(
            "Gradient norm",
            [panels.query(gauge("acr_grad_norm"), "gradient norm")],
            description="Norm before clipping. It sinks towards 0 as groups collapse. Several "
            "times its usual level during an intervention: scale the virtual advantages down.",
            unit="none",
            span=6,
        ).min(0),
        lengths,
        progress,
    ]


def _runs() -> table.Panel:
    age = "time() - max by (run) (acr_last_report_timestamp_seconds)"
    acr_cell = panels.properties(
        unit="percentunit",
        decimals=1,
        thresholds=panels.levels(*ACR_LEVELS).build(),
        custom__cellOptions={"type": "color-text"},
    )
    age_cell = panels.properties(
        unit="s",
        decimals=0,
        thresholds=panels.levels(*SILENCE_LEVELS_S).build(),
        custom__cellOptions={"type": "color-text"},
    )
    link = {"title": "Show this run", "url": f"/d/{UID}?var-run=${{__value.raw}}"}
    return (
        panels.table_panel(
            "All runs",
            {
                "step": "max by (run) (acr_step)",
                "attempt": "max by (run) (acr_attempt)",
                "ACR": "max by (run) (acr_ratio)",
                "threshold": "max by (run) (acr_threshold_ratio)",
                "last report": age,
            },
            labels="max by (run, profile, controller, mode, strategy) (acr_run_info)",
            description="Every run the monitor currently knows, whichever is chosen above. Click "
            "a run to show it; an old last report is a run that ended or lost its trainer. More "
            "than one attempt means it was resumed.",
            unit="none",
        )
        .override_by_name("run", panels.properties(links=[link]))
        .override_by_name("ACR", acr_cell)
        .override_by_name("threshold", panels.properties(unit="percentunit", decimals=1))
        .override_by_name("last report", age_cell)
    )
