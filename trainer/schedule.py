"""The learning rate, scaled: the run's own schedule times a factor.

    rate(step) = factor * base * lambda(step)

A `LambdaLR`, which all schedules of transformers but `reduce_lr_on_plateau` and `greedy` are,
computes each rate anew from `base_lrs` and one function per parameter group. Only the functions are
replaced, and the rates recomputed: neither `base_lrs` nor `initial_lr` ever holds a scaled number,
so nothing can be scaled twice, and a factor of 1 puts the very same functions back.

Schedules that compute a rate from the one before are refused: undoing a factor is not exact there.
"""

import math
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

_STATE = "learning_rate_scale"

_SAME_RATE = 1e-6
"""Relative difference up to which two rates are one: an optimizer may keep its own in float32."""


class LearningRateScale:
    """A knob: the factor on the schedule of a trainer, 1 where it has its own."""

    note: str | None = None

    def __init__(self, trainer: Any) -> None:
        """`trainer` has neither an optimizer nor a schedule until it trains."""
        self._trainer = trainer
        self._scheduler: LambdaLR | None = None
        self._own: list[Callable[[int], float]] = []
        self._scale = 1.0
        self._scale_in_checkpoint = 1.0

    @property
    def value(self) -> float:
        """The factor in force."""
        return self._scale

    def holds(self, value: float) -> bool:
        """Whether the schedule of now is scaled by `value`."""
        self._adopt()
        return self._scale == value

    def refuse(self, value: float) -> str | None:
        """Why the schedule cannot be scaled; None when it can."""
        if value < 0:
            return "a learning rate cannot be negative"
        scheduler = _innermost(self._trainer.lr_scheduler)
        if scheduler is None:
            return "training has not begun: there is no schedule yet"
        kind = type(scheduler).__name__
        if not isinstance(scheduler, LambdaLR) or type(scheduler).get_lr is not LambdaLR.get_lr:
            return f"the schedule is a {kind}; only a LambdaLR can be scaled and restored exactly"
        if any(
            getattr(function, "__dict__", None) and not isinstance(function, FunctionType)
            for function in self._own
        ):
            return f"the functions of the {kind} keep state that a checkpoint would lose"
        return None

    def set(self, value: float) -> None:
        """Scale the schedule, from the next optimizer step on.

        Raises:
            RuntimeError: the optimizer that is stepped does not take its rates from the schedule.
        """
        self._adopt()
        before = self._scale
        self._write(value)
        found = [float(group["lr"]) for group in self._trainer.optimizer.param_groups]
        wanted = [float(rate) for rate in self._expected()]
        if len(found) != len(wanted) or not all(
            math.isclose(*pair, rel_tol=_SAME_RATE) for pair in zip(found, wanted, strict=True)
        ):
            self._write(before)
            raise RuntimeError("the optimizer does not take its rates from the schedule")

    def restore(self) -> None:
        """The run's own schedule, the same bits as if it had never been scaled."""
        self._adopt()
        if self._scale != 1.0:
            self._write(1.0)

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps: the optimizer's state holds rates scaled by this."""
        return {_STATE: self._scale}

    def load(self, state: Mapping[str, Any]) -> None:
        """Training resumes from a checkpoint that was saved with `state`."""
        if self._scheduler is not None:
            self._scheduler.lr_lambdas = list(self._own)
            self._scheduler = None
        self._scale_in_checkpoint = float(state.get(_STATE, 1.0))

    def _adopt(self) -> None:
        """Take over the schedule of now: a trainer makes a new one whenever it begins to train."""
        scheduler = _innermost(self._trainer.lr_scheduler)
        if scheduler is self._scheduler:
            return
        self._scheduler, self._scale = None, 1.0
        if isinstance(scheduler, LambdaLR):
            self._scheduler, self._own = scheduler, list(scheduler.lr_lambdas)
            if self._scale_in_checkpoint != 1.0:
                self._write(self._scale_in_checkpoint)
        self._scale_in_checkpoint = 1.0

    def _write(self, scale: float) -> None:
        assert self._scheduler is not None, "refused without a schedule"
        scaled = [_scaled(function, scale) for function in self._own]
        self._scheduler.lr_lambdas = list(self._own) if scale == 1.0 else scaled
        self._scale = scale
        rates = self._expected()
        for group, rate in zip(self._scheduler.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(float(rate))
            else:
                group["lr"] = rate
        # What the log line of the step will say.
        self._scheduler._last_lr = rates

    def _expected(self) -> list[Any]:
        """The rates that the schedule computes for its step of now, one per parameter group."""
        assert self._scheduler is not None, "refused without a schedule"
        step = self._scheduler.last_epoch
        functions = self._scheduler.lr_lambdas
        bases = self._scheduler.base_lrs
        return [base * rate(step) for base, rate in zip(bases, functions, strict=True)]


def _scaled(function: Callable[[int], float], scale: float) -> Callable[[int], float]:
    # A plain function: `LambdaLR.state_dict` saves nothing of it.
    return lambda step: scale * function(step)


def _innermost(scheduler: Any) -> Any:
    """The schedule within the wrappers of accelerate and DeepSpeed."""
    while getattr(scheduler, "scheduler", None) is not None:
        scheduler = scheduler.scheduler
    return scheduler
