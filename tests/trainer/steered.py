"""TRL's own trainer with nothing of ours but the knobs, turned by a script."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import trl
from transformers import PreTrainedModel, TrainerCallback

from tests.trainer.toys import G, arguments, config
from trainer.knobs import KnobReport, Knobs
from trainer.methods import loss_mask
from trainer.methods.loss_mask import EmptyMicroBatches

OUTCOMES = ["right", "mixed", "wrong", "mixed"]


def applied(value: float, reason: str | None = None) -> KnobReport:
    return KnobReport(status="applied", value=value, reason=reason)


def ignored(reports: dict[str, KnobReport], name: str, value: float | None, words: str) -> None:
    report = reports[name]
    assert (report.status, report.value) == ("ignored", value)
    assert report.reason is not None
    assert words in report.reason


class Steered(trl.GRPOTrainer):
    """Turns its knobs before each generation batch, and masks the groups it is told are dead."""

    script: Mapping[int, Mapping[str, float | bool | None]] = {}
    """Generation batch, from 1 -> what is requested for it; else nothing is."""
    dead: Mapping[int, tuple[int, ...]] = {}
    """Generation batch -> groups that the loss mask strikes out of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.knobs = Knobs(self)
        self.empty = EmptyMicroBatches(self)
        self.batches = 0
        self.reports: list[dict[str, KnobReport]] = []
        self.rates: list[float] = []
        """Of the learning, as the optimizer had it when it stepped."""
        self.states: list[dict[str, float]] = []
        """Of the knobs, as each checkpoint keeps it."""
        self.add_callback(_Ears(self))

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        self.batches += 1
        self.reports.append(self.knobs.apply(self.script.get(self.batches, {})))
        output = super()._generate_and_score_completions(inputs)
        if self.knobs.value("loss_mask"):
            keep = torch.ones(len(output["advantages"]) * self.accelerator.num_processes).bool()
            for group in self.dead.get(self.batches, ()):
                keep[group * G : (group + 1) * G] = False
            first_row = self.accelerator.process_index * len(output["advantages"])
            loss_mask.apply(output, keep.numpy(), first_row, self.accelerator)
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        if self.model.training:
            self.empty.after_loss(inputs, self._metrics["train"])
        return loss


class _Ears(TrainerCallback):
    def __init__(self, trainer: Steered) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.rates.append(kwargs["optimizer"].param_groups[0]["lr"])
        self._trainer.empty.before_step(kwargs["optimizer"])

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.states.append(self._trainer.knobs.state())


def steered(
    folder: Path,
    script: Mapping[int, Mapping[str, float | bool | None]] | None = None,
    *,
    dead: Mapping[int, tuple[int, ...]] | None = None,
    outcomes: list[str] = OUTCOMES,
    given: Mapping[str, Any] | None = None,
    make: type[Any] = Steered,
    **changes: Any,
) -> Any:
    """A `make` that is built, not trained; `given` replaces arguments of its constructor."""
    args = config(folder / "run", **changes)
    wanted = arguments(args, outcomes)
    if args.beta:
        # TRL loads the reference model by name.
        wanted["model"].save_pretrained(folder / "model")
        wanted["model"] = type(wanted["model"]).from_pretrained(folder / "model")
    trainer = make(**{**wanted, **(given or {})})
    trainer.script, trainer.dead = script or {}, dead or {}
    return trainer


def a_batch(trainer: Steered, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """A micro-batch for TRL's loss: 4 completions of 3 tokens, without any advantage."""
    tokens = torch.tensor([[4, 5, 6], [7, 8, 9], [5, 5, 5], [6, 9, 4]])
    ones = torch.ones_like(tokens)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return {
        "prompt_ids": tokens.flip(1),
        "prompt_mask": ones,
        "completion_ids": tokens,
        "completion_mask": ones,
        "advantages": torch.zeros(4),
        "num_items_in_batch": torch.tensor(12),
        **more,
    }


def log_probabilities(
    trainer: Steered, batch: dict[str, torch.Tensor], model: PreTrainedModel | None = None
) -> torch.Tensor:
    """`[4, 3]` of the completions, as TRL computes them for its loss."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    with torch.no_grad():
        found, _, _ = trainer._get_per_token_logps_and_entropies(
            model or trainer.model, ids, torch.ones_like(ids), batch["completion_ids"].size(1)
        )
    return found


def plain_log_probabilities(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], temperature: float
) -> torch.Tensor:
    """The same from logits, without TRL."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, 2:-1] / temperature
    return logits.log_softmax(-1).gather(2, batch["completion_ids"].unsqueeze(2)).squeeze(2)
