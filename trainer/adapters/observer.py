"""Observe a GRPO trainer that is TRL's or derived from it, without touching it.

The rewards are overheard by wrapping the reward functions, the other figures in the log lines that
a `TrainerCallback` is given. Nothing is steered: the advantages are computed inside the trainer.

A wrapped function cannot know whether it is called in training or in evaluation, and it sees the
completions of its own rank only. Both are settled by the callback. What was heard when an
evaluation step ends (`on_prediction_step`) is forgotten; what was heard when an optimizer step ends
(`on_step_end`, which all ranks reach together) is gathered over the ranks and reported by rank 0.

Assumed of the trainer, as in TRL 1.16: `reward_funcs` and `callbacks` are arguments; each batch
calls every reward function once, with all completions of the rank, and gets one reward for each;
the ranks' completions one after the other are consecutive groups of `num_generations`; the names
in the log lines. `args.num_generations` and `args.reward_weights` are read where they exist.
"""

import functools
import inspect
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from monitor_service.engine.collapse import Matrix
from monitor_service.engine.injection import Host
from monitor_service.errors import InvalidInput
from trainer import avspo
from trainer.adapters.session import told
from trainer.client import MonitorClient
from trainer.link import Held, MonitorLink, WhenUnreachable
from trainer.loop import ControlLoop
from trainer.telemetry import Telemetry

log = logging.getLogger(__name__)

OBSERVED_ONLY = "observed only: nothing of this trainer is driven"

RewardFunction = Callable[..., Any]
Batch = list[list[float]]
"""One list of rewards for each reward function, NaN where it did not score."""


class Observer:
    """Reports what a trainer does; it wraps the reward functions and makes the callback.

    Nothing here raises into a training that has begun: what cannot be used is left out, with one
    warning. A reward function's own errors pass through.
    """

    def __init__(
        self,
        *,
        monitor_url: str,
        run_id: str,
        num_generations: int | None = None,
        settings: Mapping[str, Any] | None = None,
        when_unreachable: WhenUnreachable = "grpo",
    ) -> None:
        """Connects to nothing until training begins.

        Args:
            monitor_url: the monitor, such as `http://127.0.0.1:8400`.
            run_id: name of the run.
            num_generations: completions of a group; None reads it from the trainer's arguments.
            settings: of the run, on top of plain GRPO, such as `reward_low` and `reward_high`.
            when_unreachable: as of `MonitorClient`.

        Raises:
            InvalidInput: a bad URL, run id or setting.
        """
        if num_generations is not None and num_generations < 2:
            raise InvalidInput("num_generations", num_generations, "at least 2, or None")
        self.link: MonitorLink = MonitorClient(
            monitor_url,
            run_id=run_id,
            profile="grpo",
            settings=settings,
            when_unreachable=when_unreachable,
            config={"observed_only": True, "num_generations": num_generations},
        )
        self.num_generations = num_generations
        self.names: list[str] = []
        self.weights: list[float] | None = None
        self.primary: int | None = None
        self._under_way: dict[int, list[float]] = {}
        self._complete: list[Batch] = []

    def rewards(
        self,
        functions: Sequence[RewardFunction],
        weights: Sequence[float] | None = None,
        primary: str | None = None,
    ) -> list[RewardFunction]:
        """The same functions, overheard; to be passed on as `reward_funcs`, in this order.

        Args:
            functions: sync or async; each keeps its name.
            weights: of the sum that is observed, one for each; None takes `reward_weights` of the
                trainer's arguments, else 1.
            primary: name of the function that tells right from wrong; None: the sum does.

        Raises:
            InvalidInput: a reward model, which cannot be wrapped, weights that do not match, or
                a name that none of the functions has.
        """
        for function in functions:
            if isinstance(function, torch.nn.Module) or not callable(function):
                allowed = "functions or other callables; a model is called past any wrapper"
                raise InvalidInput("functions", function, allowed)
        if weights is not None and len(weights) != len(functions):
            raise InvalidInput("weights", list(weights), f"{len(functions)}, one for each function")
        self.names = [_called(function) for function in functions]
        if primary is not None:
            if primary not in self.names:
                raise InvalidInput("primary", primary, f"one of {', '.join(self.names)}")
            self.primary = self.names.index(primary)
        self.weights = None if weights is None else [float(weight) for weight in weights]
        return [self._overheard(at, function) for at, function in enumerate(functions)]

    def callback(self) -> TrainerCallback:
        """The trainer's callback, to be passed on in `callbacks`; on every rank."""
        return ObserverCallback(self)

    def begin(self, args: Any) -> None:
        """Training begins; take from the trainer's arguments what was not said.

        Raises:
            InvalidInput: the arguments have another number of weights than there are functions.
        """
        self.forget()
        if self.num_generations is None:
            self.num_generations = int(args.num_generations)
        if self.weights is None:
            weights = getattr(args, "reward_weights", None) or [1.0] * len(self.names)
            if len(weights) != len(self.names):
                allowed = f"{len(self.names)}, one for each of {', '.join(self.names)}"
                raise InvalidInput("reward_weights", weights, allowed)
            self.weights = list(weights)

    def groups(self, rewards_BF: torch.Tensor) -> tuple[Matrix, Matrix | None]:
        """The weighted sum and the primary rewards of a batch, each `[N, G]`.

        Raises:
            InvalidInput: the completions are no whole groups.
        """
        size = self.num_generations
        assert size is not None, "`begin` comes first"
        assert self.weights is not None, "`begin` comes first"
        if len(rewards_BF) % size:
            raise InvalidInput("num_generations", size, f"a divisor of {len(rewards_BF)}")
        total = avspo.total_rewards(rewards_BF, torch.tensor(self.weights), size)
        if self.primary is None:
            return total, None
        return total, avspo.primary_rewards(rewards_BF, self.primary, size)

    def forget(self) -> None:
        """What was heard since the last call was no training."""
        self._under_way, self._complete = {}, []

    def taken(self) -> list[Batch]:
        """The complete batches heard since the last call, of this rank."""
        heard, self._complete = self._complete, []
        return heard

    def _overheard(self, at: int, function: RewardFunction) -> RewardFunction:
        def overheard(*args: Any, **kwargs: Any) -> Any:
            return self._hear(at, function(*args, **kwargs))

        async def overheard_later(*args: Any, **kwargs: Any) -> Any:
            return self._hear(at, await function(*args, **kwargs))

        wrapper = overheard_later if _is_async(function) else overheard
        functools.update_wrapper(wrapper, function)
        wrapper.__name__ = self.names[at]
        return wrapper

    def _hear(self, at: int, found: Any) -> Any:
        values = list(found) if isinstance(found, Iterator) else found
        # A function that is called again begins another batch.
        if at in self._under_way:
            self._under_way = {}
        try:
            listed = values.tolist() if isinstance(values, torch.Tensor) else values
            self._under_way[at] = [math.nan if one is None else float(one) for one in listed]
        except (TypeError, ValueError) as error:
            log.warning("%s: its rewards cannot be read: %s", self.names[at], error)
        if len(self._under_way) == len(self.names):
            self._complete.append([self._under_way[i] for i in range(len(self.names))])
            self._under_way = {}
        return values


