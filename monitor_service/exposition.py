"""Runs -> Prometheus text. Rendered per scrape from the store, so any replica answers for all.

Group outcomes are counters: the ACR of any time window is a ratio of rates, and no step is lost
between two scrapes. Gauges show the newest step. A figure that does not exist is absent, not 0.
The only label people can grow is `run`; all others have a fixed set of values.

The text is written here, not by prometheus_client, which takes ten times as long over it; a test
compares the two.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import get_args

from monitor_service.__about__ import __version__
from monitor_service.engine.arming import Stage
from monitor_service.engine.settings import ActingMode
from monitor_service.resources import Requested, Run
from monitor_service.store.roster import Standing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COLLAPSED = ("all_wrong", "all_correct", "uniform_other")
_OUTCOMES = ("mixed", *_COLLAPSED, "unscored")
_SIDES = ("wrong", "correct")
_INFO = ("profile", "controller", "mode", "strategy")

Figure = Callable[[Run], float | None]
Found = Callable[[Run], Iterable[tuple[str, float | None]]]
"""Labels beside `run`, as they are written -> the figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """A metric: what it is called, and where its samples are in a run.

    Attributes:
        figures: labels beside `run`, as they are written -> the figure.
        found: samples whose labels are not the same in every run.
    """

    name: str
    kind: str
    text: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    found: Found | None = None

    def write(self, runs: Sequence[tuple[Run, str]], lines: list[str]) -> None:
        """Add the samples of runs; beside each its own label, as it is written."""
        name, add = self.name, lines.append
        add(f"# HELP {name} {self.text}\n# TYPE {name} {self.kind}\n")
        for more, figure in self.figures.items():
            for run, label in runs:
                value = figure(run)
                if value is not None:
                    add(f"{name}{{{label}{more}}} {value}\n")
        if self.found is not None:
            for run, label in runs:
                for more, value in self.found(run):
                    if value is not None:
                        add(f"{name}{{{label}{more}}} {value}\n")


def _gauge(name: str, text: str, figure: Figure) -> _Family:
    return _Family(name=name, kind="gauge", text=text, figures={"": figure})


def _split(name: str, text: str, label: str, figures: Mapping[str, Figure]) -> _Family:
    """`figures`: value of the label -> the figure."""
    written = {_label(label, value): figure for value, figure in figures.items()}
    return _Family(name=name, kind="gauge", text=text, figures=written)


def _found(name: str, text: str, found: Found) -> _Family:
    return _Family(name=name, kind="gauge", text=text, found=found)


def _total(name: str, text: str, counter: str) -> _Family:
    figures = {"": attrgetter(f"counters.{counter}")}
    return _Family(name=name, kind="counter", text=text, figures=figures)


def _totals(name: str, text: str, label: str, counters: Mapping[str, str]) -> _Family:
    """`counters`: value of the label -> the counter."""
    figures = {
        _label(label, value): attrgetter(f"counters.{counter}")
        for value, counter in counters.items()
    }
    return _Family(name=name, kind="counter", text=text, figures=figures)


def _label(name: str, value: str) -> str:
    return f',{name}="{value}"'


def _last(part: str, field: str) -> Figure:
    """A figure of the newest step; None when the step, the part or the figure is absent."""

    def figure(run: Run) -> float | None:
        return None if run.last is None else getattr(getattr(run.last, part), field, None)

    return figure


def _share(outcome: str) -> Figure:
    def figure(run: Run) -> float | None:
        if run.last is None or not run.last.collapse.num_groups:
            return None
        count: int = getattr(run.last.collapse, outcome)
        return count / run.last.collapse.num_groups

    return figure


def _is(attribute: str, value: str) -> Figure:
    """1 for runs of which this attribute has this value, 0 for the others."""
    read = attrgetter(attribute)
    return lambda run: int(read(run) == value)


def _info(run: Run) -> Iterator[tuple[str, float | None]]:
    yield "".join(_label(name, getattr(run.settings, name)) for name in _INFO), 1


def _knobs(
    run: Run, figure: Callable[[Requested], float | None]
) -> Iterator[tuple[str, float | None]]:
    for knob in run.knobs:
        value = figure(knob)
        yield _label("knob", knob.name), None if value is None else +value


