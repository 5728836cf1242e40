"""The benchmark of ingest: an honest baseline, and figures that count what was recorded."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from benchmarks.figures import median
from benchmarks.ingest.__main__ import STEP, judged, main, noise
from benchmarks.ingest.contenders import AGAIN, BASELINE, OURS, TUNED
from benchmarks.ingest.load import Burst, fire, outcome, prepare
from benchmarks.ingest.measure import ADVANCE, STD, Cost
from benchmarks.processes import cpu_s, resident_bytes
from benchmarks.reports import Reports
from benchmarks.servers import started
from benchmarks.worker import workers
from monitor_service.engine.settings import Settings
from monitor_service.resources import Ack, StepPage, StepRecord
from monitor_service.store.keys import RunKeys, step_field
from monitor_service.wire import JSON, StepReport
from tests.servers import acr_serve, embedded_valkey, everything
from tests.service.reports import body, new_run_id


@pytest.fixture(scope="module", params=[(), ("--tuned",)], ids=["plain", "tuned"])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[str, str]]]:
    """(API, Redis) of a baseline and of ours."""
    folder = tmp_path_factory.mktemp("ingest")
    with (
        embedded_valkey(folder / "valkey") as redis_url,
        started("benchmarks.ingest.baseline", "--redis-url", redis_url, *request.param) as baseline,
        acr_serve(folder / "ours") as ours,
    ):
        yield {"baseline": (baseline.url, redis_url), "ours": (ours.url, ours.redis_url)}


def posted(url: str, run_id: str, report: StepReport | dict[str, Any]) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/runs/{run_id}/steps",
        content=msgspec.json.encode(report),
        headers={"content-type": JSON},
        trust_env=False,
    )


@pytest.fixture
def run_id(servers: dict[str, tuple[str, str]]) -> str:
    """A run that both have."""
    name = new_run_id()
    for url, _ in servers.values():
        assert httpx.post(f"{url}/v1/runs", json={"id": name}, trust_env=False).status_code == 201
    return name


def settings_of(reply: httpx.Response) -> Settings:
    """Without the name of the run's life, of which each server has its own."""
    settings = msgspec.json.decode(reply.content, type=Ack).settings
    return msgspec.structs.replace(settings, session="")


def test_the_baseline_answers_and_keeps_what_acr_serve_does(
    servers: dict[str, tuple[str, str]], run_id: str
) -> None:
    reports, steps = Reports(4, 4), range(1, 31)
    for step in steps:
        report = reports.of(step, JSON)
        replies = {name: posted(url, run_id, report) for name, (url, _) in servers.items()}
        theirs, ours = replies["baseline"], replies["ours"]
        assert theirs.json()["results"] == ours.json()["results"]
        assert settings_of(theirs) == settings_of(ours)
    (url, _), (_, redis_url) = servers["ours"], servers["baseline"]
    listed = httpx.get(f"{url}/v1/runs/{run_id}/steps", trust_env=False).content
    stored: Any = everything(redis_url)[RunKeys(run_id).steps.encode()]
    kept = [
        msgspec.json.decode(stored[step_field(1, step).encode()], type=StepRecord) for step in steps
    ]
    assert [msgspec.structs.replace(one, at_s=0.0) for one in kept] == [
        msgspec.structs.replace(one, at_s=0.0)
        for one in msgspec.json.decode(listed, type=StepPage).steps
    ]


