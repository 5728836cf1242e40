"""The methods a run can train with: what each sets, and which of them go together.

A method is a name for values of `GRPOConfig`'s fields, TRL's and ours. It sets a field only where
that stands at its default, so a value of one's own wins; whoever wants all but one part of a method
sets the other parts by themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from monitor_service.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A named way to train.

    Attributes:
        about: what it does to a batch, in a line.
        source: where it is described.
        options: field of `GRPOConfig` -> the method's value for it.
        objective: computes advantages in place of the injection of AVSPO.
    """

    about: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    objective: str | None = None


OVERLONG_FRACTION = 0.2
"""Of `max_completion_length`, for DAPO's punishment: the paper's 4,096 of 20,480 tokens."""

_CLIP_HIGHER = {"epsilon": 0.2, "epsilon_high": 0.28, "loss_type": "dapo", "beta": 0.0}

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "grpo": Method(
            about="advantages relative to the group; a collapsed group has none",
            source="arXiv 2402.03300",
        ),
        "avspo": Method(
            about="virtual rewards give collapsed groups an advantage, while the ACR is high",
            source="arXiv 2605.21125",
            options={"use_avspo": True},
        ),
        "constant": Method(
            about="one constant advantage for every collapsed group, at every step: the baseline",
            source="arXiv 2506.01347",
            options={"use_avspo": True, "avspo_profile": "constant"},
        ),
        "dapo": Method(
            about="only groups that differ are trained on, others are sampled anew; clip-higher, "
            "token-level loss, overlong punishment and filtering, no KL",
            source="arXiv 2503.14476",
            options={
                **_CLIP_HIGHER,
                "dynamic_sampling": True,
                "mask_truncated_completions": True,
                "overlong_fraction": OVERLONG_FRACTION,
            },
        ),
        "agpo": Method(
            about="collapsed groups leave the loss and its divisor; a bonus for short right "
            "answers; clip-higher, no KL",
            source="arXiv 2503.15952 and its authors' code",
            options={**_CLIP_HIGHER, "loss_mask": True, "agpo_length_reward": True},
        ),
        "ngrpo": Method(
            about="a virtual reward of a right answer in every group; all-right groups are left "
            "out; asymmetric clipping, no KL",
            source="arXiv 2509.18851 and its authors' code",
            options={"epsilon": 0.16, "epsilon_high": 0.24, "beta": 0.0, "loss_mask": True},
            objective="ngrpo",
        ),
        "rl_zvp": Method(
            about="tokens of collapsed groups get an advantage by their entropy",
            source="arXiv 2509.21880",
            objective="rl_zvp",
        ),
        "dr_grpo": Method(
            about="neither the group's std nor the completion's length divides, all TRL's own",
            source="arXiv 2503.20783",
            options={"scale_rewards": "none", "loss_type": "dr_grpo"},
        ),
    }
)


def check_name(name: str) -> None:
    """Raises InvalidInput where there is no method of this name."""
    if name not in METHODS:
        close = get_close_matches(str(name), METHODS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InvalidInput("method", name, f"one of {', '.join(METHODS)}{hint}")


def fill_in(config: Any) -> None:
    """Set what the method of `config`, a `GRPOConfig`, asks for and its user left at the default.

    Raises:
        InvalidInput: there is no such method.
    """
    check_name(config.method)
    defaults = {option.name: option.default for option in fields(config)}
    for name, value in METHODS[config.method].options.items():
        if getattr(config, name) == defaults[name]:
            setattr(config, name, value)


def no_sampling(method: str) -> str:
    """Why there is no dynamic sampling under a method with an objective of its own."""
    return f"it throws away the collapsed groups that {method} learns from"


def check_combination(config: Any) -> None:
    """Refuse what does not go together in `config`, a `GRPOConfig` that was filled in.

    Raises:
        InvalidInput: naming the field to change, and why.
    """
    objective = METHODS[config.method].objective
    if config.use_avspo and config.dynamic_sampling:
        raise InvalidInput(
            "dynamic_sampling",
            True,
            "false with use_avspo: it leaves no collapsed group to inject into",
        )
    if objective is None:
        return
    clashes = {
        "use_avspo": "both would give a collapsed group an advantage",
        "dynamic_sampling": no_sampling(config.method),
    }
    for name, why in clashes.items():
        if getattr(config, name):
            raise InvalidInput(name, True, f"false with method={config.method}: {why}")
    if config.multi_objective_aggregation != "sum_then_normalize":
        raise InvalidInput(
            "multi_objective_aggregation",
            config.multi_objective_aggregation,
            f"sum_then_normalize with method={config.method}: it needs one reward a completion",
        )
    if objective == "ngrpo" and config.scale_rewards != "group":
        raise InvalidInput(
            "scale_rewards",
            config.scale_rewards,
            "group with method=ngrpo, which divides by the std of the group and its virtual reward",
        )
    if objective == "ngrpo" and config.reward_high is None:
        raise InvalidInput("reward_high", None, "a number with method=ngrpo: its virtual reward")
    if objective == "rl_zvp":
        if config.loss_type == "vespo":
            raise InvalidInput(
                "loss_type", "vespo", "any other with method=rl_zvp: it weighs whole completions"
            )
        if config.off_policy_mask_threshold is not None:
            raise InvalidInput(
                "off_policy_mask_threshold",
                config.off_policy_mask_threshold,
                "none with method=rl_zvp: the mask goes by one advantage a completion",
            )
