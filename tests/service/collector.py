"""The same metrics by prometheus_client, whose format is the one that counts: slower, and apart."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)

from monitor_service.__about__ import __version__
from monitor_service.engine.arming import Stage
from monitor_service.engine.settings import ActingMode
from monitor_service.resources import Run

_COLLAPSED = ("all_wrong", "all_correct", "uniform_other")
_OUTCOMES = ("mixed", *_COLLAPSED, "unscored")

_USES = ("kept", "filled", "surplus")
_SIDES = ("wrong", "correct")
_SMOOTHED = {"all_wrong": "acr_wrong_smoothed", "all_correct": "acr_correct_smoothed"}

_INFO = ("profile", "controller", "mode", "strategy")

Figure = Callable[[Run], float | None]
Labelled = Callable[[Run], Iterable[tuple[Sequence[str], float | None]]]
"""Values of a figure's labels beside `run` -> the figure."""

_COUNTERS = {
    "acr_steps": ("Generation batches reported.", "steps"),
    "acr_completions": ("Scored completions reported.", "completions"),
    "acr_step_gaps": ("Steps that were never reported.", "missing_steps"),
    "acr_intervened_steps": ("Steps with at least one injected group.", "intervened_steps"),
    "acr_invalid_rewards": ("Infinite or oversized rewards.", "invalid_rewards"),
}
_LAST_STEP = {
    "acr_ratio": ("Share of scored groups without a signal, from real rewards.", "acr"),
    "acr_smoothed_ratio": ("ACR smoothed over groups (half-life 64).", "acr_smoothed"),
    "acr_reward_mean": ("Mean reward of the step, reward units.", "reward_mean"),
}
_SCALARS = {
    "acr_entropy_nats": ("Policy entropy, nats per token.", "entropy"),
    "acr_kl_nats": ("KL to the reference policy, nats per token.", "kl"),
    "acr_grad_norm": ("Gradient norm before clipping.", "grad_norm"),
    "acr_completion_length_tokens": ("Mean completion length.", "completion_length_mean"),
    "acr_truncated_ratio": ("Share of completions cut at the limit.", "truncated_fraction"),
}