def test_a_report_that_is_repeated_is_a_duplicate_to_both(
    servers: dict[str, tuple[str, str]], run_id: str
) -> None:
    report = Reports(4, 4).of(1, JSON)
    for url, _ in servers.values():
        answers = [posted(url, run_id, report).json()["results"] for _ in range(2)]
        assert [one["status"] for (one,) in answers] == ["recorded", "duplicate"]
        other = posted(url, run_id, msgspec.structs.replace(report, optimizer_step=7))
        assert other.status_code == 409


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": 2},
        {"step": 0},
        {"step": "1"},
        {"attempt": 2},
        {"surprise": 1},
        {"rewards": []},
        {"rewards": [[1.0], []]},
        {"rewards": [[1.0, "0"]]},
        {"primary": [[1.0]]},
        {"components": {"": {"mean": 1.0}}},
        {"scalars": {"entropy": "high"}},
        {"scalars": {"loudness": 1.0}},
    ],
    ids=str,
)
def test_what_acr_serve_refuses_the_baseline_refuses(
    servers: dict[str, tuple[str, str]], run_id: str, wrong: dict[str, Any]
) -> None:
    statuses = {
        name: posted(url, run_id, {**body(1), **wrong}).status_code
        for name, (url, _) in servers.items()
    }
    assert statuses["baseline"] == statuses["ours"]
    assert 400 <= statuses["ours"] < 500


def test_a_run_that_nobody_created_fails_the_load(
    servers: dict[str, tuple[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    url, _ = servers["ours"]
    burst = Burst(url=url, runs=(new_run_id(),), groups=4, size=4, first_step=2, num_steps=2)
    with workers(1) as (sender,):
        prepare(sender, burst)
        fire(sender)
        with pytest.raises(RuntimeError, match="load process"):
            outcome(sender)
    assert "status 404" in capfd.readouterr().err


def test_cpu_and_memory_are_those_of_the_process_asked_for() -> None:
    before = cpu_s(os.getpid())
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    # The clock of a process of one's own, read as that of another.
    assert cpu_s(os.getpid()) - before == pytest.approx(0.02, abs=0.01)
    assert cpu_s(os.getpid()) == pytest.approx(time.process_time(), abs=0.05)
    assert 1e7 < resident_bytes(os.getpid()) < 1e11


def cost(name: str, size: tuple[int, int], service_us: list[float], ratio: float) -> Cost:
    return Cost(
        name=name,
        groups=size[0],
        size=size[1],
        reports=1,
        service_us=median(service_us),
        rounds_us=tuple(service_us),
        redis_us=None,
        ratio=median([ratio]),
        load_share=0.1,
    )


def test_a_ratio_below_what_is_claimed_fails_and_noise_is_the_same_program_twice() -> None:
    costs = [
        cost(OURS, (128, 8), [100.0, 200.0], 4.9),
        cost(AGAIN, (128, 8), [110.0, 220.0], 4.9),
        cost(OURS, (1024, 16), [100.0], 15.0),
        cost(AGAIN, (1024, 16), [90.0], 15.0),
    ]
    assert [one.holds for one in judged(costs)] == [False, True]
    # 110 / 100 and 220 / 200, round by round; 90 / 100.
    assert [one.value for one in noise(costs).values()] == pytest.approx([1.1, 0.9])


@pytest.mark.e2e
def test_every_contender_records_every_report_and_the_figures_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    # Nothing is claimed about this size, so nothing fails.
    assert (
        main(["--rounds", "2", "--reports", str(STEP), "--sizes", "4x4", "--json", str(file)]) == 0
    )
    figures = json.loads(file.read_text())
    costs = {one["name"]: one for one in figures["costs"]}
    assert list(costs)[:5] == [BASELINE, TUNED, "acr serve, JSON", OURS, AGAIN]
    assert list(costs)[-2:] == [ADVANCE, STD]
    for one in costs.values():
        assert (one["groups"], one["size"], one["reports"]) == (4, 4, 2 * STEP)
        assert one["service_us"]["value"] > 0
        assert len(one["rounds_us"]) == 2
    assert costs[BASELINE]["ratio"] == {"value": 1, "low": 1, "high": 1, "p10": 1, "p90": 1}
    assert costs[STD]["ratio"]["value"] > costs[ADVANCE]["ratio"]["value"] > 1
    assert costs[OURS]["redis_us"]["value"] > 0
    assert costs["HTTP sink"]["redis_us"] is None
    assert figures["noise"]["4 x 4"]["value"] > 0
    assert "baseline/it" in capsys.readouterr().out