class ObserverCallback(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Tells training from evaluation, and reports; the batch counter is kept in checkpoints."""

    # ruff: noqa: D102 - the methods are transformers'

    def __init__(self, observer: Observer) -> None:
        """`observer` hears the rewards."""
        self._observer = observer
        self._loop: ControlLoop | None = None
        self._telemetry = Telemetry(math.nan)
        self._optimizer_step = 0
        self._is_warned = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._observer.begin(args)
        temperature = getattr(args, "temperature", None)
        if temperature is None:
            self._telemetry.forget("temperature")
        else:
            self._telemetry.set_temperature(temperature)
        self._optimizer_step = state.global_step
        saved = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
        kept = saved.get("attributes", {}) if isinstance(saved, dict) else {}
        if state.is_world_process_zero:
            self._loop = ControlLoop(
                self._observer.link, share=_own, host=Host(), refusal=OBSERVED_ONLY
            )
            self._loop.load(kept)
            # A checkpoint that another trainer wrote: one batch for each optimizer step.
            self._loop.start(int(kept.get("step", state.global_step)))

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._observer.forget()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        found = {n: one for n, one in (logs or {}).items() if isinstance(one, int | float)}
        self._telemetry.on_log(found)
        # The line has the names under which TRL gathers.
        self._telemetry.on_step({name: [one] for name, one in found.items()})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        by_rank: list[list[Batch]] = gather_object([self._observer.taken()])
        if self._loop:
            self._report(self._loop, [batches for batches in by_rank if batches])
        command = self._loop.taken_command() if self._loop else None
        (kind,) = broadcast_object_list([command.kind if command else None])
        if kind is not None:
            control.should_save = True
            control.should_training_stop |= kind == "stop"
        self._optimizer_step = state.global_step
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._loop:
            self._loop.close()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {}, "attributes": self._loop.state() if self._loop else {}}

    def _report(self, loop: ControlLoop, by_rank: list[list[Batch]]) -> None:
        """Report what the ranks heard, batch by batch; what does not fit together is left out."""
        try:
            for parts in zip(*by_rank, strict=True):
                # Rows of one rank after the other, as TRL gathers them.
                rewards_BF = torch.from_numpy(np.concatenate([np.array(p).T for p in parts]))
                total, primary = self._observer.groups(rewards_BF)
                settings = loop.begin_step()
                loop.report(
                    loop.decide(total, primary),
                    total,
                    primary,
                    components=dict(zip(self._observer.names, rewards_BF.numpy().T, strict=True)),
                    scalars=self._telemetry.scalars(),
                    optimizer_step=self._optimizer_step,
                    knobs=told(settings.knobs, {}, OBSERVED_ONLY),
                )
        except ValueError as error:
            if not self._is_warned:
                self._is_warned = True
                log.warning("a batch is not reported, this is said once: %s", error)


def _inner(function: RewardFunction) -> RewardFunction:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is_async(function: RewardFunction) -> bool:
    inner = _inner(function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)


def _called(function: RewardFunction) -> str:
    """The name TRL would give it."""
    inner = _inner(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _own(held: Held | None) -> Held:
    assert held is not None, "only the rank with the link has a loop"
    return held
