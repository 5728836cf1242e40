"""What `GRPOTrainer` does around steps: start and end, TRL's log lines, state in checkpoints."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from trainer.knobs import Knobs
from trainer.loop import ControlLoop
from trainer.methods.adaptive_kl import AdaptiveKL
from trainer.methods.loss_mask import EmptyMicroBatches
from trainer.methods.sampling import Reserve
from trainer.telemetry import Telemetry


class LoopCallback(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Keeps the loop in step with training, and its state in the checkpoints."""

    # ruff: noqa: D102 - the methods are transformers'

    def __init__(
        self,
        trainer: Any,
        *,
        loop: ControlLoop,
        knobs: Knobs,
        empty: EmptyMicroBatches,
        telemetry: Telemetry,
        reserve: Reserve | None,
        adaptive_kl: AdaptiveKL | None,
    ) -> None:
        """`trainer` is the `GRPOTrainer` that the others belong to."""
        self._trainer = trainer
        self._loop = loop
        self._knobs = knobs
        self._empty = empty
        self._telemetry = telemetry
        self._reserve = reserve
        self._adaptive_kl = adaptive_kl
        self._kls_before = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kept = self._kept(state)
        if "step" in kept:
            self._loop.load(kept)
            self._knobs.load(kept.get("knobs", {}))
            self._telemetry.load(kept.get("telemetry", {}))
            if self._reserve:
                self._reserve.load(kept.get("reserve", {}))
            if self._adaptive_kl:
                self._adaptive_kl.load(kept.get("adaptive_kl", {}))
                self._trainer.beta = self._adaptive_kl.beta
            self._loop.start(int(kept["step"]))
            return
        # A checkpoint that another trainer wrote: what its optimizer steps come to.
        micro_steps = state.global_step * args.gradient_accumulation_steps
        self._loop.start(math.ceil(micro_steps / (args.steps_per_generation * args.num_iterations)))

    def _kept(self, state: Any) -> Mapping[str, Any]:
        """What the checkpoint has of us; empty without one."""
        saved = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
        kept = saved.get("attributes") if isinstance(saved, dict) else None
        return kept if isinstance(kept, dict) else {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._kls_before = len(self._trainer._metrics["train"].get("kl", ()))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._empty.before_step(kwargs["optimizer"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        # TRL collects here between two log lines, and empties it in place.
        gathered: Mapping[str, Sequence[float]] = self._trainer._metrics["train"]
        self._telemetry.on_step(gathered)
        if self._adaptive_kl:
            self._move_beta(args, gathered)
        if command := self._loop.taken_command():
            control.should_save = True
            control.should_training_stop |= command.kind == "stop"
        return control

    def _move_beta(self, args: Any, gathered: Mapping[str, Sequence[float]]) -> None:
        """After an optimizer step: by the KL of those of its micro-batches that have one."""
        measured = gathered.get("kl", ())[self._kls_before :]
        if measured and self._adaptive_kl:
            completions = (
                args.per_device_train_batch_size
                * len(measured)
                * self._trainer.accelerator.num_processes
            )
            mean = sum(measured) / len(measured)
            self._trainer.beta = self._adaptive_kl.update(mean, completions)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self._telemetry.on_log(logs or {})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._loop.close()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        kept = {
            **self._loop.state(),
            "knobs": self._knobs.state(),
            "telemetry": self._telemetry.state(),
        }
        if self._reserve:
            kept["reserve"] = self._reserve.state()
        if self._adaptive_kl:
            kept["adaptive_kl"] = self._adaptive_kl.state()
        return {"args": {}, "attributes": kept}
