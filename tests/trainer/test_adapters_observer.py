"""TRL's own trainer, observed through its reward functions and a callback."""

import asyncio
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import torch
import trl
from transformers import TrainerCallback

from monitor_service.engine.collapse import Matrix, RewardRange, judge
from monitor_service.errors import InvalidInput
from monitor_service.resources import StepPage, StepRecord
from tests.servers import AcrServe, acr_serve, eventually
from tests.trainer.observed import OUTCOMES, observed, plain_config
from tests.trainer.toys import G, arguments, by_outcome, prompts
from trainer.adapters.observer import Observer

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcrServe]:
    with acr_serve(tmp_path_factory.mktemp("monitor")) as server:
        yield server


def history(monitor: AcrServe, run_id: str) -> list[StepRecord]:
    reply = httpx.get(f"{monitor.url}/v1/runs/{run_id}/steps").raise_for_status()
    return msgspec.json.decode(reply.content, type=StepPage).steps


def observer(monitor: AcrServe, run_id: str, **changes: Any) -> Observer:
    return Observer(monitor_url=monitor.url, run_id=run_id, **changes)


async def brevity(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    """None for the first completion of the rank's batch."""
    return [None, *(1.0 if len(ids) < 3 else 0.0 for ids in completion_ids[1:])]


def acr(rewards_BF: Matrix, weights: list[float]) -> float | None:
    total = np.nansum(rewards_BF * np.array(weights), axis=1).reshape(-1, G)
    return judge(total, reward_range=RewardRange()).acr


def test_the_recorded_acr_is_that_of_the_rewards_that_trl_logs(
    monitor: AcrServe, tmp_path: Path
) -> None:
    args = plain_config(tmp_path, max_steps=5)
    trainer, kept = observed(args, observer(monitor, "plain"), [by_outcome])
    trainer.train()
    steps = history(monitor, "plain")
    assert [one.step for one in steps] == [1, 2, 3, 4, 5]
    assert [one.collapse.acr for one in steps] == [acr(one, [1.0]) for one in kept.rewards]
    # TRL's own figure, which is right for rewards like these and this scaling.
    assert [one.collapse.acr for one in steps] == [
        pytest.approx(line["frac_reward_zero_std"]) for line in trainer.state.log_history[:5]
    ]
    assert len({one.collapse.acr for one in steps}) > 1
    assert [one.components["by_outcome"].mean for one in steps] == [
        pytest.approx(one.mean()) for one in kept.rewards
    ]


def test_training_is_the_same_with_and_without_the_observer(
    monitor: AcrServe, tmp_path: Path
) -> None:
    watched, _ = observed(plain_config(tmp_path), observer(monitor, "same"), [by_outcome])
    watched.train()
    plain = trl.GRPOTrainer(**arguments(plain_config(tmp_path), OUTCOMES))
    plain.train()
    pairs = zip(watched.model.parameters(), plain.model.parameters(), strict=True)
    assert all(torch.equal(mine, other) for mine, other in pairs)


def test_several_functions_sync_and_async_are_summed_with_trls_weights(
    monitor: AcrServe, tmp_path: Path
) -> None:
    args = plain_config(tmp_path, reward_weights=[1.0, 0.25])
    trainer, kept = observed(args, observer(monitor, "several"), [by_outcome, brevity])
    trainer.train()
    steps = history(monitor, "several")
    assert [one.collapse.acr for one in steps] == [acr(one, [1.0, 0.25]) for one in kept.rewards]
    assert [one.collapse.reward_mean for one in steps] == pytest.approx(
        [np.nansum(one * [1.0, 0.25], axis=1).mean() for one in kept.rewards]
    )
    assert [set(one.components) for one in steps] == [{"by_outcome", "brevity"}] * 3
    means = [np.nanmean(one[:, 1]) for one in kept.rewards]
    assert [one.components["brevity"].mean for one in steps] == pytest.approx(means)


def test_evaluation_is_not_counted(monitor: AcrServe, tmp_path: Path) -> None:
    args = plain_config(
        tmp_path,
        eval_strategy="steps",
        eval_steps=1,
        eval_on_start=True,
        per_device_eval_batch_size=G,
    )
    evaluated = prompts(["wrong"] * 4)
    trainer, kept = observed(args, observer(monitor, "eval"), [by_outcome], eval_dataset=evaluated)
    trainer.evaluate()
    trainer.train()
    trainer.evaluate()
    steps = history(monitor, "eval")
    assert [one.step for one in steps] == [1, 2, 3]
    assert [one.collapse.num_groups for one in steps] == [4, 4, 4]
    recorded = [one.collapse.reward_mean for one in steps]
    logged = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    assert recorded == pytest.approx(logged)
    assert len(kept.rewards) == 3


def test_the_report_says_that_nothing_is_driven_and_what_the_last_line_logged(
    monitor: AcrServe, tmp_path: Path
) -> None:
    watching = observer(monitor, "knobs", settings={"temperature": 1.3})
    trainer, _ = observed(plain_config(tmp_path), watching, [by_outcome])
    trainer.train()
    steps = history(monitor, "knobs")
    for one in steps:
        assert one.applied is not None
        assert one.applied.mode == "off"
        knob = one.applied.knobs["temperature"]
        assert (knob.status, knob.reason) == (
            "ignored",
            "observed only: nothing of this trainer is driven",
        )
    # A batch is reported with the log line of the step before; the first has none.
    lines = trainer.state.log_history[:2]
    assert steps[0].scalars.entropy is None
    for field, name in (("entropy", "entropy"), ("loss", "loss"), ("grad_norm", "grad_norm")):
        found = [getattr(one.scalars, field) for one in steps[1:]]
        assert found == pytest.approx([line[name] for line in lines])
    assert [one.scalars.temperature for one in steps] == [1.0] * 3
    assert [one.optimizer_step for one in steps] == [0, 1, 2]


def test_a_mode_that_would_act_is_answered_with_the_reason(
    monitor: AcrServe, tmp_path: Path
) -> None:
    watching = observer(monitor, "active", settings={"mode": "active"})
    trainer, _ = observed(plain_config(tmp_path, max_steps=2), watching, [by_outcome])
    trainer.train()
    applied = [one.applied for one in history(monitor, "active") if one.applied]
    # Before the monitor has answered nothing is known; it answers before the first step here.
    assert [one.mode for one in applied] == ["off", "off"]
    assert {one.note for one in applied} == {"observed only: nothing of this trainer is driven"}


class At(TrainerCallback):
    """Does something once, when an optimizer step ends."""

    def __init__(self, step: int, act: Any) -> None:
        self._step, self._act = step, act

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            self._act()


def test_a_command_to_stop_saves_and_stops_and_the_resumed_run_counts_on(
    monitor: AcrServe, tmp_path: Path
) -> None:
    watching = observer(monitor, "stop")
    trainer, _ = observed(plain_config(tmp_path, max_steps=9), watching, [by_outcome])

    def stop() -> None:
        body = {"command": "stop", "reason": "seen", "actor": "ana"}
        httpx.post(f"{monitor.url}/v1/runs/stop/commands", json=body).raise_for_status()
        eventually(lambda: len(history(monitor, "stop")) == 2, "step 2 is recorded")

    # Added after ours: at step 2 the report is on its way, and its answer carries no command yet.
    trainer.add_callback(At(2, stop))
    trainer.train()
    ended = trainer.state.global_step
    assert 3 <= ended < 9
    again, _ = observed(
        plain_config(tmp_path, max_steps=ended + 2), observer(monitor, "stop"), [by_outcome]
    )
    again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{ended}"))
    steps = history(monitor, "stop")
    assert [one.step for one in steps] == list(range(1, ended + 3))
    assert [one.attempt for one in steps] == [1] * ended + [2, 2]


def test_a_reward_functions_own_error_passes_through(monitor: AcrServe, tmp_path: Path) -> None:
    def broken(**_: Any) -> list[float]:
        raise ZeroDivisionError("mine")

    trainer, _ = observed(plain_config(tmp_path), observer(monitor, "broken"), [broken])
    with pytest.raises(ZeroDivisionError, match="mine"):
        trainer.train()


def test_what_is_no_whole_group_is_left_out_with_one_warning(
    monitor: AcrServe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watching = observer(monitor, "odd", num_generations=3)
    trainer, _ = observed(plain_config(tmp_path, max_steps=2), watching, [by_outcome])
    trainer.train()
    assert trainer.state.global_step == 2
    (warning,) = [one.getMessage() for one in caplog.records if "observer" in one.name]
    assert "num_generations: a divisor of 16; got 3" in warning
    assert history(monitor, "odd") == []


def test_two_ranks_are_one_batch_of_whole_groups(monitor: AcrServe, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node", "2", "-m", "tests.trainer.observed", str(tmp_path), monitor.url),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    logged = torch.load(tmp_path / "rank0.pt", weights_only=False)
    steps = history(monitor, "ranks")
    assert [one.step for one in steps] == [1, 2, 3]
    assert [one.collapse.num_groups for one in steps] == [3, 3, 3]
    assert [one.collapse.acr for one in steps] == [acr(one, [1.0]) for one in logged]
    assert [one.collapse.reward_mean for one in steps] == pytest.approx(
        [one.mean() for one in logged]
    )


class Judge:
    """A callable class, as TRL takes them."""

    async def __call__(self, completions: list[str], **_: Any) -> list[float]:
        return [1.0] * len(completions)


def test_a_wrapped_function_keeps_its_name_its_kind_and_its_arguments(monitor: AcrServe) -> None:
    """Other trainers pass the completions by position, and take the name from `__name__`."""

    def length(completions: list[str], unit: float = 1.0, **_: Any) -> list[float]:
        return [unit * len(text) for text in completions]

    wrapped = observer(monitor, "names").rewards([length, functools.partial(length), Judge()])
    assert [one.__name__ for one in wrapped] == ["length", "length", "Judge"]
    assert [asyncio.iscoroutinefunction(one) for one in wrapped] == [False, False, True]
    assert wrapped[0](["a", "bc"], unit=0.5) == [0.5, 1.0]
    assert asyncio.run(wrapped[2](["a", "bc"])) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("functions", "more", "message"),
    [
        ([torch.nn.Linear(1, 1)], {}, "functions: functions or other callables"),
        (["some/reward-model"], {}, "functions: functions or other callables"),
        ([by_outcome], {"weights": [1.0, 2.0]}, "weights: 1, one for each"),
        ([by_outcome], {"primary": "accuracy"}, "primary: one of by_outcome; got 'accuracy'"),
    ],
)
def test_what_cannot_be_observed_is_refused_at_the_start(
    monitor: AcrServe, functions: list[Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        observer(monitor, "bad").rewards(functions, **more)
