"""Every query of the dashboard, as Grafana will load it, asked of a real Prometheus."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from dashboards.queries import Query, queries
from tests.prometheus_server import POLL_S, instant_query, running_prometheus

pytestmark = pytest.mark.e2e

DASHBOARD = Path(__file__).parents[2] / "dashboards" / "json" / "acr-run.json"
RUN = "run-a"

# Ten scrapes at one per second: rates have their two samples early, and a slow machine keeps them.
VARIABLES = {"run": RUN, "__rate_interval": "10s", "__range": "10s"}

# A rate needs two scrapes, that is two seconds; the rest is patience with a loaded machine.
ANSWERED_WITHIN_S = 30


class _StandInRun:
    """A run that makes one step of 16 groups per scrape: 8 mixed, 4 wrong, 2 correct, 1, 1."""

    def __init__(self) -> None:
        self._step = 0

    def collect(self) -> Iterator[Metric]:
        self._step += 1
        groups = {"mixed": 8, "all_wrong": 4, "all_correct": 2, "uniform_other": 1, "unscored": 1}
        yield self._counter("acr_steps", 1)
        yield self._counter("acr_completions", 16 * 8)
        yield self._counter("acr_intervened_steps", 1)
        yield self._counter("acr_step_gaps", 0)
        yield self._counters("acr_groups", "outcome", groups)
        yield self._counters("acr_injected_groups", "side", {"wrong": 4, "correct": 2})
        collapsed = {"all_wrong": 4 / 15, "all_correct": 2 / 15, "uniform_other": 1 / 15}
        yield self._gauges("acr_collapsed_ratio", "outcome", collapsed)
        yield from (self._gauge(name, value) for name, value in self._figures().items())
        labels = ["run", "profile", "controller", "mode", "strategy"]
        info = GaugeMetricFamily("acr_run_info", "Stand-in.", labels=labels)
        info.add_metric([RUN, "paper", "paper-adaptive", "active", "stratified"], 1)
        yield info

    def _figures(self) -> dict[str, float]:
        return {
            "acr_step": self._step,
            "acr_attempt": 1,
            "acr_ratio": 7 / 15,
            "acr_smoothed_ratio": 0.45,
            "acr_effective_ratio": 1 / 15,
            "acr_threshold_ratio": 0.4,
            "acr_reward_mean": 0.3,
            "acr_entropy_nats": 0.6,
            "acr_kl_nats": 0.02,
            "acr_grad_norm": 0.8,
            "acr_completion_length_tokens": 512,
            "acr_truncated_ratio": 0.05,
            "acr_settings_version": self._step + 1,
            "acr_applied_settings_version": self._step,
            "acr_settings_lag_steps": 1,
            "acr_last_report_timestamp_seconds": time.time(),
        }

    def _gauge(self, name: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, "Stand-in.", labels=["run"])
        family.add_metric([RUN], value)
        return family

    def _gauges(self, name: str, label: str, values: dict[str, float]) -> Metric:
        family = GaugeMetricFamily(name, "Stand-in.", labels=["run", label])
        for key, value in values.items():
            family.add_metric([RUN, key], value)
        return family

    def _counter(self, name: str, per_step: int) -> Metric:
        family = CounterMetricFamily(name, "Stand-in.", labels=["run"])
        family.add_metric([RUN], per_step * self._step)
        return family

    def _counters(self, name: str, label: str, per_step: dict[str, int]) -> Metric:
        family = CounterMetricFamily(name, "Stand-in.", labels=["run", label])
        for key, value in per_step.items():
            family.add_metric([RUN, key], value * self._step)
        return family


@pytest.fixture(scope="module")
def scrape_target() -> Iterator[str]:
    """`host:port` whose /metrics shows run `RUN`, a step further at every scrape."""
    registry = CollectorRegistry()
    registry.register(_StandInRun())
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def prometheus_url(scrape_target: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_prometheus(scrape_target, tmp_path_factory.mktemp("prometheus")) as url:
        yield url


def _unanswered(base_url: str, wanted: list[Query], within_s: float) -> list[Query]:
    deadline = time.monotonic() + within_s
    while True:
        wanted = [query for query in wanted if not instant_query(base_url, query.expr)]
        if not wanted or time.monotonic() >= deadline:
            return wanted
        time.sleep(POLL_S)


def test_every_query_of_the_dashboard_has_an_answer(prometheus_url: str):
    every = queries(json.loads(DASHBOARD.read_text(encoding="utf-8")), VARIABLES)
    assert every
    assert _unanswered(prometheus_url, every, ANSWERED_WITHIN_S) == []


def test_a_query_with_a_misspelt_metric_has_no_answer(prometheus_url: str):
    right = Query(panel="ACR", ref_id="A", expr="max(acr_ratio)")
    wrong = Query(panel="ACR", ref_id="B", expr="max(acr_rati)")
    assert _unanswered(prometheus_url, [right, wrong], within_s=2) == [wrong]


def test_the_shares_of_group_outcomes_add_up_to_one(prometheus_url: str):
    every = queries(json.loads(DASHBOARD.read_text(encoding="utf-8")), VARIABLES)
    (outcomes,) = [query for query in every if query.panel == "Group outcomes"]
    assert _unanswered(prometheus_url, [outcomes], ANSWERED_WITHIN_S) == []
    shares = [float(sample["value"][1]) for sample in instant_query(prometheus_url, outcomes.expr)]
    assert sum(shares) == pytest.approx(1.0)
