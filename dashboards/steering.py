"""What the controller does to a run, and what becomes of what it is told."""

from grafana_foundation_sdk.builders import statetimeline, table, timeseries

from dashboards import links, palette, panels, tables
from dashboards.promql import gauge, rate, ratio

_SIDES = {"wrong": palette.WRONG, "correct": palette.CORRECT}
_IN_FORCE = {"0": ("", "transparent"), "1": ("", palette.INFO)}
_REFUSED = {"0": ("applied", palette.GOOD), "1": ("ignored", palette.WARNING)}


def controller() -> list[timeseries.Panel | statetimeline.Panel | table.Panel]:
    """Two rows: what acts, and on how much."""
    return [_stages(), _injected(), _share(), _knobs()]


def loop() -> list[timeseries.Panel]:
    """One row: settings on their way to the trainer, and reports on their way back."""
    return [_settings(), _reports()]


def _stages() -> statetimeline.Panel:
    return panels.states(
        "Mode and stage of the controller",
        panels.queries(
            {
                "mode: {{mode}}": f"{gauge('acr_acting_mode', 'mode')} == 1",
                "stage: {{stage}}": f"{gauge('acr_controller_stage', 'stage')} == 1",
                "killed": gauge("acr_killed"),
                "overrides": f"{gauge('acr_overrides_active')} > bool 0",
            }
        ),
        description="The mode that acts, overrides and kill included, and the stage of the guarded "
        "controller: off (also under any other controller), armed, active, cooldown, or locked. "
        "Locked, as mode or stage, ends only when a person re-arms the run.",
        empty="The monitor did not show this run.",
        values=_IN_FORCE,
    ).links([links.to_page("Change it in the monitor", links.RUN_PAGE)])


def _injected() -> timeseries.Panel:
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
                    "steps intervened": ratio(rate("acr_intervened_steps_total"), steps),
                }
            ),
            description="Groups given virtual samples per step; shadow: that would have been, and "
            "were not touched. wrong pushes the model off what it tried; correct presses on with "
            "what it knows and costs entropy: when that falls along with it, set the target to "
            "wrong. Steps intervened, on the right, at 0 % or 100 % for long: the threshold "
            "decides nothing.",
            empty="No step was reported in the time shown.",
            unit="suffix: groups",
            span=12,
        ).min(0)
    )
    for side, color in _SIDES.items():
        injected.override_by_name(
            f"{side}, shadow",
            panels.properties(
                color=panels.color(color),
                custom__lineStyle={"fill": "dash", "dash": [4, 4]},
                custom__fillOpacity=10,
            ),
        )
    return panels.colored(injected, _SIDES).override_by_name(
        "steps intervened",
        panels.on_the_right(
            "percentunit",
            palette.INJECTED,
            min=0,
            max=1,
            custom__fillOpacity=0,
            custom__stacking={"mode": "none"},
        ),
    )


def _share() -> timeseries.Panel:
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
            empty="The trainer did not report what it injects: it watches only, or never stepped.",
            unit="percentunit",
            span=12,
        )
        .min(0)
        .max(1)
    )
    return panels.colored(share, {"groups": palette.MAIN, "sum of |A|": palette.INJECTED})


def _knobs() -> table.Panel:
    return tables.joined(
        "Knobs",
        "knob",
        [
            tables.Columns(expr=gauge("acr_knob_requested", "knob"), value="requested"),
            tables.Columns(expr=gauge("acr_knob_applied", "knob"), value="applied"),
            tables.Columns(expr=gauge("acr_knob_ignored", "knob"), value="trainer"),
        ],
        description="The trainer's own parameters that somebody asks for now, and what is in "
        "force. Why the trainer ignores one is in the monitor; ask for what it can do, or set it "
        "to null to leave the trainer alone.",
        empty="Nobody asks for a knob now.",
        unit="none",
        span=12,
        height=7,
    ).override_by_name(
        "trainer",
        panels.properties(
            mappings=panels.named(_REFUSED), custom__cellOptions={"type": "color-text"}
        ),
    )


def _settings() -> timeseries.Panel:
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
            "applied. The two should rise together. Lag, on the right, is how many steps old the "
            "applied ones were: 0 is lockstep, one or two is normal. When it grows, check the "
            "network and Redis; at 50 the trainer goes on as plain GRPO.",
            empty="The monitor did not show this run.",
            unit="none",
            span=12,
        )
        .min(0)
        .override_by_name("lag", panels.on_the_right("suffix: steps", palette.WARNING, min=0))
    )
    return panels.colored(settings, {"published": palette.MAIN, "applied": palette.GOOD})


def _reports() -> timeseries.Panel:
    reports = (
        panels.lines(
            "Steps, and what never arrived",
            panels.queries(
                {
                    "step": gauge("acr_step"),
                    "missing steps": gauge("acr_step_gaps_total"),
                    "invalid rewards": gauge("acr_invalid_rewards_total"),
                }
            ),
            description="Newest step; a fall is a resume from a checkpoint. On the right, in "
            "total: steps that never arrived, so look at the trainer's log and its spool; rewards "
            "that were infinite or oversized, so look at the reward function.",
            empty="The monitor did not show this run.",
            unit="none",
            span=12,
        )
        .min(0)
        .override_by_name("missing steps", panels.on_the_right("none", palette.WARNING, min=0))
        .override_by_name("invalid rewards", panels.on_the_right("none", palette.QUIET, min=0))
    )
    return panels.colored(reports, {"step": palette.MAIN})
