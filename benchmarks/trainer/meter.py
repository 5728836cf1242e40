"""Who spends the training thread's CPU time: our code, or TRL underneath it.

`GRPOTrainer` overrides methods of TRL's trainer and calls them again. A class put between the two
tells the two apart, without a change to either:

    Measured -> GRPOTrainer -> Underneath -> trl.GRPOTrainer

Every call from above into `GRPOTrainer` is ours until it comes out in TRL again.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from inspect import isfunction
from typing import Any

import trl

from trainer.grpo import GRPOTrainer
from trainer.link import MonitorLink


class Meter:
    """CPU seconds of one thread, by label; time inside a nested call is the nested label's."""

    def __init__(self) -> None:
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = 0.0

    def timed(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its CPU time booked under the label."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._book()
            self._stack.append(label)
            try:
                return function(*args, **kwargs)
            finally:
                self._book()
                self._stack.pop()

        return call

    def _book(self) -> None:
        now = time.thread_time()
        if self._stack:
            self._spent[self._stack[-1]] += now - self._since
        self._since = now

    def taken(self) -> dict[str, float]:
        """Seconds since this was asked last."""
        spent, self._spent = dict(self._spent), defaultdict(float)
        return spent


def measured_trainer(meter: Meter, link: MonitorLink, **arguments: Any) -> GRPOTrainer:
    """A `GRPOTrainer` whose own work is booked as "hook", and that of `link` as "client"."""
    ours = [
        name
        for name, found in vars(GRPOTrainer).items()
        if isfunction(found) and not name.startswith("__") and hasattr(trl.GRPOTrainer, name)
    ]

    def passed_on(owner: list[type], name: str) -> Callable[..., Any]:
        return lambda self, *args, **kwargs: getattr(super(owner[0], self), name)(*args, **kwargs)

    below: list[type] = []
    above: list[type] = []
    below.append(
        type(
            "Underneath",
            (trl.GRPOTrainer,),
            {name: meter.timed("trl", passed_on(below, name)) for name in ours},
        )
    )
    above.append(
        type(
            "Measured",
            (GRPOTrainer, below[0]),
            {name: meter.timed("hook", passed_on(above, name)) for name in ours},
        )
    )
    for name in ("submit", "settings_for"):
        setattr(link, name, meter.timed("client", getattr(link, name)))
    trainer: GRPOTrainer = above[0](monitor=link, **arguments)
    for callback in trainer.callback_handler.callbacks:
        if type(callback).__module__.startswith("trainer."):
            for name in vars(type(callback)):
                if name.startswith("on_"):
                    setattr(callback, name, meter.timed("hook", getattr(callback, name)))
    return trainer
