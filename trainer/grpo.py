"""`GRPOTrainer`: TRL's, with the control loop around the scoring of each batch.

TRL has no small method that computes advantages. `_calculate_rewards` returns the rewards of all
ranks; `_generate_and_score_completions` turns them into advantages and keeps this rank's rows. So
the first is overheard, and the second's result corrected, for the groups that the plan names.
"""

import logging
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import trl
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from monitor_service.engine.injection import Host
from monitor_service.wire import Knob
from trainer import avspo, compat, loss_mask
from trainer.client import MonitorClient
from trainer.config import GRPOConfig
from trainer.heard import Heard, facts
from trainer.knobs import KnobReport, Knobs
from trainer.link import Held, InProcessMonitor, MonitorLink
from trainer.loop import ControlLoop
from trainer.telemetry import Telemetry

log = logging.getLogger(__name__)


class GRPOTrainer(trl.GRPOTrainer):  # type: ignore[misc]
    """A drop-in for TRL's `GRPOTrainer`; takes the same arguments.

    Raises:
        UnsupportedTrainer: (a ValueError) this TRL or this configuration cannot be hooked.
    """

    def __init__(self, *args: Any, monitor: MonitorLink | None = None, **kwargs: Any) -> None:
        """As TRL's; `monitor` replaces the one that the configuration describes."""
        compat.check_trl()
        super().__init__(*args, **kwargs)
        if not isinstance(self.args, GRPOConfig):
            raise compat.UnsupportedTrainer(
                f"args: must be a trainer.GRPOConfig; got {type(self.args).__name__}"
            )
        refusal = compat.refusal(self.args)
        if refusal and self.args.use_avspo:
            raise compat.UnsupportedTrainer(f"use_avspo: {refusal}")
        self._knobs = Knobs(self)
        self._empty = loss_mask.EmptyMicroBatches(self)
        self._primary = compat.primary_index(self.args, self.reward_func_names)
        self._heard: Heard | None = None
        self._telemetry = Telemetry(self.args.temperature)
        link = None
        if self.accelerator.is_main_process:
            link = monitor or link_for(self.args)
        self.loop = ControlLoop(
            link,
            share=self._share,
            host=Host(scale=self.args.scale_rewards),
            wait_s=self.args.settings_wait_s,
            refusal=refusal,
            reward_names=self.reward_func_names,
            kill_file=self.args.kill_file_path,
        )
        self.add_callback(
            _LoopCallback(
                self.loop,
                self._knobs,
                self._empty,
                self._telemetry,
                gathered=self._metrics["train"],
            )
        )

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        rewards: torch.Tensor = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        if self.model.training:
            ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
            local = torch.tensor(
                facts(completion_ids_list, prompts, ends), dtype=torch.int64, device=rewards.device
            )
            self._heard = Heard(rewards_BF=rewards, facts_B2=self.accelerator.gather(local))
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)  # type: ignore[no-any-return]
        settings = self.loop.begin_step()
        knobs = self._knobs.apply(settings.knobs)
        self._telemetry.set_temperature(self.temperature)
        if not self.beta:
            self._telemetry.forget("kl")  # TRL computes none; the last one must not stay.
        try:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            self._close_the_loop(output, knobs)
        finally:
            self._heard = None
        return output

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        loss = super()._compute_loss(model, inputs)
        if self.model.training:
            self._empty.after_loss(inputs, self._metrics["train"])
        return loss

    def _close_the_loop(self, output: dict[str, Any], knobs: Mapping[str, KnobReport]) -> None:
        """Decide about the batch, correct its advantages, log and report it."""
        if self._heard is None:
            raise compat.UnsupportedTrainer("TRL scored a batch without _calculate_rewards")
        size = self.num_generations
        heard = self._heard.rewards_BF.cpu()  # The one wait for the device; the rest is host work.
        rewards = avspo.total_rewards(heard, self.reward_weights, size)
        primary = None
        if self._primary is not None:
            primary = avspo.primary_rewards(heard, self._primary, size)
        self._telemetry.on_step(self._metrics["train"])
        plan = self.loop.decide(
            rewards,
            primary,
            truncated=self._heard.truncated(size),
            prompts=self._heard.prompts(size),
            epoch=int(self.state.epoch or 0),
        )
        local = output["advantages"]
        first_row = self.accelerator.process_index * len(local)
        if plan.is_rewritten.any():
            output["advantages"] = avspo.apply(plan, rewards, local, first_row)
            self._correct_completion_log(plan, rewards)
        if self._knobs.value("loss_mask"):
            keep = loss_mask.kept(plan, size)
            loss_mask.apply(output, keep, first_row, self.accelerator)
        for name, value in self.loop.figures(plan).items():
            self._metrics["train"][name].append(value)
        self.loop.report(
            plan,
            rewards,
            primary,
            components={
                name: heard[:, column].numpy() for column, name in enumerate(self.reward_func_names)
            },
            scalars=self._telemetry.scalars(),
            optimizer_step=self.state.global_step,
            knobs={name: Knob(**asdict(report)) for name, report in knobs.items()},
        )

    def _correct_completion_log(self, plan: Any, rewards: Any) -> None:
        """TRL logged the advantages of all ranks before they were corrected."""
        logged = self._logs["advantages"]
        everything = list(logged)
        newest = torch.tensor(everything[-rewards.size :], dtype=torch.float32)
        logged.clear()
        logged.extend(everything[: -rewards.size])
        logged.extend(avspo.apply(plan, rewards, newest, 0).tolist())

    def _share(self, held: Held | None) -> Held:
        box = [held]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(box, from_process=0)
        (shared,) = box
        assert shared is not None
        return shared


