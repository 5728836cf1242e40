"""Completions of groups without a signal leave the loss: its sum and what the sum is divided by.

    L = sum_i m_i sum_t l_it / sum_i m_i |o_i|,   m_i = 1 where the group of i carries a signal

The loss mask of AGPO (arXiv 2503.15952), in its token-level form. A group without a signal has
advantages of 0: left in, its tokens only make the gradient smaller, by the share of tokens they
are, and with `beta > 0` their KL still pulls. 6 dead and 6 live tokens, the live losses summing to
10: 10/12 = 0.833 becomes 10/6 = 1.667. The gradient GROWS by 1 / (1 - share of dead tokens).

TRL multiplies `completion_mask` with `tool_mask` to get the tokens of the loss, and uses the first
alone as attention mask. So the rows are struck out of `tool_mask`: struck out of `completion_mask`
they would be scored in another context than when their old and reference probabilities were, and
the exponential of such a difference can be infinite, which times 0 is NaN.

Left out: AGPO's loss clip, and the loss types whose divisor does not count tokens (see `refusal`).

B = completions of the batch over all ranks, n = those of this rank, C = tokens of the longest.
"""

from collections.abc import MutableMapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import trl
from accelerate.utils import DistributedType

from monitor_service.engine.collapse import Outcome
from monitor_service.engine.plan import Plan
from trainer import compat

MASKED = "loss_is_masked"
"""Key that `apply` leaves in a batch, and TRL carries into each of its micro-batches."""

_DIVIDED_BY_TOKENS = ("dapo", "cispo", "vespo")
"""Divided by `num_items_in_batch`, which is counted over all ranks and can be corrected."""

_FIXED_DIVISOR = {
    "grpo": "averages over completions, each by its own length",
    "sapo": "averages over completions, each by its own length",
    "luspo": "averages over completions",
    "dr_grpo": "divides by a constant",
}

_TOKEN_MEANS = (
    "entropy",
    "kl",
    "clip_ratio/low_mean",
    "clip_ratio/high_mean",
    "clip_ratio/region_mean",
    "cispo_clip_ratio",
    "vespo/phi_seq_mean",
)
"""TRL's means over the tokens of the loss; over none of them it says 0."""


def refusal(trainer: Any) -> str | None:
    """Why the loss of `trainer` cannot be masked correctly; None when it can."""
    if not trl.__version__.startswith(compat.TESTED_TRL):
        return (
            f"the divisor of the loss was read in TRL {compat.TESTED_TRL}*, not {trl.__version__}"
        )
    if trainer.multi_objective_aggregation != "sum_then_normalize":
        return "groups whose rewards add up to one value have a signal under normalize_then_sum"
    kind = trainer.loss_type
    if kind in _DIVIDED_BY_TOKENS:
        return None
    if kind == "bnpo":
        args = trainer.args
        if args.gradient_accumulation_steps * trainer.accelerator.num_processes == 1:
            return None
        return (
            "loss_type='bnpo' averages over micro-batches, and one without a token left would "
            "count as 0"
        )
    why = _FIXED_DIVISOR.get(kind, "divides by something unknown")
    return f"loss_type={kind!r} {why}, which no mask of tokens corrects"


def has_signal(plan: Plan) -> npt.NDArray[np.bool_]:
    """`[N]` groups that stay: with a signal of their own, or an injected one.

    What a plan would inject, in shadow mode, is no signal.
    """
    is_injected = plan.is_rewritten & (plan.advantages != 0)
    return np.asarray((plan.groups.outcomes == Outcome.MIXED) | is_injected)


def apply(
    output: MutableMapping[str, Any],
    keep_B: npt.NDArray[np.bool_],
    first_row: int,
    accelerator: Any,
) -> None:
    """Strike completions out of the loss of a generation batch; called by all ranks together.

    Args:
        output: of TRL's `_generate_and_score_completions`; changed in place, not at all when
            everything is kept.
        keep_B: `[B]` the same on every rank.
        first_row: row of the batch that this rank's part begins with.
        accelerator: of the trainer.
    """
    if keep_B.all():
        return
    tokens = output["completion_mask"]
    keep = torch.from_numpy(keep_B[first_row : first_row + len(tokens)]).to(tokens.device)
    counted = output.get("tool_mask")
    counted = torch.ones_like(tokens) if counted is None else counted
    output["tool_mask"] = counted * keep.unsqueeze(1)
    left = (tokens * output["tool_mask"]).sum()
    output["num_items_in_batch"] = accelerator.gather(left).sum()
    output[MASKED] = torch.tensor(True, device=tokens.device)


class EmptyMicroBatches:
    """What must not follow from a micro-batch of which the mask left no token on any rank.

    TRL would log an entropy of 0, which reads as a collapse, also to its adaptive entropy; and an
    optimizer that steps on gradients of 0 still moves the weights, by its momentum and by weight
    decay.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._accelerator = trainer.accelerator
        # A gradient scaler wants gradients, and the loss that balances a mixture of experts is not
        # masked.
        self._can_skip = self._accelerator.scaler is None and not getattr(
            trainer, "aux_loss_enabled", False
        )
        self._was_empty = self._had_tokens = False
        self._rates: list[float] = []
        self._entropy_control: dict[str, float] = {}

    def before_loss(self) -> None:
        """A micro-batch of training is about to be scored."""
        if self._trainer.use_adaptive_entropy:
            names = ("entropy_coef", "_last_world_entropy")
            self._entropy_control = {name: getattr(self._trainer, name) for name in names}

    def after_loss(
        self, inputs: MutableMapping[str, Any], metrics: MutableMapping[str, list[float]]
    ) -> None:
        """A micro-batch of training was scored; all ranks call this together.

        Args:
            inputs: the micro-batch.
            metrics: TRL's, of training; its newest values are of this micro-batch, and are taken
                out again where they are means over no token.
        """
        if MASKED in inputs:
            left = (inputs["completion_mask"] * inputs["tool_mask"]).sum()
            if not self._accelerator.reduce(left, reduction="sum").item():
                for name in _TOKEN_MEANS:
                    if metrics.get(name):
                        metrics[name].pop()
                self._was_empty = True
                if not self._had_tokens:
                    self._restore_entropy_control(metrics)
                if self._accelerator.distributed_type == DistributedType.DEEPSPEED:
                    self._hold_still()
                return
        self._had_tokens = True

    def _restore_entropy_control(self, metrics: MutableMapping[str, list[float]]) -> None:
        """TRL moved its coefficient by the entropy of no token, if the step ends here."""
        for name, value in self._entropy_control.items():
            setattr(self._trainer, name, value)
        if self._entropy_control and metrics.get("entropy_coef"):
            metrics["entropy_coef"][-1] = self._trainer.entropy_coef

    def _hold_still(self) -> None:
        """DeepSpeed steps before `before_step` is called: if it does so now, by a rate of 0."""
        if self._can_skip and self._accelerator.sync_gradients and not self._had_tokens:
            groups = self._trainer.optimizer.param_groups
            self._rates = [group["lr"] for group in groups]
            for group in groups:
                group["lr"] = 0.0

    def before_step(self, optimizer: Any) -> None:
        """The optimizer is about to step: on nothing, when no micro-batch had a token left."""
        for group, rate in zip(optimizer.param_groups, self._rates, strict=False):
            group["lr"] = rate
        self._rates = []
        if self._can_skip and self._was_empty and not self._had_tokens:
            optimizer.zero_grad(set_to_none=True)
        self._was_empty = self._had_tokens = False
