"""Every query of the dashboard, as Grafana will load it, asked of a real Prometheus."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboards.queries import Query, queries
from tests.prometheus_server import POLL_S, instant_query, running_prometheus
from tests.servers import acr_serve, short_folder

pytestmark = pytest.mark.e2e

DASHBOARD = Path(__file__).parents[2] / "dashboards" / "json" / "acr-run.json"
RUN = "run-a"

# Ten scrapes at one per second: rates have their two samples early, and a slow machine keeps them.
VARIABLES = {"run": RUN, "__rate_interval": "10s", "__range": "10s"}

# A rate needs two scrapes, that is two seconds; the rest is patience with a loaded machine.
ANSWERED_WITHIN_S = 30


REPORT_EVERY_S = 0.2
MIXED, WRONG, CORRECT = [1.0, 0.0] * 4, [0.0] * 8, [1.0] * 8
PARTIAL, UNSCORED = [0.5] * 8, [None] * 8
# 15 scored groups, 7 of them collapsed: ACR 7/15. All wrong and all correct ones are injected.
REWARDS = [*[MIXED] * 8, *[WRONG] * 4, *[CORRECT] * 2, PARTIAL, UNSCORED]


def _report(step: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "step": step,
        "rewards": REWARDS,
        "scalars": {
            "entropy": 0.6,
            "kl": 0.02,
            "grad_norm": 0.8,
            "completion_length_mean": 512.0,
            "truncated_fraction": 0.05,
        },
        "applied": {
            "settings_version": settings["version"],
            "through_step": settings["through_step"],
            "mode": settings["mode"],
            "threshold": settings["threshold"],
            "triggered": True,
            "injected_wrong": 4,
            "injected_correct": 2,
            "effective_acr": 1 / 15,
        },
    }


def _train(url: str, done: threading.Event) -> None:
    """Report steps of run `RUN` as a trainer would, each with the settings of the one before."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        settings = client.post("/v1/runs", json={"id": RUN}).json()["settings"]
        step = 0
        while not done.wait(REPORT_EVERY_S):
            step += 1
            reply = client.post(f"/v1/runs/{RUN}/steps", json=_report(step, settings))
            settings = reply.raise_for_status().json()["settings"]


@pytest.fixture(scope="module")
def scrape_target() -> Iterator[str]:
    """`host:port` of a monitor that takes the steps of run `RUN` while it is scraped."""
    done = threading.Event()
    with short_folder() as folder, acr_serve(folder) as monitor:
        trainer = threading.Thread(target=_train, args=(monitor.url, done), name="trainer")
        trainer.start()
        try:
            yield monitor.url.removeprefix("http://")
        finally:
            done.set()
            trainer.join()


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