def link_for(args: GRPOConfig) -> MonitorLink:
    """The monitor that a configuration describes; connects to nothing yet."""
    if args.monitor_url is None:
        return InProcessMonitor(args.initial_settings())
    return MonitorClient(
        args.monitor_url,
        run_id=args.run_id or made_up_run_id(args.output_dir),
        profile=args.initial_profile,
        settings=args.initial_changes(),
        redis_url=args.monitor_redis_url,
        when_unreachable=args.monitor_unreachable,
        config={
            "num_generations": args.num_generations,
            "learning_rate": args.learning_rate,
            "beta": args.beta,
            "temperature": args.temperature,
            "loss_type": args.loss_type,
            "scale_rewards": args.scale_rewards,
        },
    )


def made_up_run_id(output_dir: str) -> str:
    """A name of its own for a run nobody named, after the folder it writes to."""
    folder = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(output_dir).resolve().name).strip("-.")
    return f"{folder[:64] or 'run'}-{secrets.token_hex(4)}"


class _LoopCallback(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Start and end of training, TRL's log lines, and the batch counter in checkpoints."""

    def __init__(
        self,
        loop: ControlLoop,
        knobs: Knobs,
        empty: loss_mask.EmptyMicroBatches,
        telemetry: Telemetry,
        gathered: Mapping[str, Sequence[float]],
    ) -> None:
        """`gathered` is what TRL collects between two log lines; it empties it in place."""
        self._loop = loop
        self._knobs = knobs
        self._empty = empty
        self._telemetry = telemetry
        self._gathered = gathered

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        saved = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
        kept = saved.get("attributes", {}) if isinstance(saved, dict) else {}
        if "step" in kept:
            self._loop.load(kept)
            self._knobs.load(kept.get("knobs", {}))
            self._loop.start(int(kept["step"]))
            return
        # A checkpoint that another trainer wrote: what its optimizer steps come to.
        micro_steps = state.global_step * args.gradient_accumulation_steps
        self._loop.start(math.ceil(micro_steps / (args.steps_per_generation * args.num_iterations)))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._empty.before_step(kwargs["optimizer"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self._telemetry.on_step(self._gathered)
        if command := self._loop.taken_command():
            control.should_save = True
            control.should_training_stop |= command.kind == "stop"
        return control

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self._telemetry.on_log(logs or {})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._loop.close()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        kept = {**self._loop.state(), "knobs": self._knobs.state()}
        return {"args": {}, "attributes": kept}
