"""Refuses, with the reason, what the hook cannot serve."""

import inspect
import logging

import trl

TESTED_TRL = "1.16."
_HOOKS = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_compute_loss": ["self", "model", "inputs"],
    "_generate_and_score_completions": ["self", "inputs"],
}

log = logging.getLogger(__name__)


class UnsupportedTrainer(ValueError):
    """This TRL, or this configuration of it, cannot be hooked."""


def check_trl() -> None:
    """Raises UnsupportedTrainer when TRL's private methods are not the ones this was built on."""
    for name, expected in _HOOKS.items():
        method = getattr(trl.GRPOTrainer, name, None)
        found = list(inspect.signature(method).parameters) if method else None
        if found != expected:
            raise UnsupportedTrainer(
                f"TRL {trl.__version__}: GRPOTrainer.{name} takes {found}, expected {expected}; "
                f"install trl=={TESTED_TRL}*"
            )
    if not trl.__version__.startswith(TESTED_TRL):
        log.warning(
            "TRL %s was never run with this hook (%s* was); its private methods look the same",
            trl.__version__,
            TESTED_TRL,
        )


def refusal(args: trl.GRPOConfig) -> str | None:
    """Why advantages cannot be injected under this configuration; None when they can."""
    if args.multi_objective_aggregation != "sum_then_normalize":
        return (
            f"multi_objective_aggregation={args.multi_objective_aggregation!r} normalises each "
            "reward function over the batch, so a group has no total std; use 'sum_then_normalize'"
        )
    if args.scale_rewards == "none" and getattr(args, "r_anchor", None) is None:
        return (
            "scale_rewards='none' leaves advantages in reward units, where r_anchor sets the size "
            "of the push on all-wrong groups; choose r_anchor (1.0 treats both sides alike)"
        )
    return None


def primary_index(args: trl.GRPOConfig, names: list[str]) -> int | None:
    """Position of the primary reward function; None when the sum itself is primary."""
    wanted = getattr(args, "primary_reward", None)
    if wanted is None:
        return None
    if wanted not in names:
        raise UnsupportedTrainer(
            f"primary_reward: must be one of {', '.join(names)}; got {wanted!r}"
        )
    if names.count(wanted) > 1:
        raise UnsupportedTrainer(f"primary_reward: {wanted!r} names several reward functions")
    return names.index(wanted)
