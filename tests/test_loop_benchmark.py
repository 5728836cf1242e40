"""The benchmark of the closed loop: every report is acknowledged, both ways are timed."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.loop.__main__ import delays, loads
from benchmarks.loop.measure import Level, measure
from benchmarks.output import show
from benchmarks.trainings import Seen
from benchmarks.worker import workers
from tests.servers import acr_serve

PACED = Level(trainers=6, interval_s=0.1)
FAST = Level(trainers=4, interval_s=0.0, listens=False)


def test_what_several_processes_saw_adds_up() -> None:
    total = Seen(sent_s=[1.0], lags=Counter({0: 2}), failures=1, acknowledged={"a": 3})
    total.add(Seen(sent_s=[2.0], lags=Counter({0: 1, 1: 1}), acknowledged={"b": 4}))
    assert total == Seen(
        sent_s=[1.0, 2.0], lags=Counter({0: 3, 1: 1}), failures=1, acknowledged={"a": 3, "b": 4}
    )


@pytest.mark.e2e
def test_both_ways_of_the_loop_are_timed_at_every_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with acr_serve(tmp_path) as server, workers(2) as processes:
        paced, fast = measure(server, processes, levels=(PACED, FAST), rounds=2, duration_s=0.8)
    # 6 trainings, 2 rounds, 0.8 s at 0.05 to 0.15 s a step: 5.3 to 16 steps each.
    assert 6 * 2 * 4 <= paced.reports <= 6 * 2 * 17
    for found in (paced, fast):
        assert found.statuses == {"recorded": found.reports}
        assert found.failures == 0
        assert 0 < found.reply.p50.value <= found.reply.p99.value <= found.reply.max
        assert 0 < found.service_share.value < 2
        assert found.lags[0] > 0
    assert paced.push is not None
    assert paced.pushed == paced.reports
    assert 0 < paced.push.p50.value <= paced.push.max
    assert fast.push is None
    assert fast.reports > paced.reports
    show({}, delays([paced, fast]), loads([paced, fast]))
    printed = capsys.readouterr().out
    assert "no pause" in printed
    assert "Redis" in printed
