"""The learning rate is scaled on its schedule, and goes back to the bit."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from tests.trainer.steered import (
    Steered,
    applied,
    ignored,
    steered,
)
from trainer.knobs import Knobs
from trainer.schedule import LearningRateScale

RATE = 5e-5
LINEAR: dict[str, Any] = {"lr_scheduler_type": "linear", "max_steps": 6, "learning_rate": RATE}


def linear(step: int) -> float:
    """transformers' linear schedule over 6 steps: (6 - step) / 6 of the rate."""
    return RATE * ((6 - step) / 6)


def test_the_schedule_is_scaled_and_comes_back_to_the_bit(tmp_path: Path) -> None:
    script = {
        2: {"learning_rate_scale": 0.5},
        3: {"learning_rate_scale": 0.5},
        4: {"learning_rate_scale": 0.3},
    }
    trainer = steered(tmp_path, script, **LINEAR)
    trainer.train()
    assert trainer.reports[1] == {"learning_rate_scale": applied(0.5)}
    scales = [1.0, 0.5, 0.5, 0.3, 1.0, 1.0]
    assert trainer.rates == [
        pytest.approx(scale * linear(step), rel=1e-12) for step, scale in enumerate(scales)
    ]
    plain = steered(tmp_path, **LINEAR)
    plain.train()
    untouched = [0, 4, 5]
    assert [trainer.rates[i] for i in untouched] == [plain.rates[i] for i in untouched]
    assert trainer.lr_scheduler.lr_lambdas == [*trainer.knobs._rate._own]
    # The log line of a step says the rate that the step was taken at.
    logged = [line["learning_rate"] for line in trainer.state.log_history if "loss" in line]
    assert logged == trainer.rates


def resumed(folder: Path, script: dict[int, Any], state: dict[str, float]) -> Steered:
    trainer = steered(folder, script, **LINEAR)
    trainer.knobs.load(state)
    trainer.train(resume_from_checkpoint=str(folder / "run" / "checkpoint-2"))
    return trainer


def test_a_resumed_run_is_scaled_once_or_goes_back_to_its_own_rate(tmp_path: Path) -> None:
    half = {"learning_rate_scale": 0.5}
    changes = {**LINEAR, "save_strategy": "steps", "save_steps": 2}
    first = steered(tmp_path, {1: half, 2: half}, **changes)
    first.train()
    state = first.states[0]
    assert state == {"learning_rate_scale": 0.5}
    # The checkpoint's schedule was never scaled, the rate in the state of its optimizer was.
    saved = tmp_path / "run" / "checkpoint-2"
    assert torch.load(saved / "scheduler.pt")["base_lrs"] == [RATE, RATE]
    groups = torch.load(saved / "optimizer.pt")["param_groups"]
    assert [group["initial_lr"] for group in groups] == [RATE, RATE]
    assert groups[0]["lr"] == pytest.approx(0.5 * linear(2))

    still = resumed(tmp_path, {1: half, 2: half}, state)
    scales = {2: 0.5, 3: 0.5, 4: 1, 5: 1}
    assert still.rates == [pytest.approx(s * linear(step)) for step, s in scales.items()]
    own = resumed(tmp_path, {}, state)
    assert own.rates == [linear(step) for step in (2, 3, 4, 5)]


def test_training_twice_with_one_trainer_scales_once(tmp_path: Path) -> None:
    script = {batch: {"learning_rate_scale": 0.5} for batch in (5, 6, 7, 8)}
    trainer = steered(tmp_path, script, **LINEAR)
    trainer.train()
    trainer.train()
    scales = [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1]
    wanted = [scale * linear(i % 6) for i, scale in enumerate(scales)]
    assert trainer.rates == [pytest.approx(rate) for rate in wanted]


def test_a_schedule_is_scaled_only_where_that_can_be_undone(tmp_path: Path) -> None:
    trainer = steered(tmp_path)
    reports = trainer.knobs.apply({"learning_rate_scale": 0.5})
    ignored(reports, "learning_rate_scale", 1.0, "training has not begun")
    assert trainer.knobs.apply({"learning_rate_scale": 1}) == {"learning_rate_scale": applied(1.0)}
    builders: list[Callable[[torch.optim.Optimizer], Any]] = [
        ReduceLROnPlateau,
        lambda optimizer: StepLR(optimizer, 1),
    ]
    for build in builders:
        optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=RATE)
        trainer.optimizer, trainer.lr_scheduler = optimizer, build(optimizer)
        reports = trainer.knobs.apply({"learning_rate_scale": 0.5})
        ignored(reports, "learning_rate_scale", 1.0, "only a LambdaLR")
        assert [group["lr"] for group in optimizer.param_groups] == [RATE]
        trainer.knobs.apply({})
    ignored(
        trainer.knobs.apply({"learning_rate_scale": -1}), "learning_rate_scale", 1.0, "negative"
    )


def adam(**changes: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=RATE, **changes)


def test_rates_of_an_optimizer_that_is_out_of_reach_are_not_said_to_be_scaled() -> None:
    # As of an engine that steps an optimizer of its own.
    optimizer, other = adam(), adam()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    knobs = Knobs(SimpleNamespace(optimizer=other, lr_scheduler=schedule))
    reports = knobs.apply({"learning_rate_scale": 0.5})
    ignored(reports, "learning_rate_scale", 1.0, "does not take its rates from the schedule")
    assert optimizer.param_groups[0]["lr"] == RATE


def test_wrapped_schedules_and_rates_in_tensors_are_reached() -> None:
    optimizer = adam(capturable=False)
    optimizer.param_groups[0]["lr"] = torch.tensor(RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    wrapped = SimpleNamespace(scheduler=SimpleNamespace(scheduler=schedule))
    knobs = Knobs(SimpleNamespace(optimizer=optimizer, lr_scheduler=wrapped))
    assert knobs.apply({"learning_rate_scale": 0.5}) == {"learning_rate_scale": applied(0.5)}
    assert optimizer.param_groups[0]["lr"].item() == pytest.approx(RATE / 2)
    knobs.apply({})
    assert optimizer.param_groups[0]["lr"].item() == pytest.approx(RATE)


def test_a_schedule_whose_state_a_checkpoint_would_lose_is_left_alone() -> None:
    class Remembering:
        def __init__(self) -> None:
            self.seen = 0

        def __call__(self, step: int) -> float:
            return 1.0

    optimizer = adam()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, Remembering())
    knobs = Knobs(SimpleNamespace(optimizer=optimizer, lr_scheduler=schedule))
    reports = knobs.apply({"learning_rate_scale": 0.5})
    ignored(reports, "learning_rate_scale", 1.0, "a checkpoint would lose")


def test_a_checkpoint_loaded_into_a_trainer_that_was_scaled_starts_from_the_own_schedule() -> None:
    optimizer = adam()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    trainer = SimpleNamespace(optimizer=optimizer, lr_scheduler=schedule)
    rate = LearningRateScale(trainer)
    rate.set(0.5)
    rate.load({"learning_rate_scale": 0.25})
    assert not rate.holds(1.0)
    assert optimizer.param_groups[0]["lr"] == 0.25 * RATE
    rate.restore()
    assert optimizer.param_groups[0]["lr"] == RATE