def _in_force(knob: Requested) -> float | None:
    return None if knob.applied is None else knob.applied.value


def _is_ignored(knob: Requested) -> float | None:
    return None if knob.applied is None else knob.applied.status == "ignored"


def _lag_steps(run: Run) -> float | None:
    if run.last is None or run.last.applied is None:
        return None
    return run.last.step - 1 - run.last.applied.through_step


_FAMILIES = (
    _total("acr_steps_total", "Generation batches reported.", "steps"),
    _total("acr_completions_total", "Scored completions reported.", "completions"),
    _total("acr_step_gaps_total", "Steps that were never reported.", "missing_steps"),
    _total(
        "acr_intervened_steps_total",
        "Steps with at least one injected group.",
        "intervened_steps",
    ),
    _total("acr_invalid_rewards_total", "Infinite or oversized rewards.", "invalid_rewards"),
    _totals(
        "acr_groups_total",
        "Groups by outcome.",
        "outcome",
        {outcome: outcome for outcome in _OUTCOMES},
    ),
    _totals(
        "acr_injected_groups_total",
        "Groups given a virtual signal.",
        "side",
        {side: f"injected_{side}" for side in _SIDES},
    ),
    _totals(
        "acr_shadow_injected_groups_total",
        "Groups that would have been, had the mode not been shadow.",
        "side",
        {side: f"shadow_{side}" for side in _SIDES},
    ),
    _totals(
        "acr_sampling_groups_total",
        "Groups under dynamic sampling: kept differ and were trained on, filled collapsed and fill "
        "the batch, surplus differ and were left over.",
        "use",
        {use: f"sampling_{use}" for use in ("kept", "filled", "surplus")},
    ),
    _found("acr_run_info", "What the run is set to.", _info),
    _gauge("acr_step", "Newest step reported.", lambda run: run.step),
    _gauge("acr_attempt", "Times the trainer has started.", lambda run: run.attempt),
    _gauge(
        "acr_threshold_ratio",
        "Threshold in force: inject when ACR is above it.",
        lambda run: run.settings.threshold,
    ),
    _gauge("acr_settings_version", "Newest settings published.", lambda run: run.settings.version),
    _gauge(
        "acr_settings_revision",
        "Grows with every change of the settings by a person.",
        lambda run: run.settings.revision,
    ),
    _gauge(
        "acr_last_report_timestamp_seconds",
        "Unix time of the newest report.",
        lambda run: run.last_report_at_s,
    ),
    _gauge(
        "acr_ratio",
        "Share of scored groups without a signal, from real rewards.",
        _last("collapse", "acr"),
    ),
    _gauge(
        "acr_smoothed_ratio",
        "ACR smoothed over groups (half-life 64).",
        _last("collapse", "acr_smoothed"),
    ),
    _gauge(
        "acr_reward_mean",
        "Mean reward of the step, reward units.",
        _last("collapse", "reward_mean"),
    ),
    _gauge("acr_entropy_nats", "Policy entropy, nats per token.", _last("scalars", "entropy")),
    _gauge("acr_kl_nats", "KL to the reference policy, nats per token.", _last("scalars", "kl")),
    _gauge("acr_grad_norm", "Gradient norm before clipping.", _last("scalars", "grad_norm")),
    _gauge(
        "acr_completion_length_tokens",
        "Mean completion length.",
        _last("scalars", "completion_length_mean"),
    ),
    _gauge(
        "acr_truncated_ratio",
        "Share of completions cut at the limit.",
        _last("scalars", "truncated_fraction"),
    ),
    _split(
        "acr_collapsed_ratio",
        "ACR by kind of collapse; the kinds add up to acr_ratio.",
        "outcome",
        {outcome: _share(outcome) for outcome in _COLLAPSED},
    ),
    _split(
        "acr_smoothed_collapsed_ratio",
        "acr_smoothed_ratio by kind of collapse.",
        "outcome",
        {
            "all_wrong": _last("collapse", "acr_wrong_smoothed"),
            "all_correct": _last("collapse", "acr_correct_smoothed"),
        },
    ),
    _gauge(
        "acr_effective_ratio",
        "ACR the optimizer saw, after injection; falls by construction.",
        _last("applied", "effective_acr"),
    ),
    _gauge(
        "acr_applied_settings_version",
        "Settings the trainer applied at its newest step.",
        _last("applied", "settings_version"),
    ),
    _gauge(
        "acr_settings_lag_steps",
        "Steps between the settings applied and the newest they could have known.",
        _lag_steps,
    ),
    _found(
        "acr_alarm_active",
        "1 for every alarm that is raised; absent when it is not.",
        lambda run: [
            (_label("rule", found.rule) + _label("severity", found.severity), 1)
            for found in run.verdicts
        ],
    ),
    _split(
        "acr_acting_mode",
        "1 for the mode at the next step, overrides and kill included; 0 for the others.",
        "mode",
        {mode: _is("acting_mode", mode) for mode in get_args(ActingMode)},
    ),
    _split(
        "acr_controller_stage",
        "1 for the stage of the guarded controller, which is off under any other; 0 for the "
        "others.",
        "stage",
        {stage: _is("settings.arming.stage", stage) for stage in get_args(Stage)},
    ),
    _gauge(
        "acr_killed",
        "1 after a kill, until somebody re-arms.",
        lambda run: int(run.settings.kill is not None),
    ),
    _gauge(
        "acr_ended",
        "1 after the trainer said that its training is over; 0 before.",
        lambda run: int(run.ended is not None),
    ),
    _gauge(
        "acr_overrides_active",
        "Overrides that act at the next step.",
        lambda run: len(run.acting_overrides),
    ),
    _gauge(
        "acr_injected_groups_ratio",
        "Share of groups injected, pooled over the last groups: what its cap holds for.",
        _last("applied", "group_fraction_pooled"),
    ),
    _gauge(
        "acr_injected_mass_ratio",
        "Share of the sum of |A| that was injected, pooled alike.",
        _last("applied", "mass_fraction_pooled"),
    ),
    _found(
        "acr_knob_requested",
        "Value asked for of one of the trainer's parameters.",
        lambda run: _knobs(run, attrgetter("requested")),
    ),
    _found(
        "acr_knob_applied",
        "Value in force at the newest step, of parameters that are asked for.",
        lambda run: _knobs(run, _in_force),
    ),
    _found(
        "acr_knob_ignored",
        "1 when the trainer ignored what is asked for at its newest step.",
        lambda run: _knobs(
            run, lambda knob: None if knob.applied is None else knob.applied.status == "ignored"
        ),
    ),
)

