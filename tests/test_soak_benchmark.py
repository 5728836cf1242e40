"""The soak: it finds what is lost and what is stored twice, and judges flatness as it says."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from benchmarks.soak.__main__ import main
from benchmarks.soak.flatness import flatness, windows
from benchmarks.soak.measure import Watched
from benchmarks.soak.verify import verify
from benchmarks.trainings import Seen
from monitor_service.store.keys import RunKeys, step_field
from tests.servers import api_server
from tests.service.reports import body, new_run_id


@pytest.fixture(scope="module")
def base_url(redis_url: str) -> Iterator[str]:
    with api_server(redis_url) as url:
        yield url


@pytest.fixture
def reported(base_url: str) -> str:
    """A run of three steps."""
    name = new_run_id()
    with httpx.Client(base_url=base_url, trust_env=False) as http:
        http.post("/v1/runs", json={"id": name}).raise_for_status()
        for step in (1, 2, 3):
            http.post(f"/v1/runs/{name}/steps", json=body(step)).raise_for_status()
    return name


def test_a_run_that_holds_what_was_acknowledged_is_right(base_url: str, reported: str) -> None:
    kept = verify(base_url, {reported: 3})
    assert (kept.acknowledged, kept.counted, kept.listed) == (3, 3, 3)
    assert (kept.lost, kept.twice, kept.is_right) == (0, 0, True)


def test_an_acknowledged_step_that_is_not_there_is_lost(base_url: str, reported: str) -> None:
    kept = verify(base_url, {reported: 5})
    assert (kept.lost, kept.twice, kept.wrong_runs) == (2, 0, (reported,))


def test_a_record_that_is_gone_is_lost_though_it_was_counted(
    base_url: str, redis_url: str, reported: str
) -> None:
    with redis.Redis.from_url(redis_url) as store:
        assert store.hdel(RunKeys(reported).steps, step_field(1, 2)) == 1
    kept = verify(base_url, {reported: 3})
    assert (kept.counted, kept.listed, kept.lost) == (3, 2, 1)


def test_what_is_counted_beyond_what_was_sent_is_there_twice(base_url: str, reported: str) -> None:
    kept = verify(base_url, {reported: 2})
    assert (kept.lost, kept.twice, kept.is_right) == (0, 1, False)


def watched(service_mb: list[float]) -> Watched:
    """A sample a second; the store grows by 1 kB a second."""
    times = [float(at) for at in range(len(service_mb))]
    return Watched(
        at_s=times,
        service_bytes=[round(1e6 * one) for one in service_mb],
        store_bytes=[1000 * at for at in range(len(times))],
        cpu_s=times,
    )


def seen(reply_ms: list[float]) -> Seen:
    """Ten reports a second, all of a second alike."""
    return Seen(
        sent_s=[at / 10 for at in range(10 * len(reply_ms))],
        reply_s=[one / 1e3 for one in reply_ms for _ in range(10)],
    )


def test_growth_before_the_warm_up_is_over_is_not_judged() -> None:
    # 40 s; the first quarter is 10 s.
    found = flatness(seen([2.0] * 40), watched([50.0 + 5 * min(at, 10) for at in range(41)]))
    assert found.service_mb == pytest.approx(100)
    assert found.service_growth == pytest.approx(0, abs=1e-9)
    assert found.memory_is_flat
    # 1 kB a second, 10 reports a second.
    assert found.store_bytes_per_report == pytest.approx(100)
    assert found.latency_is_flat


def test_memory_that_keeps_growing_is_not_flat() -> None:
    found = flatness(seen([2.0] * 40), watched([100.0 + 0.5 * at for at in range(41)]))
    # 0.5 MB a second for the 30 s after the warm-up, of a mean of 112.5 MB; 300 reports.
    assert found.service_growth == pytest.approx(15 / 112.5)
    assert found.service_bytes_per_report == pytest.approx(15e6 / 300)
    assert not found.memory_is_flat


def test_latency_that_doubles_is_not_flat() -> None:
    found = flatness(seen([9.0] * 10 + [2.0] * 15 + [4.0] * 15), watched([100.0] * 41))
    assert found.slower == pytest.approx(2)
    assert not found.latency_is_flat


def test_windows_show_load_and_latency_by_time() -> None:
    found = windows(seen([2.0, 2.0, 6.0, 6.0]), 0.0, 4.0, 2.0)
    assert found.at_s.tolist() == [1, 3]
    assert found.per_s.tolist() == [10, 10]
    assert found.p50_ms.tolist() == pytest.approx([2, 6])


@pytest.mark.e2e
def test_a_short_soak_finds_everything_and_draws_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, plot = tmp_path / "figures.json", tmp_path / "img" / "soak.svg"
    options = ["--trainers", "5", "--minutes", "0.04", "--interval", "0.1", "--sample", "0.2"]
    assert main([*options, "--json", str(figures), "--plot", str(plot)]) == 0
    found = json.loads(figures.read_text())
    kept = found["kept"]
    # 5 trainings for 2.4 s, a step every 0.05 to 0.15 s.
    assert 5 * 12 <= kept["acknowledged"] <= 5 * 49
    assert kept["counted"] == kept["listed"] == kept["acknowledged"]
    assert (kept["lost"], kept["twice"], kept["wrong_runs"]) == (0, 0, [])
    assert found["statuses"] == {"recorded": kept["acknowledged"]}
    assert len(found["windows"]["p50_ms"]) == 12
    assert found["flatness"]["store_bytes_per_report"] > 0
    assert "reports/s" in plot.read_text()
    assert "nothing is lost (0), nothing is stored twice (0)" in capsys.readouterr().out
