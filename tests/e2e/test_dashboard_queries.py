"""Every query of the dashboard, asked of a real Prometheus that scrapes a real training run."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dashboards.queries import Query, queries
from tests.prometheus_server import POLL_S, instant_query, running_prometheus
from tests.servers import AcrServe, acr_serve, eventually, short_folder

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "dashboards" / "json" / "acr-run.json"
RUN = "run-a"

# Ten scrapes at one per second: rates have their two samples early, and a slow machine keeps them.
VARIABLES = {"run": RUN, "__rate_interval": "10s", "__range": "10s"}

# A rate needs two scrapes, that is two seconds; the rest is patience with a loaded machine.
ANSWERED_WITHIN_S = 30

# Beta loads a reference policy, so that there is a KL; a low threshold injects at every step.
OPTIONS = {
    "run_id": RUN,
    "use_avspo": "true",
    "acr_threshold_init": "0.1",
    "beta": "0.01",
    "logging_steps": "1",
    "max_steps": "1000000",
}


@contextmanager
def training(monitor: AcrServe, folder: Path) -> Iterator[None]:
    """Real GRPO training of the toy as run `RUN`, under way while the block runs."""
    given = {**OPTIONS, "monitor_url": monitor.url, "output_dir": str(folder / "out")}
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", "trainer.train", str(ROOT / "examples" / "toy.yaml"), *options]
    with (folder / "train.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or _step(monitor) > 2, "training", 120)
        assert process.poll() is None, (folder / "train.log").read_text()[-2000:]
        yield
    finally:
        process.kill()
        process.wait()


def _step(monitor: AcrServe) -> int:
    reply = httpx.get(f"{monitor.url}/v1/runs/{RUN}")
    return int(reply.json()["step"]) if reply.status_code == 200 else 0


@pytest.fixture(scope="module")
def scrape_target() -> Iterator[str]:
    """`host:port` of a monitor that a trainer reports to while it is scraped."""
    with short_folder() as folder, acr_serve(folder) as monitor, training(monitor, folder):
        yield monitor.url.removeprefix("http://")


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
