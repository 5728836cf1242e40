"""Thirty steps straight equal a run that was killed and resumed from its checkpoint of step 15."""

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import torch

from monitor_service.wire import StepReport
from tests.e2e.resumable import DEAD, SAVED, STEPS, died, handed_in, resumed, trainer
from tests.servers import acr_serve
from trainer import GRPOTrainer

pytestmark = pytest.mark.e2e

LOGGED = ("acr", "acr_effective", "acr_threshold", "loss", "grad_norm", "entropy", "reward")


@pytest.fixture
def one_thread() -> None:
    # As the process that dies; sums in another order differ in their last bits.
    torch.set_num_threads(1)


def logged(run: GRPOTrainer) -> list[list[float]]:
    """What was logged at each step; of a resumed run, the steps before come from the checkpoint."""
    return [[log[name] for name in LOGGED] for log in run.state.log_history if "acr" in log]


def timeless(report: StepReport) -> StepReport:
    scalars = msgspec.structs.replace(report.scalars, step_s=None)
    return msgspec.structs.replace(report, scalars=scalars)


def whatever_the_version(report: StepReport) -> StepReport:
    assert report.applied
    applied = msgspec.structs.replace(report.applied, settings_version=0)
    return msgspec.structs.replace(timeless(report), applied=applied)


def assert_same_weights(mine: GRPOTrainer, other: GRPOTrainer) -> None:
    ours, theirs = mine.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert torch.equal(values, theirs[name]), name


@pytest.mark.usefixtures("one_thread")
def test_in_process_a_killed_and_resumed_run_equals_one_that_was_not(tmp_path: Path) -> None:
    straight = trainer(tmp_path / "straight")
    straight.train()
    died(tmp_path / "killed")
    assert max(handed_in(tmp_path / "killed")) == DEAD
    again = resumed(tmp_path / "killed")

    assert logged(again) == logged(straight)
    whole, halves = handed_in(tmp_path / "straight"), handed_in(tmp_path / "killed")
    assert list(whole) == list(range(1, STEPS + 1))
    assert {step: timeless(one) for step, one in halves.items()} == {
        step: timeless(one) for step, one in whole.items()
    }
    thresholds = {one.applied.threshold for one in whole.values() if one.applied}
    assert len(thresholds) > STEPS // 2  # The path is one.
    assert_same_weights(again, straight)


@pytest.mark.usefixtures("one_thread")
def test_in_lockstep_with_a_monitor_a_killed_and_resumed_run_equals_one_that_was_not(
    folder: Path, tmp_path: Path
) -> None:
    """The killed run has no name of its own: the resumed one goes on under the made-up one."""
    with acr_serve(folder) as monitor:
        options: dict[str, Any] = {"monitor_url": monitor.url, "settings_wait_s": 30.0}
        straight = trainer(tmp_path / "straight", run_id="straight", **options)
        straight.train()
        died(tmp_path / "killed", **options)
        again = resumed(tmp_path / "killed", **options)
        killed, other = httpx.get(f"{monitor.url}/v1/runs").json()["runs"]
        recorded = {
            name: httpx.get(f"{monitor.url}/v1/runs/{run['id']}/steps").json()["steps"]
            for name, run in [("killed", killed), ("straight", other)]
        }

    assert logged(again) == logged(straight)
    whole, halves = handed_in(tmp_path / "straight"), handed_in(tmp_path / "killed")
    # A resume is one more publication of the settings; what they say is the same.
    assert {step: whatever_the_version(one) for step, one in halves.items()} == {
        step: whatever_the_version(one) for step, one in whole.items()
    }
    assert [one["step"] for one in recorded["killed"]] == list(range(1, STEPS + 1))
    assert [one["collapse"] for one in recorded["killed"]] == [
        one["collapse"] for one in recorded["straight"]
    ]
    assert [one["attempt"] for one in recorded["killed"]] == [1] * SAVED + [2] * (STEPS - SAVED)
    assert killed["id"].startswith("killed-")
    assert (killed["attempt"], killed["ended"]) == (2, "finished")
    assert killed["counters"]["missing_steps"] == 0
    assert_same_weights(again, straight)
