"""The reward functions of a run: those given, guarded, and those that its method adds."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitor_service.errors import InvalidInput
from trainer.config import GRPOConfig
from trainer.rewards.group import AgpoLength
from trainer.rewards.guard import guarded
from trainer.rewards.overlong import soft_overlong


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """What TRL is given.

    Attributes:
        functions: all of them.
        args: the configuration, with a weight for each.
        primary: position of the one that tells right from wrong; None when their sum does, or
            the configuration names it.
        added: positions of those that the method adds; they do not score a completion by
            themselves.
    """

    functions: list[Any]
    args: GRPOConfig
    primary: int | None
    added: range


def assembled(given: Any, args: GRPOConfig) -> Rewards:
    """What to train with, of what was `given` and what `args` switches on.

    A shaped reward never tells right from wrong: with one added, the only function that was given
    does, or the one that `primary_reward` names.

    Raises:
        InvalidInput: it is not clear which of several functions is primary, or the length reward
            has no reward range.
        RewardError: (a ValueError) something that was given is no reward function.
    """
    several = isinstance(given, Sequence) and not isinstance(given, str)
    own = list(given) if several else [] if given is None else [given]
    added: list[Any] = []
    if args.agpo_length_reward and not any(isinstance(one, AgpoLength) for one in own):
        if args.reward_low is None or args.reward_high is None:
            allowed = "numbers with agpo_length_reward, which is for right answers only"
            raise InvalidInput("reward_low, reward_high", None, allowed)
        added.append(AgpoLength(reward_low=args.reward_low, reward_high=args.reward_high))
    if args.overlong_fraction and not any(_is_overlong(one) for one in own):
        cache = int(args.overlong_fraction * args.max_completion_length)
        added.append(soft_overlong(args.max_completion_length, cache))
    primary = None
    if added and args.primary_reward is None:
        if len(own) != 1:
            allowed = (
                f"the name of one of the {len(own)} reward functions with method={args.method}"
            )
            raise InvalidInput("primary_reward", None, allowed)
        primary = 0
    if added and args.reward_weights is not None:
        args = copy.copy(args)
        args.reward_weights = [*args.reward_weights, *(1.0 for _ in added)]
    return Rewards(
        functions=[guarded(one) for one in own] + added,
        args=args,
        primary=primary,
        added=range(len(own), len(own) + len(added)),
    )


def _is_overlong(function: Any) -> bool:
    return getattr(function, "__name__", "") == "soft_overlong_punishment_reward"
