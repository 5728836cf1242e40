"""Live knobs: what of a running `trl.GRPOTrainer` can be changed between two generation batches.

Each knob is judged once, when the trainer stands: whether this TRL has it, and whether this
configuration lets it have an effect. A knob that cannot be turned is ignored with the reason, and
nothing here ever ends a training. What was read in TRL 1.16:

- `epsilon_low`, `epsilon_high`, `beta`, `entropy_coef`: attributes that the loss reads.
- `temperature`: of the sampler, and of the LM head that the loss looks through (see `places`).
- the learning rate: of the schedule (see `schedule`).
- the loss mask and dynamic sampling: carried out on each batch (see `trainer.methods`); here they
  are only switched.

Not knobs: `num_generations` and the batch sizes are built into the sampler of the data,
`num_iterations` and `steps_per_generation` into it and the buffer of batches; `loss_type` could be
changed, but most of the above would then mean something else.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from monitor_service.engine.settings import KNOBS
from trainer.methods import loss_mask, sampling
from trainer.places import FAILURES, Number, attribute, head_temperatures, item
from trainer.schedule import LearningRateScale

Value = float | bool | None

_CLIPPED_ON_BOTH_SIDES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
_FROZEN_LOSSES = ("liger_grpo_loss", "liger_loss")
"""Where a TRL that computes the loss in Liger keeps it; its numbers are copies. 1.16 does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobReport:
    """What became of one requested value."""

    status: Literal["applied", "ignored"]
    value: Value
    """In force now; None when the trainer has no such thing."""
    reason: str | None = None
    """Why it was ignored; of an applied value, what keeps it from having an effect."""


class Knob(Protocol):
    """One thing that can be turned."""

    @property
    def value(self) -> Value:
        """What is in force."""

    @property
    def note(self) -> str | None:
        """What to know about a value that was applied."""

    def holds(self, value: float) -> bool:
        """Whether `value` is in force, everywhere."""

    def refuse(self, value: float) -> str | None:
        """Why `value` cannot be set; None when it can."""

    def set(self, value: float) -> None:
        """Put `value` in force."""

    def restore(self) -> None:
        """Put back what the trainer was configured with; nothing when it never changed."""


class Knobs:
    """The knobs of one trainer; every rank has its own, and turns them alike."""

    def __init__(self, trainer: Any) -> None:
        """Judge what of `trainer`, a `trl.GRPOTrainer` that was built, can be turned."""
        self._rate = LearningRateScale(trainer)
        self._knobs: dict[str, Knob] = {
            "epsilon_low": _judged(_epsilon_low, trainer),
            "epsilon_high": _judged(_epsilon_high, trainer),
            "beta": _judged(_beta, trainer),
            "entropy_coef": _judged(_entropy_coef, trainer),
            "temperature": _judged(_temperature, trainer),
            "learning_rate_scale": self._rate,
            "loss_mask": _judged(
                partial(_Switch, name="loss_mask", refusal=loss_mask.refusal), trainer
            ),
            "dynamic_sampling": _judged(
                partial(_Switch, name="dynamic_sampling", refusal=sampling.refusal), trainer
            ),
        }
        assert self._knobs.keys() == KNOBS.keys()

    def apply(self, requested: Mapping[str, Value]) -> dict[str, KnobReport]:
        """Turn the knobs for the batch that is about to be generated; all ranks pass the same.

        Args:
            requested: name -> value; a knob that is None or absent goes back to the trainer's own.

        Returns:
            Name -> report, of each knob that was requested and not None.
        """
        reports = {}
        for name, knob in self._knobs.items():
            value = requested.get(name)
            if value is None:
                with suppress(*FAILURES):
                    knob.restore()
            else:
                reports[name] = _turn(knob, value)
        for name in requested.keys() - self._knobs.keys():
            if requested[name] is not None:
                reports[name] = KnobReport(status="ignored", value=None, reason="no such knob")
        return reports

    def value(self, name: str) -> Value:
        """What is in force of the knob `name`."""
        with suppress(*FAILURES):
            return self._knobs[name].value
        return None

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return self._rate.state()

    def load(self, state: Mapping[str, Any]) -> None:
        """Training resumes from a checkpoint with this `state`; before the first `apply`."""
        with suppress(*FAILURES):
            self._rate.load(state)


def _turn(knob: Knob, value: float) -> KnobReport:
    try:
        if not math.isfinite(value):
            reason: str | None = f"takes a finite number; got {value}"
        elif knob.holds(value):
            return KnobReport(status="applied", value=knob.value, reason=knob.note)
        else:
            reason = knob.refuse(value)
            if reason is None:
                knob.set(value)
                return KnobReport(status="applied", value=knob.value, reason=knob.note)
    except FAILURES as error:
        reason = f"{type(error).__name__}: {error}"
    with suppress(*FAILURES):
        return KnobReport(status="ignored", value=knob.value, reason=reason)
    return KnobReport(status="ignored", value=None, reason=reason)


