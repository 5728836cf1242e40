"""ZeRO-2 and ZeRO-3 on two CPU ranks, started as on GPUs: train, checkpoint, resume, evaluate."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM

from tests.servers import acr_serve
from tests.trainer.toys import G
from trainer import toy

pytestmark = pytest.mark.e2e

CONFIGS = Path(__file__).parents[2] / "deploy" / "accelerate"
STEPS = 4
HALFWAY = 2
LAUNCH_TIMEOUT_S = 240.0
"""A launch takes 15 seconds on two quiet cores."""
FAREWELL_S = 40.0
"""The launcher gives its ranks 30 seconds before it kills them."""
LARGEST_KEPT_WHOLE = 100_000
"""Elements up to which ZeRO-3 leaves a parameter on every rank, unless it is told otherwise."""


def launch(stage: int, folder: Path, *arguments: str) -> None:
    """Two ranks by `accelerate launch` with the configuration that is shipped."""
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(CONFIGS / f"zero{stage}.yaml"), "--num_processes", "2"),
        *("--main_process_port", "0", "--module", "tests.e2e.zero_rank", str(folder), *arguments),
    ]
    environment = {
        **os.environ,
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        # A build that was killed leaves a lock here, and the next one waits for it.
        "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
    }
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=LAUNCH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # Each rank leads a session of its own: only the launcher can end them.
            process.terminate()
            try:
                output, _ = process.communicate(timeout=FAREWELL_S)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"not within {LAUNCH_TIMEOUT_S} s: {output[-5000:]}")
    assert process.returncode == 0, output[-5000:]


@pytest.fixture(scope="module", params=[2, 3], ids=["ZeRO-2", "ZeRO-3"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    stage = request.param
    folder = tmp_path_factory.mktemp(f"zero{stage}")
    shape = toy.make_model().config
    shape.intermediate_size = 2048
    torch.manual_seed(1)
    Qwen2ForCausalLM(shape).save_pretrained(folder / "model")
    found: dict[str, Any] = {"stage": stage, "folder": folder}
    with acr_serve(folder / "monitor") as monitor:
        for phase in ("straight", "resumed"):
            launch(stage, folder, monitor.url, str(STEPS), phase)
            found[phase] = [
                torch.load(folder / f"{phase}{rank}.pt", weights_only=False) for rank in range(2)
            ]
            recorded = httpx.get(f"{monitor.url}/v1/runs/zero/steps").json()["steps"]
            found[f"{phase} recorded"] = recorded
    return found


def test_two_ranks_trained_in_the_stage_that_was_asked_for(run: dict[str, Any]) -> None:
    for rank in run["straight"] + run["resumed"]:
        assert rank["world_size"] == 2
        assert rank["type"] == "DistributedType.DEEPSPEED"
        assert rank["stage"] == run["stage"]
        is_split = {name for name, shape in rank["shapes"].items() if shape == (0,)}
        is_large = {
            name
            for name, weights in rank["weights"].items()
            if weights.numel() > LARGEST_KEPT_WHOLE
        }
        assert len(is_large) == 6
        assert is_split == (is_large if run["stage"] == 3 else set())


def test_both_ranks_decided_alike_also_about_the_group_that_straddles_them(
    run: dict[str, Any],
) -> None:
    straddling = 0
    for first, second in zip(*(rank["steps"] for rank in run["straight"]), strict=True):
        assert first["settings"] == second["settings"]
        assert torch.equal(first["rewards"], second["rewards"])
        advantages = torch.cat([first["advantages"], second["advantages"]]).view(-1, G)
        for number, rewards in enumerate(first["rewards"].view(-1, G)):
            if len(set(rewards.tolist())) == 1:
                (pushed,) = set(advantages[number].tolist())
                straddling += number == 1 and pushed != 0
    assert straddling > 0
    thresholds = [step["settings"].threshold for step in run["straight"][0]["steps"]]
    assert len(set(thresholds)) > 1


def test_a_resumed_run_goes_on_exactly_where_the_straight_one_went(run: dict[str, Any]) -> None:
    for straight, resumed in zip(run["straight"], run["resumed"], strict=True):
        assert [step["step"] for step in straight["steps"]] == list(range(1, STEPS + 1))
        assert [step["step"] for step in resumed["steps"]] == list(range(HALFWAY + 1, STEPS + 1))
        for ours, theirs in zip(straight["steps"][HALFWAY:], resumed["steps"], strict=True):
            assert torch.equal(ours["rewards"], theirs["rewards"])
            assert torch.equal(ours["advantages"], theirs["advantages"])
            assert ours["settings"].threshold == theirs["settings"].threshold
        assert all(
            torch.equal(weights, resumed["weights"][name])
            for name, weights in straight["weights"].items()
        )


def test_the_monitor_was_told_once_a_step_and_nothing_of_evaluations(run: dict[str, Any]) -> None:
    for phase in ("straight", "resumed"):
        recorded = run[f"{phase} recorded"]
        assert [step["step"] for step in recorded] == list(range(1, STEPS + 1))
        assert {step["collapse"]["num_groups"] for step in recorded} == {3}


def test_evaluation_generates_on_every_rank_and_gathers(run: dict[str, Any]) -> None:
    figures = [
        {name: value for name, value in rank["evaluated"].items() if name.startswith("eval_reward")}
        for rank in run["straight"] + run["resumed"]
    ]
    assert figures[0]["eval_reward"] > 0
    assert all(one == figures[0] for one in figures)


def test_what_was_saved_loads_without_deepspeed(run: dict[str, Any]) -> None:
    for saved in (run["folder"] / "resumed", run["folder"] / "out" / f"checkpoint-{STEPS}"):
        model = AutoModelForCausalLM.from_pretrained(saved)
        for name, weights in model.named_parameters():
            assert torch.equal(weights, run["resumed"][0]["weights"][name])
        with torch.no_grad():
            assert model(torch.tensor([[5, 14, 6, 15]])).logits.isfinite().all()
