"""Rewards by name, and the list of a configuration made of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from monitor_service.errors import InvalidInput
from trainer.config import GRPOConfig
from trainer.methods.registry import OVERLONG_FRACTION
from trainer.rewards.exact import exact_match_reward
from trainer.rewards.format import box_format_reward, think_format_reward
from trainer.rewards.group import AgpoLength
from trainer.rewards.length import LengthPenalty
from trainer.rewards.math import box_accuracy_reward
from trainer.rewards.overlong import soft_overlong


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """A reward function that a configuration can name."""

    summary: str
    """A few words for people."""
    make: Callable[[GRPOConfig], Any]
    """The function itself, for a run of this configuration."""
    is_accuracy: bool = False
    """Whether it tells right from wrong."""


REWARDS: Mapping[str, Reward] = MappingProxyType(
    {
        "box_accuracy": Reward(
            summary="1 for the right value in the last box",
            make=lambda args: box_accuracy_reward,
            is_accuracy=True,
        ),
        "exact_match": Reward(
            summary="1 for the answer and nothing else",
            make=lambda args: exact_match_reward,
            is_accuracy=True,
        ),
        "box_format": Reward(summary="1 for a closed box", make=lambda args: box_format_reward),
        "think_format": Reward(
            summary="1 for <think> and <answer>", make=lambda args: think_format_reward
        ),
        "length": Reward(
            summary="0 to -1 by the number of tokens",
            make=lambda args: LengthPenalty(_max_length("length", args)),
        ),
        "overlong": Reward(
            summary="0 to -1 near the limit, as DAPO", make=lambda args: _overlong(args)
        ),
        "agpo_length": Reward(
            summary="up to 0.1 for the shorter right answers", make=lambda args: _agpo(args)
        ),
    }
)


def check_names(rewards: Sequence[str] | Mapping[str, float]) -> None:
    """Refuse what is no list of rewards, or no mapping from rewards to weights.

    Raises:
        InvalidInput: it is empty, or a name is unknown or repeated, or a weight is no number.
    """
    names = list(rewards)
    known = ", ".join(REWARDS)
    if isinstance(rewards, str) or not names or not set(names) <= set(REWARDS):
        raise InvalidInput("rewards", rewards, f"must be a list, or name: weight, of: {known}")
    if len(set(names)) < len(names):
        raise InvalidInput("rewards", rewards, "must name each reward once")
    for name, weight in rewards.items() if isinstance(rewards, Mapping) else ():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not math.isfinite(weight):
            raise InvalidInput(f"rewards.{name}", weight, "the weight must be a finite number")


def composed(rewards: Sequence[str] | Mapping[str, float], args: GRPOConfig) -> list[Any]:
    """The reward functions of a run, in order; what they decide is written into `args`.

    Weights of a mapping become `reward_weights`. With several rewards the first that tells right
    from wrong becomes `primary_reward`, unless one is named; its name may be the one used here. A
    shaping reward that is named here is not added once more by the method.

    Args:
        rewards: names, or names with weights; see `check_names`.
        args: the configuration, changed in place.

    Raises:
        InvalidInput: weights are given twice, or a reward lacks what it needs from `args`.
    """
    names = list(rewards)
    if isinstance(rewards, Mapping):
        if args.reward_weights is not None:
            raise InvalidInput(
                "reward_weights", args.reward_weights, "must be left out: rewards has the weights"
            )
        args.reward_weights = [float(weight) for weight in rewards.values()]
    functions = [REWARDS[name].make(args) for name in names]
    if args.primary_reward is None and len(names) > 1:
        args.primary_reward = next((name for name in names if REWARDS[name].is_accuracy), None)
    if args.primary_reward in names:
        args.primary_reward = functions[names.index(args.primary_reward)].__name__
    if "overlong" in names:
        args.overlong_fraction = 0.0
    if "agpo_length" in names:
        args.agpo_length_reward = False
    return functions


def accuracy(
    rewards: Sequence[str] | Mapping[str, float], args: GRPOConfig
) -> tuple[str, Callable[..., list[float | None]]]:
    """Name and function of the reward that tells right from wrong, as `composed` chooses it.

    Raises:
        InvalidInput: none of `rewards` does.
    """
    names = [name for name in rewards if REWARDS[name].is_accuracy]
    if not names:
        known = ", ".join(name for name, reward in REWARDS.items() if reward.is_accuracy)
        raise InvalidInput("rewards", list(rewards), f"must have one of: {known}")
    made = {name: REWARDS[name].make(args) for name in names}
    for name, function in made.items():
        if args.primary_reward in (name, function.__name__):
            return name, function
    return names[0], made[names[0]]


def _max_length(name: str, args: GRPOConfig) -> int:
    if args.max_completion_length is None:
        allowed = f"must be a number with the reward {name}"
        raise InvalidInput("max_completion_length", None, allowed)
    return int(args.max_completion_length)


def _overlong(args: GRPOConfig) -> Any:
    limit = _max_length("overlong", args)
    return soft_overlong(limit, int((args.overlong_fraction or OVERLONG_FRACTION) * limit))


def _agpo(args: GRPOConfig) -> AgpoLength:
    if args.reward_low is None or args.reward_high is None:
        allowed = "must be numbers with the reward agpo_length, which is for right answers only"
        raise InvalidInput("reward_low, reward_high", None, allowed)
    return AgpoLength(reward_low=args.reward_low, reward_high=args.reward_high)
