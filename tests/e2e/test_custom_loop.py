"""The example loop, which is torch and nothing else, against a real monitor."""

import runpy
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import torch

from monitor_service.resources import StepPage, StepRecord
from monitor_service.wire import StepReport
from tests.servers import AcrServe, acr_serve, eventually
from trainer import MonitorClient

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_loop.py"
HEAVY = ("trl", "transformers", "accelerate", "datasets")


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcrServe]:
    with acr_serve(tmp_path_factory.mktemp("monitor")) as server:
        yield server


def history(monitor: AcrServe, run_id: str) -> list[StepRecord]:
    reply = httpx.get(f"{monitor.url}/v1/runs/{run_id}/steps").raise_for_status()
    return msgspec.json.decode(reply.content, type=StepPage).steps


class Interrupted(MonitorClient):
    """After the report of step 5 a person acts, and their change has arrived before step 6."""

    def __init__(self, monitor: AcrServe, run_id: str, path: str, body: dict[str, Any]) -> None:
        super().__init__(monitor.url, run_id=run_id, settings={"threshold": 0.35})
        self._order = (f"{monitor.url}/v1/runs/{run_id}/{path}", body)
        self.reports: list[StepReport] = []

    def submit(self, report: StepReport) -> bool:
        self.reports.append(report)
        if report.step != 5:
            return super().submit(report)
        # The reply to this report carries the change: a trainer without Redis hears it there.
        url, body = self._order
        method = "PATCH" if url.endswith("settings") else "POST"
        httpx.request(method, url, json=body).raise_for_status()
        done = super().submit(report)
        eventually(
            lambda: self.settings_for(6).settings.through_step == 5, "the change was answered"
        )
        return done


def train(link: MonitorClient, num_steps: int, folder: Path) -> float:
    accuracy: float = runpy.run_path(str(EXAMPLE))["train"](link, num_steps, folder / "loop.pt")
    return accuracy


def test_a_patched_threshold_takes_effect_in_the_loop_and_every_report_is_recorded(
    monitor: AcrServe, tmp_path: Path
) -> None:
    change = {"threshold": 0.9, "controller": "fixed", "temperature": 1.5, "reason": "live"}
    link = Interrupted(monitor, "patched", "settings", change)
    train(link, 10, tmp_path)
    steps = history(monitor, "patched")
    assert [one.step for one in steps] == list(range(1, 11))
    applied = [one.applied for one in steps if one.applied]
    # 0.35 to begin with, moved a little by the paper's law; then what the person set.
    assert [one.threshold for one in applied[:5]] == pytest.approx([0.35] * 5, abs=0.05)
    assert [one.threshold for one in applied[5:]] == [0.9] * 5
    assert [one.through_step for one in applied] == list(range(10))
    # An untrained table is all wrong in more than 0.35 and less than 0.9 of its groups.
    assert any(one.injected_wrong for one in applied[:5])
    assert not any(one.injected_wrong or one.injected_correct for one in applied[5:])
    assert [one.scalars.temperature for one in steps] == [1.0] * 5 + [1.5] * 5
    assert {name: knob.status for name, knob in applied[5].knobs.items()} == {
        "temperature": "applied"
    }
    # What is recorded is what the loop saw.
    for one, report in zip(steps, link.reports, strict=True):
        entropy = report.scalars.entropy
        assert entropy is not None
        assert one.scalars.entropy == entropy
        assert 0 < entropy <= 2.7726  # ln 16, of the uniform policy


def test_a_command_to_stop_ends_the_loop_after_a_checkpoint(
    monitor: AcrServe, tmp_path: Path
) -> None:
    link = Interrupted(
        monitor, "stopped", "commands", {"command": "stop", "reason": "seen", "actor": "ana"}
    )
    train(link, 10, tmp_path)
    assert [one.step for one in history(monitor, "stopped")] == list(range(1, 7))
    assert torch.load(tmp_path / "loop.pt")["session"]["step"] == 6


def test_the_program_runs_without_trl_and_transformers_and_learns(
    monitor: AcrServe, tmp_path: Path
) -> None:
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], "
        f"run_name='__main__'); print(*(n for n in {HEAVY} if n in sys.modules), 'end')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(EXAMPLE), monitor.url, "program"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(EXAMPLE.parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    accuracy, loaded = done.stdout.splitlines()
    assert loaded.split() == ["end"]
    assert float(accuracy.split()[1]) > 0.8
    steps = history(monitor, "program")
    assert len(steps) == 100
    assert [one.applied.through_step for one in steps if one.applied] == list(range(100))


def test_the_documented_loop_is_the_one_that_runs_here() -> None:
    page = (EXAMPLE.parents[1] / "docs" / "integrations.md").read_text()
    loop = page.split("```python\n")[1].split("```")[0]
    assert textwrap.indent(loop, "    ") in EXAMPLE.read_text()