def _judged(build: Callable[[Any], Knob], trainer: Any) -> Knob:
    """A knob of `trainer`, or one that says what this TRL lacks."""
    try:
        return build(trainer)
    except FAILURES as error:
        missing = f"not found in this TRL: {error}"
        return Number([], lambda _: missing)


def _frozen(trainer: Any) -> str | None:
    for name in _FROZEN_LOSSES:
        if getattr(trainer, name, None) is not None:
            return "use_liger_kernel: the loss copied its numbers when the trainer was built"
    return None


def _never_clips(trainer: Any) -> str | None:
    """The condition under which TRL itself does without the old probabilities."""
    uses = trainer.args.steps_per_generation * trainer.args.num_iterations
    if trainer.args.gradient_accumulation_steps % uses:
        return None
    return "without effect: no batch outlives an optimizer step, so the ratio is 1, never clipped"


def _epsilon_low(trainer: Any) -> Knob:
    kind = trainer.loss_type
    reason = _frozen(trainer)
    if reason is None and kind not in _CLIPPED_ON_BOTH_SIDES:
        reason = f"loss_type={kind!r} clips no ratio from below"
    places = [attribute(trainer, "epsilon_low")]
    return Number(places, lambda _: reason, note=_never_clips(trainer))


def _epsilon_high(trainer: Any) -> Knob:
    kind = trainer.loss_type
    reason = _frozen(trainer)
    if reason is None and kind not in (*_CLIPPED_ON_BOTH_SIDES, "cispo"):
        reason = f"loss_type={kind!r} clips no ratio from above"

    def refuse(value: float) -> str | None:
        if reason is None and kind == "cispo" and value < 1:
            return "loss_type='cispo' caps the ratio itself at epsilon_high: below 1 it cuts all"
        return reason

    return Number([attribute(trainer, "epsilon_high")], refuse, note=_never_clips(trainer))


def _beta(trainer: Any) -> Knob:
    reason = _frozen(trainer)
    if trainer.beta == 0:
        reason = "no reference model: TRL loads one only when beta is above 0 from the start"
    elif getattr(trainer.args, "kl_target", None) is not None:
        reason = "kl_target: the adaptive controller moves it after every optimizer step"
    return Number([attribute(trainer, "beta")], lambda _: reason)


def _entropy_coef(trainer: Any) -> Knob:
    reason = _frozen(trainer)
    if trainer.use_adaptive_entropy:
        reason = "use_adaptive_entropy: TRL moves it itself after every optimizer step"
    elif not trainer._entropy_bonus_enabled:
        reason = "TRL computes the entropy bonus only when entropy_coef is not 0 from the start"
    return Number([attribute(trainer, "entropy_coef")], lambda _: reason)


def _temperature(trainer: Any) -> Knob:
    reason = _frozen(trainer)
    places = [attribute(trainer, "temperature")]
    if trainer.use_vllm:
        places.append(attribute(trainer.vllm_generation, "temperature"))
    else:
        places.append(attribute(trainer.generation_config, "temperature"))
        places.append(item(trainer.generation_kwargs, "temperature"))
    for model in (trainer.model, trainer.ref_model):
        if model is not None:
            heads = head_temperatures(model)
            places.extend(heads)
            if not heads:
                reason = reason or "the temperature of the loss was not found in this TRL"
    if "temperature" in (trainer.args.generation_kwargs or {}):
        reason = "generation_kwargs sets the temperature of sampling apart from that of the loss"
    if trainer.rollout_func is not None:
        reason = "rollout_func samples at a temperature of its own"

    def refuse(value: float) -> str | None:
        return reason if value > 0 else "a temperature is above 0"

    return Number(places, refuse)


class _Switch:
    """Something that is carried out on each batch, on or off."""

    note: str | None = None

    def __init__(self, trainer: Any, *, name: str, refusal: Callable[[Any], str | None]) -> None:
        """The switch `name`; `refusal` says why it cannot be on."""
        self._reason = refusal(trainer)
        self._own = self.value = bool(getattr(trainer.args, name, False))

    def holds(self, value: float) -> bool:
        return self.value == value

    def refuse(self, value: float) -> str | None:
        return self._reason if value in (0, 1) else f"is on or off; got {value}"

    def set(self, value: float) -> None:
        self.value = bool(value)

    def restore(self) -> None:
        self.value = self._own
