"""The advantage of an injected group, in the units of the trainer around us.

With `scale_rewards="batch"` the host divides by the std of the whole batch, so an injected group
does too; when the batch itself has no spread its own std is used. With "none" nothing is divided.
A strategy that gives the advantage itself is in no units: the host's normalisation passes it by.
"""

from typing import Literal

import numpy as np
from msgspec import Struct

from monitor_service.engine.collapse import COLLAPSE_STD, Groups, Matrix, Outcome
from monitor_service.engine.settings import Settings
from monitor_service.engine.virtual import STRATEGIES, advantage


class Host(Struct, frozen=True, kw_only=True):
    """How the trainer around us turns rewards into advantages; the defaults are TRL's.

    Attributes:
        scale: divide by the std of the group, of the batch, or not at all.
        eps: above 0, added to the std; on the unit reward scale where we divide by a group's own.
    """

    scale: Literal["group", "batch", "none"] = "group"
    eps: float = 1e-4


def value(
    outcome: Outcome,
    settings: Settings,
    host: Host,
    deviation: float,
    *,
    size: int,
    k: int,
    draw: tuple[int, ...] | None,
) -> float:
    """The advantage of every completion of one collapsed group; 0 where the strategy is inert.

    Args:
        outcome: ALL_CORRECT or ALL_WRONG.
        settings: what is in force.
        host: how the trainer normalises.
        deviation: `batch_std` of the batch.
        size: scored completions of the group.
        k: number of virtual rewards.
        draw: seed of a random strategy.
    """
    assert settings.reward_range is not None, "without a range no group has a side"
    width = settings.reward_range.high - settings.reward_range.low
    divisor, unit, cap = None, 1.0, settings.max_advantage
    strategy = STRATEGIES[settings.strategy]
    # A magnitude is an advantage already: nothing to divide, and in no units.
    scale = host.scale if strategy.magnitude is None else "group"
    if scale == "none":
        divisor, unit = 1.0, width
        cap = None if cap is None else cap * width
    elif scale == "batch" and deviation >= COLLAPSE_STD:
        divisor, unit = deviation + host.eps, width
    plain = advantage(
        strategy,
        outcome,
        size=size,
        k=k,
        anchor=settings.r_anchor,
        eps=host.eps,
        divisor=divisor,
        rng=None if draw is None else np.random.default_rng(draw),
    )
    is_correct = outcome == Outcome.ALL_CORRECT
    scaled = (settings.scale_correct if is_correct else settings.scale_wrong) * unit * plain
    return scaled if cap is None else max(-cap, min(cap, scaled))


def batch_std(rewards: Matrix) -> float:
    """The sample std of all scored rewards, as the host computes it; 0 with fewer than two."""
    scored = rewards[~np.isnan(rewards)]
    return float(scored.std(ddof=1)) if scored.size > 1 else 0.0


def host_advantages(rewards: Matrix, groups: Groups, host: Host, deviation: float) -> Matrix:
    """`[N, G]` what the host computes without us; 0 where a completion was not scored."""
    centred: Matrix = np.nan_to_num(rewards - groups.means[:, None])
    if host.scale == "none":
        return centred
    if host.scale == "batch":
        return centred / (deviation + host.eps)
    # The host divides by the sample std (ddof 1) of each group.
    sizes = np.maximum(groups.sizes, 2)
    stds = np.nan_to_num(groups.stds) * np.sqrt(sizes / (sizes - 1))
    return np.asarray(centred / (stds + host.eps)[:, None])
