"""The benchmark of the trainer: what it measures, and that nothing loops over groups in Python."""

import json
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch

from benchmarks.figures import median
from benchmarks.trainer import calls
from benchmarks.trainer.__main__ import growth, main
from benchmarks.trainer.meter import Meter
from tests.servers import acr_serve
from trainer.client import MonitorClient


def spin(cpu_s: float) -> None:
    """Use the CPU for so long."""
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        pass


def test_time_in_a_nested_call_is_booked_to_the_nested_label() -> None:
    meter = Meter()
    inner = meter.timed("trl", lambda: spin(0.02))

    def outer() -> str:
        spin(0.01)
        inner()
        spin(0.01)
        return "done"

    assert meter.timed("hook", outer)() == "done"
    spin(0.01)
    spent = meter.taken()
    assert spent == {
        "hook": pytest.approx(0.02, abs=0.005),
        "trl": pytest.approx(0.02, abs=0.005),
    }
    assert meter.taken() == {}


def test_a_call_that_raises_is_booked_and_over() -> None:
    meter = Meter()

    def fails() -> None:
        spin(0.01)
        raise KeyError("no")

    with pytest.raises(KeyError):
        meter.timed("hook", fails)()
    spin(0.01)
    assert meter.taken() == {"hook": pytest.approx(0.01, abs=0.005)}


def test_the_interval_of_a_median_holds_it_and_is_narrower_than_the_values() -> None:
    found = median([float(value) for value in range(101)])
    assert (found.value, found.p10, found.p90) == (50, 10, 90)
    assert found.p10 < found.low < 50 < found.high < found.p90


def test_the_hook_does_not_loop_over_groups(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    with acr_serve(tmp_path / "monitor") as server:
        client = MonitorClient(server.url, run_id="calls", redis_url=server.redis_url)
        with closing(client):
            client.start(0)
            found = calls.measure(client, ((16, 8), (1024, 8)), rounds=5, repeats=3)
    # 64 times the groups; a loop over them would cost about as many times more.
    grown = growth(found)
    assert grown["completions"] == grown["groups"] == 64
    assert grown["hook"] < 64 / 8
    assert max(grown["submit"], grown["settings"]) < 64 / 8


@pytest.mark.e2e
def test_three_trainings_take_turns_and_the_figures_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    main(["--steps", "3", "--rounds", "2", "--json", str(file)])
    figures = json.loads(file.read_text())
    steps = figures["steps"]
    assert steps["num_steps"] == 3
    assert 0 < steps["num_injected"] <= 3 * steps["num_groups"]
    spent = steps["hook_ms"]["value"] + steps["client_ms"]["value"]
    assert 0 < steps["client_ms"]["value"] < steps["hook_ms"]["value"]
    assert spent < steps["ours_cpu_ms"]["value"]
    assert steps["share"]["value"] == pytest.approx(spent / steps["ours_cpu_ms"]["value"], rel=0.25)
    assert steps["threads_ms"] > 0
    assert [(one["groups"], one["completions"]) for one in figures["calls"]] == list(calls.SIZES)
    assert "TRL / TRL" in capsys.readouterr().out
