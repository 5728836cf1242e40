"""What is wrong with the run, what acts on it, and what became of every order."""

from grafana_foundation_sdk.builders import statetimeline, timeseries

from dashboards import panels
from dashboards.promql import gauge, or_none, rate, ratio

SIDE_COLORS = {
    "correct": "blue",
    "wrong": "red",
    "correct, shadow": "light-blue",
    "wrong, shadow": "light-red",
}
RAISED = {"0": ("", "green"), "1": ("raised", "red")}
IN_FORCE = {"0": ("", "transparent"), "1": ("", "blue")}


def loop() -> list[timeseries.Panel]:
    """One row: what collapses, what is injected, and whether the trainer hears us."""
    split = panels.stacked(
        panels.lines(
            "Collapsed groups by side",
            [panels.query(gauge("acr_collapsed_ratio", "outcome"), "{{outcome}}")],
            description="The parts of the last step's ACR. all_wrong calls for exploration or "
            "easier prompts and is the side worth intervening on; all_correct late in a run is "
            "success, not a fault; uniform_other asks for a look at the reward.",
            unit="percentunit",
            span=8,
        )
        .min(0)
        .max(1)
    )
    steps = rate("acr_steps_total")
    injected = panels.stacked(
        panels.lines(
            "Injected groups per step",
            panels.queries(
                {
                    "{{side}}": ratio(rate("acr_injected_groups_total", "side"), steps),
                    "{{side}}, shadow": ratio(
                        rate("acr_shadow_injected_groups_total", "side"), steps
                    ),
                }
            ),
            description="Groups given virtual samples per training step; shadow: that would have "
            "been, and were not touched. wrong pushes the model off what it tried; correct presses "
            "on with what it knows and costs entropy: when entropy falls along with it, set the "
            "target to wrong only.",
            unit="suffix: groups",
            span=8,
        ).min(0)
    )
    settings = (
        panels.lines(
            "Settings: published and applied",
            panels.queries(
                {
                    "published": gauge("acr_settings_version"),
                    "applied": gauge("acr_applied_settings_version"),
                    "lag": gauge("acr_settings_lag_steps"),
                }
            ),
            description="The version the monitor published and the one the trainer says it "
            "applied. The two should rise together; applied standing still means the loop is "
            "open. Lag, in steps, is on the right axis.",
            unit="none",
            span=8,
        )
        .min(0)
        .override_by_name(
            "lag",
            panels.properties(
                unit="suffix: steps",
                custom__axisPlacement="right",
                color=panels.color("orange"),
            ),
        )
    )
    return [
        panels.colored(split, panels.OUTCOME_COLORS),
        panels.colored(injected, SIDE_COLORS),
        settings,
    ]


def steering() -> list[timeseries.Panel | statetimeline.Panel]:
    """Two rows of the dashboard."""
    alarms = panels.states(
        "Alarms",
        [
            panels.query(
                or_none(gauge("acr_alarm_active", "rule", "severity"), "rule"),
                "{{rule}} {{severity}}",
            )
        ],
        description="The health rules that are raised, by severity; none when nothing is. What "
        "each means and what to do is in the run's diagnosis (GET /v1/runs/ID/diagnosis). "
        "reports_stopped is raised by silence, all others by reports.",
        values=RAISED,
    )
    stages = panels.states(
        "Mode and stage of the controller",
        panels.queries(
            {
                "mode: {{mode}}": f"{gauge('acr_acting_mode', 'mode')} == 1",
                "stage: {{stage}}": f"{gauge('acr_controller_stage', 'stage')} == 1",
                "killed": gauge("acr_killed"),
                "overrides": gauge("acr_overrides_active"),
            }
        ),
        description="The mode that acts, overrides and kill included, and the stage of the guarded "
        "controller: off (also under any other controller), armed, active, cooldown, or locked. "
        "Locked, as mode or stage, ends only when a person re-arms the run.",
        values=IN_FORCE,
    )
    share = (
        panels.lines(
            "Injected share",
            panels.queries(
                {
                    "groups": gauge("acr_injected_groups_ratio"),
                    "sum of |A|": gauge("acr_injected_mass_ratio"),
                }
            ),
            description="Share of the groups that were injected, and of the sum of |A| that "
            "injection put in, both pooled over the last groups. max_group_fraction and "
            "max_mass_fraction cap these; a line that lies on its cap is one that binds.",
            unit="percentunit",
            span=12,
        )
        .min(0)
        .max(1)
    )
    knobs = panels.lines(
        "Knobs: requested and applied",
        panels.queries(
            {
                "{{knob}} requested": or_none(gauge("acr_knob_requested", "knob"), "knob"),
                "{{knob}} applied": or_none(gauge("acr_knob_applied", "knob"), "knob"),
                "{{knob}} ignored": or_none(gauge("acr_knob_ignored", "knob"), "knob"),
            }
        ),
        description="The trainer's own parameters that somebody asks for, and what is in force. "
        "none when nobody asks for any. ignored is 1 while the trainer refuses; the run's "
        "diagnosis has its reason.",
        unit="none",
        span=12,
    )
    return [alarms, stages, share, knobs]
