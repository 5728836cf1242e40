"""What a report says of a batch: what was applied, and the rewards' components."""

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from monitor_service.engine.collapse import Outcome
from monitor_service.engine.ledger import Ledger
from monitor_service.engine.orders import Kill
from monitor_service.engine.plan import Plan
from monitor_service.wire import (
    MAX_NAME_CHARS,
    MAX_REASON_CHARS,
    Applied,
    Component,
    Injection,
    Knob,
    Sampling,
)
from trainer.link import Held


def applied(
    held: Held,
    decided: Plan,
    *,
    ledger: Ledger,
    shadow_ledger: Ledger,
    effective_acr: float | None,
    sampling: Sampling | None,
    knobs: Mapping[str, Knob],
    kill: Kill | None,
    killed_after_rearms: int | None,
) -> Applied:
    """What was done to a batch, and with which settings.

    Args:
        held: the settings it was decided with.
        decided: the plan.
        ledger: the account after it.
        shadow_ledger: the account of what was decided only.
        effective_acr: share of the groups trained on that are without a signal.
        sampling: how dynamic sampling filled the batch; None without.
        knobs: what became of the trainer's parameters.
        kill: the kill that is obeyed, when one was found here.
        killed_after_rearms: rearms that had been made when it was found.
    """
    settings = held.settings
    done = (
        injection(decided, ledger)
        if decided.mode == "active"
        else Injection(
            mass_fraction_pooled=ledger.mass_fraction, group_fraction_pooled=ledger.group_fraction
        )
    )
    return Applied(
        **{**msgspec.structs.asdict(done), "effective_acr": effective_acr},
        settings_version=settings.version,
        through_step=settings.through_step,
        mode=settings.acting_mode,
        threshold=settings.threshold,
        triggered=decided.triggered,
        acr=decided.acr,
        acr_source=decided.acr_source,
        stage=settings.arming.stage,
        decisions=decided.counts(),
        shadow=injection(decided, shadow_ledger) if decided.mode == "shadow" else None,
        overrides=[override.number for override in settings.overrides],
        sampling=sampling,
        knobs={name: _told(knob) for name, knob in knobs.items()},
        command=settings.command.number if settings.command else None,
        kill=None if killed_after_rearms is None else kill,
        killed_after_rearms=killed_after_rearms,
        note=_shortened(held.note),
    )


def injection(decided: Plan, ledger: Ledger) -> Injection:
    """What a plan injects; `ledger` is the account after it."""
    sizes = np.abs(decided.advantages[decided.is_injected])
    return Injection(
        injected_wrong=decided.num_injected(Outcome.ALL_WRONG),
        injected_correct=decided.num_injected(Outcome.ALL_CORRECT),
        num_virtual=int(decided.num_virtual.max(initial=0)),
        advantage_abs_max=float(sizes.max(initial=0.0)),
        virtual_mass_fraction=decided.virtual_mass_fraction,
        mass_fraction_pooled=ledger.mass_fraction,
        group_fraction_pooled=ledger.group_fraction,
        mass_scale=decided.mass_scale,
        effective_acr=decided.effective_acr,
    )


def _told(knob: Knob) -> Knob:
    return msgspec.structs.replace(knob, reason=_shortened(knob.reason))


def _shortened(text: str | None) -> str | None:
    # Other people's errors have any length, and a report with a longer text is refused.
    return text and text[:MAX_REASON_CHARS]


def components(values: Mapping[str, npt.ArrayLike]) -> dict[str, Component]:
    """Mean and std of each reward function, under its name as far as a report may hold it."""
    return {
        # The folder of a reward model may give it no name at all.
        name[:MAX_NAME_CHARS] or f"reward_{at}": _component(rewards)
        for at, (name, rewards) in enumerate(values.items(), 1)
    }


def _component(values: npt.ArrayLike) -> Component:
    scored = np.asarray(values, dtype=np.float64)
    scored = scored[np.isfinite(scored)]
    if not scored.size:
        return Component()
    return Component(mean=float(scored.mean()), std=float(scored.std()))
