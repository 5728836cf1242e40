"""Two ranks under torchrun (gloo), groups straddling them, against one process."""

import os
import subprocess
import sys
from typing import Any

import httpx
import pytest
import torch

from monitor_service.engine.plan import Decision, plan
from tests.servers import acr_serve
from tests.trainer.toys import G
from trainer import avspo

pytestmark = pytest.mark.e2e

STEPS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ranks")
    with acr_serve(folder / "monitor") as monitor:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2", "-m", "tests.e2e.rank"),
            *(str(folder), monitor.url, monitor.redis_url),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        recorded = httpx.get(f"{monitor.url}/v1/runs/ranks/steps").json()["steps"]
    ranks = [torch.load(folder / f"rank{i}.pt", weights_only=False) for i in range(2)]
    return {"ranks": ranks, "recorded": recorded}


def test_there_were_two_ranks_and_one_reporter(run: dict[str, Any]) -> None:
    assert [rank["world_size"] for rank in run["ranks"]] == [2, 2]
    assert [rank["has_link"] for rank in run["ranks"]] == [True, False]
    assert [step["step"] for step in run["recorded"]] == list(range(1, STEPS + 1))


def test_both_ranks_used_the_same_settings_at_every_step(run: dict[str, Any]) -> None:
    first, second = (rank["steps"] for rank in run["ranks"])
    assert [one["settings"] for one in first] == [one["settings"] for one in second]
    # In lockstep each step's settings know the step before: the broadcast is per step.
    assert [one["settings"].through_step for one in first] == list(range(STEPS))


def test_advantages_equal_those_of_one_process_across_the_straddling_group(
    run: dict[str, Any],
) -> None:
    injected_across = 0
    for first, second in zip(*(rank["steps"] for rank in run["ranks"]), strict=True):
        assert torch.equal(first["rewards"], second["rewards"])
        rewards = avspo.total_rewards(first["rewards"], torch.ones(1), G)
        assert rewards.shape == (3, G)
        # One process: the whole batch's advantages as TRL had them, the plan applied at once.
        groups = first["rewards"].view(-1, G)
        centred = groups - groups.mean(dim=1, keepdim=True)
        whole = (centred / (groups.std(dim=1, keepdim=True) + 1e-4)).flatten()
        assert torch.allclose(torch.cat([first["trls"], second["trls"]]), whole, atol=1e-5)
        whole = torch.cat([first["trls"], second["trls"]])
        decided = plan(rewards, first["settings"], step=first["settings"].through_step + 1)
        expected = avspo.apply(decided, rewards, whole, 0)
        found = torch.cat([first["advantages"], second["advantages"]])
        assert torch.equal(found, expected)
        assert first["logged"] == pytest.approx(expected.tolist())
        # Group 1 has rows 4..7; rank 0 holds rows 0..5 and rank 1 the rest.
        if decided.decisions[1] == Decision.INJECTED:
            injected_across += 1
            assert len(set(found[4:8].tolist())) == 1
    assert injected_across > 0


def test_the_monitor_saw_whole_groups(run: dict[str, Any]) -> None:
    for record, dumped in zip(run["recorded"], run["ranks"][0]["steps"], strict=True):
        rewards = avspo.total_rewards(dumped["rewards"], torch.ones(1), G)
        assert record["collapse"]["num_groups"] == 3
        assert record["collapse"]["reward_mean"] == pytest.approx(rewards.mean())
