"""Every query of both dashboards, asked of a real Prometheus that scraped a real training run.

The run is steered while it is scraped: a knob is asked for that the trainer cannot turn, which
raises an alarm that one of two sinks does not take, and in the end the run is killed. Beside it are
a run that waits for its trainer and one that somebody else's trainer reports to.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboards.queries import Query, queries
from tests.dashboards.grafana_table import table
from tests.prometheus_server import instant_query, running_prometheus
from tests.servers import AcrServe, acr_serve, eventually, short_folder

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dashboards" / "json").glob("*.json"))
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
DOCUMENTS = {uid: json.loads(text) for uid, text in TEXTS.items()}
RUN, WAITING, FOREIGN = "run-a", "run-b", "run-c"

# Beta loads a reference policy, so that there is a KL; a low threshold injects at every step.
OPTIONS = {
    "run_id": RUN,
    "use_avspo": "true",
    "acr_threshold_init": "0.1",
    "beta": "0.01",
    "logging_steps": "1",
    "max_steps": "1000000",
}
# The toy's training began without an entropy bonus, so this one cannot be turned.
ASKED = {"temperature": 1.1, "entropy_coef": 0.01}
NOBODY_LISTENS = "http://127.0.0.1:1/alerts"
POINT_S = 2
"""Between two points of a graph: two scrapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A Prometheus, and when what it saw began, was at its height, and ended; Unix times."""

    url: str
    begun_s: float
    now_s: float
    ended_s: float

    @property
    def variables(self) -> dict[str, str]:
        """As Grafana would fill them in; ten scrapes, so that a slow machine has its two."""
        shown_s = math.ceil(self.ended_s - self.begun_s)
        points = {"__rate_interval": "10s", "__range": f"{shown_s}s", "__interval": f"{POINT_S}s"}
        return {"run": RUN, **points}

    def queries(self, uid: str, panel: str = "") -> list[Query]:
        """Of a dashboard, or of one of its panels."""
        every = queries(DOCUMENTS[uid], self.variables)
        return [query for query in every if panel in ("", query.panel)]

    def answer(self, query: Query) -> list[dict[str, Any]]:
        """The `result` of Prometheus; an expression it refuses fails the test."""
        kind, when = "query_range", {"start": self.begun_s, "end": self.ended_s, "step": POINT_S}
        if query.is_instant:
            kind, when = "query", {"time": self.now_s}
        reply = httpx.get(
            f"{self.url}/api/v1/{kind}", params={"query": query.expr, **when}, trust_env=False
        )
        assert reply.status_code == 200, f"{query}\n{reply.text}"
        result: list[dict[str, Any]] = reply.json()["data"]["result"]
        return result

    def rows(self, uid: str, title: str) -> list[dict[str, Any]]:
        """What a table shows."""
        (panel,) = [panel for panel in DOCUMENTS[uid]["panels"] if panel["title"] == title]
        asked = self.queries(uid, title)
        return table(panel, {query.ref_id: self.answer(query) for query in asked})


@contextmanager
def training(monitor: AcrServe, folder: Path) -> Iterator[None]:
    """Real GRPO training of the toy as run `RUN`, under way while the block runs."""
    given = {**OPTIONS, "monitor_url": monitor.url, "output_dir": str(folder / "out")}
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", "trainer.train", str(ROOT / "examples" / "toy.yaml"), *options]
    with (folder / "train.log").open("wb") as log:
        # One thread: several wait for each other where servers want the processors, too.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or _step(monitor) > 2, "training", 300)
        assert process.poll() is None, (folder / "train.log").read_text()[-2000:]
        yield
    finally:
        process.kill()
        process.wait()


def _step(monitor: AcrServe) -> int:
    reply = httpx.get(f"{monitor.url}/v1/runs/{RUN}")
    return int(reply.json()["step"]) if reply.status_code == 200 else 0


def _order(monitor: AcrServe, method: str, path: str, body: Mapping[str, Any]) -> None:
    httpx.request(method, f"{monitor.url}/v1/runs{path}", json=body).raise_for_status()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ACR_ALERT_WEBHOOK_URL", NOBODY_LISTENS)
        with (
            short_folder() as folder,
            acr_serve(folder) as monitor,
            training(monitor, folder),
            running_prometheus(
                monitor.url.removeprefix("http://"), tmp_path_factory.mktemp("prometheus")
            ) as url,
        ):
            yield _steered(monitor, url)


def _steered(monitor: AcrServe, url: str) -> Recorded:
    def seen(expr: str) -> None:
        eventually(lambda: bool(instant_query(url, expr)), expr, 60)

    def a_point_later() -> float:
        """Prometheus has scraped until then, so that the graph has a point in between."""
        at_s = time.time() + POINT_S
        seen(f"timestamp(acr_killed) > {at_s}")
        return at_s

    _order(monitor, "POST", "", {"id": WAITING})
    _order(monitor, "POST", "", {"id": FOREIGN})
    _order(monitor, "POST", f"/{FOREIGN}/steps", {"step": 1, "rewards": [[0, 0], [1, 0]]})
    begun_s = time.time()
    seen(f'acr_step{{run="{FOREIGN}"}}')
    seen(f'rate(acr_steps_total{{run="{RUN}"}}[10s]) > 0')
    _order(monitor, "PATCH", f"/{RUN}/settings", {**ASKED, "reason": "to see it"})
    seen(f'acr_alarm_active{{run="{RUN}", rule="settings_ignored"}}')
    seen('acr_alert_deliveries_total{outcome="failed"}')
    seen('acr_alert_deliveries_total{outcome="delivered"}')
    now_s = a_point_later()
    _order(monitor, "POST", f"/{RUN}/kill", {"reason": "seen enough"})
    seen(f'acr_killed{{run="{RUN}"}} == 1')
    ended_s = a_point_later()
    return Recorded(url=url, begun_s=begun_s, now_s=now_s, ended_s=ended_s)


def _unanswered(recorded: Recorded, wanted: list[Query]) -> list[Query]:
    return [query for query in wanted if not recorded.answer(query)]


@pytest.mark.parametrize("uid", DOCUMENTS)
def test_every_query_of_a_dashboard_has_an_answer(recorded: Recorded, uid: str):
    every = recorded.queries(uid)
    assert every
    assert _unanswered(recorded, every) == []


@pytest.mark.parametrize("uid", DOCUMENTS)
def test_a_misspelt_metric_leaves_its_queries_without_an_answer(recorded: Recorded, uid: str):
    misspelt = json.loads(TEXTS[uid].replace("acr_smoothed_ratio", "acr_smothed_ratio"))
    every = queries(misspelt, recorded.variables)
    wrong = [query for query in every if "acr_smothed_ratio" in query.expr]
    assert wrong
    assert _unanswered(recorded, every) == wrong


@pytest.mark.parametrize(
    ("uid", "panel"),
    [("acr-run", "Group outcomes"), ("acr-overview", "Group outcomes, all runs")],
)
def test_the_shares_of_group_outcomes_add_up_to_one(recorded: Recorded, uid: str, panel: str):
    (outcomes,) = recorded.queries(uid, panel)
    shares: dict[float, float] = {}
    for series in recorded.answer(outcomes):
        for at_s, share in series["values"]:
            shares[at_s] = shares.get(at_s, 0.0) + float(share)
    assert list(shares.values()) == pytest.approx([1.0] * len(shares))


def _marks(recorded: Recorded, annotation: str) -> list[tuple[dict[str, str], float]]:
    """Labels and time of every point, in order."""
    (query,) = recorded.queries("acr-run", f"annotation {annotation}")
    found = [
        (series["metric"], at_s)
        for series in recorded.answer(query)
        for at_s, value in series["values"]
        if float(value) > 0
    ]
    return sorted(found, key=lambda mark: mark[1])


def test_every_change_by_a_person_is_marked_once_and_when_it_was_made(recorded: Recorded):
    (_, changed_s), (_, killed_s) = _marks(recorded, "Settings changed")
    assert recorded.begun_s < changed_s < recorded.now_s
    assert recorded.now_s < killed_s <= recorded.ended_s
    assert _marks(recorded, "Killed")[0][1] == killed_s


def test_an_alarm_is_marked_when_it_is_raised_and_not_for_as_long_as_it_stands(recorded: Recorded):
    label = {"rule": "settings_ignored", "severity": "warning"}
    marks = [at_s for labels, at_s in _marks(recorded, "Alarms raised") if labels == label]
    (raised_s,) = marks
    ((_, changed_s), _) = _marks(recorded, "Settings changed")
    assert changed_s <= raised_s <= recorded.now_s


def test_the_table_has_a_row_for_every_run_and_all_its_columns(recorded: Recorded):
    rows = {row["run"]: row for row in recorded.rows("acr-overview", "Every run")}
    assert rows.keys() == {RUN, WAITING, FOREIGN}
    whole = rows[RUN]
    assert list(whole) == [
        *("run", "verdict", "severity", "ACR", "trend", "all wrong", "reward", "threshold"),
        *("mode", "controller", "step", "last report"),
    ]
    assert whole["severity"] >= 2
    assert (whole["mode"], whole["controller"]) == ("active", "paper")
    assert len(whole["trend"]) > 1
    assert 0 <= whole["last report"] < 60
    # 1 of its 2 groups is all-wrong; nothing applied its settings.
    foreign = rows[FOREIGN]
    assert (foreign["verdict"], foreign["severity"]) == ("none", 0)
    assert (foreign["ACR"], foreign["all wrong"], foreign["reward"]) == (0.5, 0.5, 0.25)
    # Nothing of it is known but what it is set to.
    assert rows[WAITING].keys() == {
        *("run", "verdict", "severity", "threshold", "mode", "controller", "step")
    }


def test_the_table_of_knobs_shows_what_is_asked_for_beside_what_is_in_force(recorded: Recorded):
    rows = {row["knob"]: row for row in recorded.rows("acr-run", "Knobs")}
    assert rows.keys() == ASKED.keys()
    assert {name: row["requested"] for name, row in rows.items()} == ASKED
    assert (rows["temperature"]["applied"], rows["temperature"]["trainer"]) == (1.1, 0)
    assert (rows["entropy_coef"]["applied"], rows["entropy_coef"]["trainer"]) == (0, 1)


def test_the_figures_of_the_overview_count_runs_alarms_and_alerts(recorded: Recorded):
    def shown(title: str) -> dict[str, int]:
        return {
            query.legend: int(recorded.answer(query)[0]["value"][1])
            for query in recorded.queries("acr-overview", title)
        }

    assert shown("Runs") == {"training": 2, "waiting": 1, "silent": 0, "ended": 0}
    assert shown("Alarms")["warning"] >= 1
    untold = shown("Alerts that did not get through")
    assert untold["failed"] >= 1
    assert (untold["refused"], untold["expired"]) == (0, 0)


def _names(recorded: Recorded, uid: str, panel: Mapping[str, Any]) -> set[str]:
    """How Grafana calls the series, or the columns, of a panel."""
    if panel["type"] == "table":
        return set().union(*recorded.rows(uid, panel["title"]))
    return {
        _named(query.legend, series["metric"])
        for query in recorded.queries(uid, panel["title"])
        for series in recorded.answer(query)
    }


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels[found[1]], legend)


@pytest.mark.parametrize("uid", DOCUMENTS)
def test_every_override_is_about_a_series_or_a_column_that_is_there(recorded: Recorded, uid: str):
    for panel in DOCUMENTS[uid]["panels"]:
        overrides = panel.get("fieldConfig", {}).get("overrides", [])
        matchers = [override["matcher"] for override in overrides]
        meant = {matcher["options"] for matcher in matchers if matcher["id"] == "byName"}
        if meant:
            assert meant <= _names(recorded, uid, panel), panel["title"]
