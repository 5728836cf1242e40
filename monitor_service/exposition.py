"""Runs -> Prometheus text. Rendered per scrape from the store, so any replica answers for all.

Group outcomes are counters: the ACR of any time window is a ratio of rates, and no step is lost
between two scrapes. Gauges show the newest step. A figure that does not exist is absent, not 0.
The only label people can grow is `run`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)

from monitor_service.__about__ import __version__
from monitor_service.wire import Run

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COLLAPSED = ("all_wrong", "all_correct", "uniform_other")
_OUTCOMES = ("mixed", *_COLLAPSED, "unscored")

_INFO = ("profile", "controller", "mode", "strategy")

Figure = Callable[[Run], float | None]

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


class _RunCollector:
    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs

    def collect(self) -> Iterator[Metric]:
        """All families, each with a sample for every run that has the figure."""
        build = GaugeMetricFamily("acr_build_info", "The monitor itself.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield from self._counters()
        yield from self._states()
        yield from self._steps()

    def _counters(self) -> Iterator[Metric]:
        for name, (text, field) in _COUNTERS.items():
            plain = CounterMetricFamily(name, text, labels=["run"])
            for run in self._runs:
                plain.add_metric([run.id], getattr(run.counters, field))
            yield plain
        groups = CounterMetricFamily("acr_groups", "Groups by outcome.", labels=["run", "outcome"])
        sides = CounterMetricFamily(
            "acr_injected_groups", "Groups given a virtual signal.", labels=["run", "side"]
        )
        for run in self._runs:
            for outcome in _OUTCOMES:
                groups.add_metric([run.id, outcome], getattr(run.counters, outcome))
            for side in ("wrong", "correct"):
                sides.add_metric([run.id, side], getattr(run.counters, f"injected_{side}"))
        yield groups
        yield sides

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
            "acr_last_report_timestamp_seconds",
            "Unix time of the newest report.",
            lambda run: run.last_report_at_s,
        )

    def _steps(self) -> Iterator[Metric]:
        for name, (text, field) in _LAST_STEP.items():
            yield self._gauge(name, text, _last("collapse", field))
        for name, (text, field) in _SCALARS.items():
            yield self._gauge(name, text, _last("scalars", field))
        split = GaugeMetricFamily(
            "acr_collapsed_ratio",
            "ACR by kind of collapse; the kinds add up to acr_ratio.",
            labels=["run", "outcome"],
        )
        for run in self._runs:
            if run.last and run.last.collapse.num_groups:
                for outcome in _COLLAPSED:
                    count = getattr(run.last.collapse, outcome)
                    split.add_metric([run.id, outcome], count / run.last.collapse.num_groups)
        yield split
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


def _lag_steps(run: Run) -> float | None:
    if run.last is None or run.last.applied is None:
        return None
    return run.last.step - 1 - run.last.applied.through_step


METRIC_NAMES = frozenset(
    family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
    for family in _RunCollector([]).collect()
)
"""Every sample name there can be."""


def render(runs: Iterable[Run]) -> bytes:
    """The exposition text of these runs; pure, and slow enough to keep off the event loop."""
    registry = CollectorRegistry()
    registry.register(_RunCollector(list(runs)))
    return generate_latest(registry)