class _Collector:
    def __init__(self, runs: Sequence[Run], standings: Mapping[Any, int]) -> None:
        self._runs = runs
        self._standings = standings

    def collect(self) -> Iterator[Metric]:
        """All families, each with a sample for every run that has the figure."""
        build = GaugeMetricFamily("acr_build_info", "The monitor itself.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        stand = GaugeMetricFamily(
            "acr_runs",
            "Runs by how they stand, those that are not shown here included.",
            labels=["state"],
        )
        for state, count in self._standings.items():
            stand.add_metric([state], count)
        yield stand
        yield from self._counters()
        yield from self._states()
        yield from self._steps()
        yield from self._control()

    def _counters(self) -> Iterator[Metric]:
        for name, (text, field) in _COUNTERS.items():
            plain = CounterMetricFamily(name, text, labels=["run"])
            for run in self._runs:
                plain.add_metric([run.id], getattr(run.counters, field))
            yield plain
        groups = CounterMetricFamily("acr_groups", "Groups by outcome.", labels=["run", "outcome"])
        injected = CounterMetricFamily(
            "acr_injected_groups", "Groups given a virtual signal.", labels=["run", "side"]
        )
        shadow = CounterMetricFamily(
            "acr_shadow_injected_groups",
            "Groups that would have been, had the mode not been shadow.",
            labels=["run", "side"],
        )
        sampling = CounterMetricFamily(
            "acr_sampling_groups",
            "Groups under dynamic sampling: kept differ and were trained on, filled collapsed and "
            "fill the batch, surplus differ and were left over.",
            labels=["run", "use"],
        )
        for run in self._runs:
            for use in _USES:
                sampling.add_metric([run.id, use], getattr(run.counters, f"sampling_{use}"))
            for outcome in _OUTCOMES:
                groups.add_metric([run.id, outcome], getattr(run.counters, outcome))
            for side in _SIDES:
                injected.add_metric([run.id, side], getattr(run.counters, f"injected_{side}"))
                shadow.add_metric([run.id, side], getattr(run.counters, f"shadow_{side}"))
        yield groups
        yield injected
        yield shadow
        yield sampling

    def _states(self) -> Iterator[Metric]:
        info = InfoMetricFamily("acr_run", "What the run is set to.", labels=["run"])
        for run in self._runs:
            set_to = {name: getattr(run.settings, name) for name in _INFO}
            info.add_metric([run.id], set_to)
        yield info
        yield self._gauge("acr_step", "Newest step reported.", lambda run: run.step)
        yield self._gauge("acr_attempt", "Times the trainer has started.", lambda run: run.attempt)
        yield self._gauge(
            "acr_threshold_ratio",
            "Threshold in force: inject when ACR is above it.",
            lambda run: run.settings.threshold,
        )
        yield self._gauge(
            "acr_settings_version", "Newest settings published.", lambda run: run.settings.version
        )
        yield self._gauge(
            "acr_settings_revision",
            "Grows with every change of the settings by a person.",
            lambda run: run.settings.revision,
        )
        yield self._gauge(
            "acr_last_report_timestamp_seconds",
            "Unix time of the newest report.",
            lambda run: run.last_report_at_s,
        )

    def _steps(self) -> Iterator[Metric]:
        for name, (text, field) in _LAST_STEP.items():
            yield self._gauge(name, text, _last("collapse", field))
        for name, (text, field) in _SCALARS.items():
            yield self._gauge(name, text, _last("scalars", field))
        yield self._labelled(
            "acr_collapsed_ratio",
            "ACR by kind of collapse; the kinds add up to acr_ratio.",
            ["outcome"],
            _split,
        )
        yield self._labelled(
            "acr_smoothed_collapsed_ratio",
            "acr_smoothed_ratio by kind of collapse.",
            ["outcome"],
            _smoothed_split,
        )
        yield self._gauge(
            "acr_effective_ratio",
            "ACR the optimizer saw, after injection; falls by construction.",
            _last("applied", "effective_acr"),
        )
        yield self._gauge(
            "acr_applied_settings_version",
            "Settings the trainer applied at its newest step.",
            _last("applied", "settings_version"),
        )
        yield self._gauge(
            "acr_settings_lag_steps",
            "Steps between the settings applied and the newest they could have known.",
            _lag_steps,
        )

    def _control(self) -> Iterator[Metric]:
        yield self._labelled(
            "acr_alarm_active",
            "1 for every alarm that is raised; absent when it is not.",
            ["rule", "severity"],
            lambda run: [((found.rule, found.severity), 1) for found in run.verdicts],
        )
        yield self._labelled(
            "acr_acting_mode",
            "1 for the mode at the next step, overrides and kill included; 0 for the others.",
            ["mode"],
            lambda run: [((mode,), mode == run.acting_mode) for mode in get_args(ActingMode)],
        )
        yield self._labelled(
            "acr_controller_stage",
            "1 for the stage of the guarded controller, which is off under any other; 0 for the "
            "others.",
            ["stage"],
            lambda run: [
                ((stage,), stage == run.settings.arming.stage) for stage in get_args(Stage)
            ],
        )
        yield self._gauge(
            "acr_killed",
            "1 after a kill, until somebody re-arms.",
            lambda run: bool(run.settings.kill),
        )
        yield self._gauge(
            "acr_ended",
            "1 after the trainer said that its training is over; 0 before.",
            lambda run: run.ended is not None,
        )
        yield self._gauge(
            "acr_overrides_active",
            "Overrides that act at the next step.",
            lambda run: len(run.acting_overrides),
        )
        yield self._gauge(
            "acr_injected_groups_ratio",
            "Share of groups injected, pooled over the last groups: what its cap holds for.",
            _last("applied", "group_fraction_pooled"),
        )
        yield self._gauge(
            "acr_injected_mass_ratio",
            "Share of the sum of |A| that was injected, pooled alike.",
            _last("applied", "mass_fraction_pooled"),
        )
        yield self._labelled(
            "acr_knob_requested",
            "Value asked for of one of the trainer's parameters.",
            ["knob"],
            lambda run: [((knob.name,), knob.requested) for knob in run.knobs],
        )
        yield self._labelled(
            "acr_knob_applied",
            "Value in force at the newest step, of parameters that are asked for.",
            ["knob"],
            lambda run: [((knob.name,), knob.applied.value) for knob in run.knobs if knob.applied],
        )
        yield self._labelled(
            "acr_knob_ignored",
            "1 when the trainer ignored what is asked for at its newest step.",
            ["knob"],
            lambda run: [
                ((knob.name,), knob.applied.status == "ignored")
                for knob in run.knobs
                if knob.applied
            ],
        )

    def _labelled(self, name: str, text: str, labels: Sequence[str], figures: Labelled) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["run", *labels])
        for run in self._runs:
            for values, figure in figures(run):
                if figure is not None:
                    family.add_metric([run.id, *values], figure)
        return family

    def _gauge(self, name: str, text: str, figure: Figure) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["run"])
        for run in self._runs:
            value = figure(run)
            if value is not None:
                family.add_metric([run.id], value)
        return family


def _last(part: str, field: str) -> Figure:
    """A figure of the newest step; None when the step, the part or the figure is absent."""

    def figure(run: Run) -> float | None:
        return None if run.last is None else getattr(getattr(run.last, part), field, None)

    return figure


def _split(run: Run) -> Iterator[tuple[Sequence[str], float | None]]:
    if run.last and run.last.collapse.num_groups:
        for outcome in _COLLAPSED:
            count = getattr(run.last.collapse, outcome)
            yield (outcome,), count / run.last.collapse.num_groups


def _smoothed_split(run: Run) -> Iterator[tuple[Sequence[str], float | None]]:
    if run.last:
        for outcome, field in _SMOOTHED.items():
            yield (outcome,), getattr(run.last.collapse, field)


def _lag_steps(run: Run) -> float | None:
    if run.last is None or run.last.applied is None:
        return None
    return run.last.step - 1 - run.last.applied.through_step


def latest(runs: Iterable[Run], standings: Mapping[Any, int]) -> bytes:
    """The exposition text of these runs."""
    registry = CollectorRegistry()
    registry.register(_Collector(list(runs), standings))
    return generate_latest(registry)
