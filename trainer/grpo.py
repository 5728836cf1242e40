"""`GRPOTrainer`: TRL's, with the control loop around the scoring of each batch.

TRL has no small method that computes advantages. `_calculate_rewards` returns the rewards of all
ranks; `_generate_and_score_completions` turns them into advantages and keeps this rank's rows. So
the first is overheard, and the second's result corrected, for the groups that the plan names.
`_generate` and the first give dynamic sampling its batch, and the forward pass of the loss gives
RL-ZVP its entropies.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import trl
from accelerate.utils import broadcast_object_list

from monitor_service.engine.collapse import Matrix
from monitor_service.engine.injection import Host
from monitor_service.wire import Knob
from trainer import avspo, compat
from trainer.callback import LoopCallback
from trainer.config import GRPOConfig
from trainer.connect import link_for
from trainer.heard import Heard, facts
from trainer.knobs import KnobReport, Knobs
from trainer.link import Held, MonitorLink
from trainer.loop import ControlLoop
from trainer.methods import loss_mask, objectives, rl_zvp, sampling
from trainer.order import ResumableOrder
from trainer.rewards.assemble import assembled
from trainer.rewards.group import GroupReward
from trainer.telemetry import Telemetry


class GRPOTrainer(trl.GRPOTrainer):  # type: ignore[misc]
    """A drop-in for TRL's `GRPOTrainer`; takes the same arguments.

    Raises:
        UnsupportedTrainer: (a ValueError) this TRL or this configuration cannot be hooked.
        RewardError: (a ValueError) while training: a reward function raised, or returned what is
            no reward.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        *others: Any,
        monitor: MonitorLink | None = None,
        **kwargs: Any,
    ) -> None:
        """As TRL's; `monitor` replaces the one that the configuration describes."""
        compat.check_trl()
        if not isinstance(args, GRPOConfig):
            raise compat.UnsupportedTrainer(
                f"args: must be a trainer.GRPOConfig; got {type(args).__name__}"
            )
        compat.check_environment(args)
        rewards = assembled(reward_funcs, args)
        super().__init__(model, rewards.functions, rewards.args, *others, **kwargs)
        refusal = compat.refusal(self.args)
        if refusal and self.args.use_avspo:
            raise compat.UnsupportedTrainer(f"use_avspo: {refusal}")
        self._primary = compat.primary_index(self.args, self.reward_func_names)
        if self._primary is None:
            self._primary = rewards.primary
        self._added = rewards.added
        self._objective = objectives.for_config(self.args)
        self._micro_batch: dict[str, Any] | None = None
        self._heard: Heard | None = None
        self._sampled: sampling.Sampled | None = None
        self._sampler = self._make_sampler()
        self._knobs = Knobs(self)
        self._empty = loss_mask.EmptyMicroBatches(self)
        self._telemetry = Telemetry(self.args.temperature)
        link = None
        if self.accelerator.is_main_process:
            link = monitor or link_for(self.args)
        self.loop = ControlLoop(
            link,
            share=self._share,
            host=Host(scale=self.args.scale_rewards),
            wait_s=self.args.settings_wait_s,
            refusal=refusal or objectives.notice(self.args),
            reward_names=self.reward_func_names,
            kill_file=self.args.kill_file_path,
        )
        self.add_callback(
            LoopCallback(
                self,
                loop=self.loop,
                knobs=self._knobs,
                empty=self._empty,
                telemetry=self._telemetry,
                reserve=self._sampler.reserve if self._sampler else None,
                adaptive_kl=self.args.adaptive_kl(),
            )
        )

    def _get_train_sampler(self, dataset: Any = None) -> ResumableOrder:
        order = super()._get_train_sampler(dataset)
        return ResumableOrder(order, lambda: int(self.state.epoch or 0))

    def _load_callback_state(self) -> None:
        # Transformers makes a checkpoint's callbacks anew, of plain values; ours restores itself.
        own = self.pop_callback(LoopCallback)
        super()._load_callback_state()
        self.add_callback(own)

    def _make_sampler(self) -> sampling.DynamicSampler | None:
        """None where batches cannot be sampled so, and nobody asked for it."""
        refusals = {
            "dynamic_sampling": sampling.refusal(self),
            "loss_mask": loss_mask.refusal(self),
        }
        for name, why in refusals.items():
            if why is not None and getattr(self.args, name):
                raise compat.UnsupportedTrainer(f"{name}: {why}")
        if refusals["dynamic_sampling"] is not None:
            return None
        return sampling.DynamicSampler(
            self,
            max_tries=self.args.sampling_max_tries,
            max_tokens=self.args.sampling_max_tokens,
        )

    def _generate(self, prompts: list[Any]) -> Any:
        if self._sampled:
            return self._sampled.generation
        return super()._generate(prompts)

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        if self._sampled:
            self._pending_extra_logs.update(self._sampled.extra)
            return self._sampled.batch.rewards_BF
        rewards: torch.Tensor = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        local = torch.tensor(
            facts(completion_ids_list, prompts, ends), dtype=torch.int64, device=rewards.device
        )
        heard = Heard(rewards_BF=rewards, facts_BK=self.accelerator.gather(local))
        self._score_groups(heard)
        if self.model.training:
            self._heard = heard
        return rewards

    def _score_groups(self, heard: Heard) -> None:
        """Fill in the rewards that need the whole group; what nobody scored stays unscored."""
        size = self.num_generations if self.model.training else self.num_generations_eval
        for column, function in enumerate(self.reward_funcs):
            if isinstance(function, GroupReward):
                judged = self.judged_rewards(heard.rewards_BF.cpu(), size)
                scores = function.score(judged, heard.lengths(size))
                heard.rewards_BF[:, column] = torch.from_numpy(scores.reshape(-1)).to(
                    heard.rewards_BF
                )
        if self._added:
            given = [at for at in range(len(self.reward_funcs)) if at not in self._added]
            heard.rewards_BF[heard.rewards_BF[:, given].isnan().all(dim=1)] = torch.nan

    def judged_rewards(self, rewards_BF: torch.Tensor, num_generations: int) -> Matrix:
        """`[N, G]` what tells right from wrong: the primary rewards, or the weighted sum."""
        if self._primary is None:
            return avspo.total_rewards(rewards_BF, self.reward_weights, num_generations)
        return avspo.primary_rewards(rewards_BF, self._primary, num_generations)

    def taken_heard(self) -> Heard:
        """What was overheard since this was asked last.

        Raises:
            UnsupportedTrainer: nothing was.
        """
        heard, self._heard = self._heard, None
        if heard is None:
            raise compat.UnsupportedTrainer("TRL scored a batch without _calculate_rewards")
        return heard

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)  # type: ignore[no-any-return]
        settings = self.loop.begin_step()
        knobs = self._knobs.apply(settings.knobs)
        self._telemetry.set_temperature(self.temperature)
        if not self.beta:
            self._telemetry.forget("kl")  # TRL computes none; the last one must not stay.
        try:
            if self._sampler and self._knobs.value("dynamic_sampling"):
                self.loop.stand_aside(sampling.NOTICE)
                self._sampled = self._sampler.sample(inputs)
                inputs = self._sampled.inputs
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            self._close_the_loop(output, knobs)
        finally:
            self._heard = self._sampled = None
        return output

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        # A batch outlives this when it is used several times: what is shaped here is a copy.
        self._micro_batch = inputs = dict(inputs)
        if self.model.training:
            self._empty.before_loss()
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self._micro_batch = None
        if self.model.training:
            self._empty.after_loss(inputs, self._metrics["train"])
        return loss

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        batch = self._micro_batch
        if batch is not None and rl_zvp.SIDES in batch:
            mask = batch["completion_mask"] * batch.get("tool_mask", 1)
            batch["advantages"] = rl_zvp.advantages(
                batch["advantages"], batch[rl_zvp.SIDES], found[1], mask, self.args.zvp_alpha
            )
        return found

    def _close_the_loop(self, output: dict[str, Any], knobs: Mapping[str, KnobReport]) -> None:
        """Decide about the batch, correct its advantages, log and report it."""
        size = self.num_generations
        sampled = self._sampled
        heard = sampled.seen if sampled else self.taken_heard()
        scored = heard.rewards_BF.cpu()  # The one wait for the device; the rest is host work.
        rewards = avspo.total_rewards(scored, self.reward_weights, size)
        primary = None
        if self._primary is not None:
            primary = avspo.primary_rewards(scored, self._primary, size)
        self._telemetry.on_step(self._metrics["train"])
        plan = self.loop.decide(
            rewards,
            primary,
            truncated=heard.truncated(size),
            prompts=heard.prompts(size),
            epoch=int(self.state.epoch or 0),
        )
        if sampled:
            batch = sampled.batch.rewards_BF.cpu()
            correction = objectives.of_sampled(self.judged_rewards(batch, size))
        else:
            correction = self._objective(plan, rewards)
        self._correct(output, correction)
        effective_acr = correction.effective_acr
        for name, value in self.loop.figures(plan, effective_acr).items():
            self._metrics["train"][name].append(value)
        self.loop.report(
            plan,
            rewards,
            primary,
            components={
                name: scored[:, column].numpy()
                for column, name in enumerate(self.reward_func_names)
            },
            scalars=self._telemetry.scalars(),
            optimizer_step=self.state.global_step,
            knobs={name: Knob(**asdict(report)) for name, report in knobs.items()},
            effective_acr=effective_acr,
            sampling=sampled.sampling if sampled else None,
        )

    def _correct(self, output: dict[str, Any], correction: objectives.Correction) -> None:
        """Put the advantages of a method in the place of TRL's, and mask the loss by them."""
        local = output["advantages"]
        first_row = self.accelerator.process_index * len(local)
        if not np.isnan(correction.advantages_B).all():
            output["advantages"] = avspo.replaced(local, correction.advantages_B, first_row)
            self._correct_completion_log(correction.advantages_B)
        if correction.sides_B is not None:
            mine = correction.sides_B[first_row : first_row + len(local)]
            output[rl_zvp.SIDES] = torch.from_numpy(mine).to(local.device)
        if self._knobs.value("loss_mask"):
            keep = np.repeat(correction.has_signal, self.num_generations)
            loss_mask.apply(output, keep, first_row, self.accelerator)

    def _correct_completion_log(self, advantages_B: Matrix) -> None:
        """TRL logged the advantages of all ranks before they were corrected."""
        logged = self._logs["advantages"]
        everything = list(logged)
        newest = torch.tensor(everything[-len(advantages_B) :], dtype=torch.float32)
        logged.clear()
        logged.extend(everything[: -len(advantages_B)])
        logged.extend(avspo.replaced(newest, advantages_B, 0).tolist())

    def _share(self, held: Held | None) -> Held:
        box = [held]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(box, from_process=0)
        (shared,) = box
        assert shared is not None
        return shared