_DELIVERIES = "acr_alert_deliveries_total"
METRIC_NAMES = frozenset(
    {"acr_build_info", "acr_runs", _DELIVERIES, *(family.name for family in _FAMILIES)}
)
"""Every sample name there can be."""


def render(runs: Iterable[Run], standings: Mapping[Standing, int]) -> bytes:
    """The exposition text of these runs, and of how many stand how.

    It is for a thread: between two metrics the interpreter is offered to others.
    """
    shown = [(run, f'run="{_escaped(run.id)}"') for run in runs]
    text = [
        "# HELP acr_build_info The monitor itself.\n# TYPE acr_build_info gauge\n",
        f'acr_build_info{{version="{__version__}"}} 1\n',
        "# HELP acr_runs Runs by how they stand, those that are not shown here included.\n",
        "# TYPE acr_runs gauge\n",
        *(f'acr_runs{{state="{state}"}} {count}\n' for state, count in standings.items()),
    ]
    for family in _FAMILIES:
        family.write(shown, text)
        time.sleep(0)
    return "".join(text).encode()


def deliveries(outcomes: Mapping[tuple[str, str], int]) -> bytes:
    """The exposition text of how deliveries of alerts ended: (sink, outcome) -> count."""
    text = [
        f"# HELP {_DELIVERIES} Deliveries of alerts by how they ended.\n",
        f"# TYPE {_DELIVERIES} counter\n",
        *(
            f'{_DELIVERIES}{{sink="{sink}",outcome="{outcome}"}} {count}\n'
            for (sink, outcome), count in sorted(outcomes.items())
        ),
    ]
    return "".join(text).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
