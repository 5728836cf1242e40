"""What to do with the groups of one batch: the decision that the trainer makes at each step.

`plan` is pure and cheap, and every rank computes the same one from the gathered rewards. The
trigger is the paper's, strict: ACR > tau. Groups that carry a signal are never touched; collapsed
groups that are not injected get an advantage of exactly 0, because float noise divided by a tiny
std is not a signal.

With `scale_rewards="batch"` the host divides by the std of the whole batch, so an injected group
does too; when the batch itself has no spread its own std is used. With "none" nothing is divided.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from monitor_service.engine.collapse import (
    COLLAPSE_STD,
    COLLAPSED,
    Groups,
    Matrix,
    Outcome,
    judge,
    usable,
)
from monitor_service.engine.settings import AcrSource, Settings
from monitor_service.engine.smoothing import Memory
from monitor_service.engine.virtual import STRATEGIES, advantage, num_virtual


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """How the trainer around us turns rewards into advantages; the defaults are TRL's.

    Attributes:
        scale: divide by the std of the group, of the batch, or not at all.
        eps: above 0, added to the std; on the unit reward scale where we divide by a group's own.
    """

    scale: Literal["group", "batch", "none"] = "group"
    eps: float = 1e-4


class Decision(IntEnum):
    """Why a group was injected, or left alone."""

    INJECTED = 0
    HAS_SIGNAL = 1
    UNSCORED = 2
    MIDDLE_VALUE = 3
    """Uniform at a value that is neither right nor wrong: pushing would reward mediocrity."""
    BELOW_THRESHOLD = 4
    NOT_TARGETED = 5
    INERT_STRATEGY = 6
    OFF = 7
    DEGENERATE_REWARD = 8
    """Nearly all rewards of the batch are one value, and such batches are to be left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens to the groups of one batch.

    Attributes:
        groups: the groups, judged from real rewards.
        acr: the rate compared with the threshold; None when nothing may be decided yet.
        acr_source: where that rate came from.
        triggered: whether `acr` was above the threshold.
        decisions: `[N]` int8 of `Decision`.
        is_rewritten: `[N]` bool, groups whose advantages the trainer replaces.
        advantages: `[N]` the value for every scored completion of a rewritten group; else 0.
        num_virtual: `[N]` K of injected groups; else 0.
        abs_advantage_sum: sum of |A| over the batch's completions, injected ones included.
    """

    groups: Groups
    acr: float | None
    acr_source: AcrSource
    triggered: bool
    decisions: npt.NDArray[np.int8]
    is_rewritten: npt.NDArray[np.bool_]
    advantages: Matrix
    num_virtual: npt.NDArray[np.int64]
    abs_advantage_sum: float

    @property
    def is_injected(self) -> npt.NDArray[np.bool_]:
        """`[N]` groups that got a virtual signal."""
        return np.asarray(self.decisions == Decision.INJECTED)

    def num_injected(self, outcome: Outcome) -> int:
        """Injected groups of one side."""
        return int(np.count_nonzero(self.is_injected & (self.groups.outcomes == outcome)))

    @property
    def effective_acr(self) -> float | None:
        """Share of scored groups without a signal once the plan is applied; None if none scored.

        It falls whenever something is injected, by construction: it says what the optimizer sees,
        never how healthy the run is.
        """
        if not self.groups.num_scored:
            return None
        silent = self.groups.num_collapsed - int(np.count_nonzero(self.is_injected))
        return silent / self.groups.num_scored

    @property
    def virtual_mass_fraction(self) -> float:
        """Share of the batch's sum of |A| that injection contributed, in [0, 1]."""
        if not self.abs_advantage_sum:
            return 0.0
        injected = np.abs(self.advantages[self.is_injected]) * self.groups.sizes[self.is_injected]
        return float(injected.sum() / self.abs_advantage_sum)


def decision_acr(
    groups: Groups, memory: Memory, settings: Settings
) -> tuple[float | None, AcrSource]:
    """The rate that decides about a batch, and where it comes from.

    None when the batch has no scored group, or a pooled rate has not seen enough groups.
    """
    source = settings.acr_source
    if source == "batch" and groups.num_scored < settings.min_groups_per_unit:
        source = "ewma"
    if groups.acr is None:
        return None, source
    if source == "batch":
        return groups.acr, source
    after = memory.after(groups)
    if not after.is_ready:
        return None, source
    return (after.windowed_acr if source == "window" else after.smoothed_acr), source


def plan(
    rewards: Matrix,
    settings: Settings,
    *,
    step: int,
    primary: Matrix | None = None,
    host: Host = Host(),
) -> Plan:
    """Decide about every group of a batch.

    Args:
        rewards: `[N, G]` float64, NaN where a completion was not scored.
        settings: what is in force.
        step: the batch's number, from 1; seeds random strategies.
        primary: `[N, G]` the accuracy component, when `rewards` is a sum of several.
        host: the trainer's own normalisation.
    """
    groups = judge(rewards, reward_range=settings.reward_range, primary=primary)
    rewards, _, _ = usable(rewards)
    acr, source = decision_acr(groups, settings.memory, settings)
    strategy = STRATEGIES[settings.strategy]
    is_active = settings.mode == "active"
    is_skipped = settings.skip_degenerate and groups.is_degenerate
    triggered = is_active and not is_skipped and acr is not None and acr > settings.threshold
    if strategy.uniform_batch_only:
        triggered = triggered and 1.0 in (
            groups.share(Outcome.ALL_CORRECT),
            groups.share(Outcome.ALL_WRONG),
        )

    decisions = np.full(len(rewards), Decision.HAS_SIGNAL, dtype=np.int8)
    collapsed = np.isin(groups.outcomes, COLLAPSED)
    decisions[collapsed] = Decision.BELOW_THRESHOLD if is_active else Decision.OFF
    if is_active and is_skipped:
        decisions[collapsed] = Decision.DEGENERATE_REWARD
    decisions[groups.outcomes == Outcome.UNIFORM_OTHER] = Decision.MIDDLE_VALUE
    decisions[groups.outcomes == Outcome.UNSCORED] = Decision.UNSCORED
    advantages = np.zeros(len(rewards))
    virtual = np.zeros(len(rewards), dtype=np.int64)

    batch_std = _batch_std(rewards)
    if triggered:
        assert acr is not None
        _inject(decisions, advantages, virtual, groups, settings, acr, step, host, batch_std)
    is_injected = decisions == Decision.INJECTED
    healthy = np.abs(_host_advantages(rewards, groups, host, batch_std)[~collapsed]).sum()
    return Plan(
        groups=groups,
        acr=acr,
        acr_source=source,
        triggered=triggered,
        decisions=decisions,
        is_rewritten=collapsed & is_active,
        advantages=advantages,
        num_virtual=virtual,
        abs_advantage_sum=float(healthy + (np.abs(advantages) * groups.sizes)[is_injected].sum()),
    )


def _inject(
    decisions: npt.NDArray[np.int8],
    advantages: Matrix,
    virtual: npt.NDArray[np.int64],
    groups: Groups,
    settings: Settings,
    acr: float,
    step: int,
    host: Host,
    batch_std: float,
) -> None:
    strategy = STRATEGIES[settings.strategy]
    width = settings.reward_high - settings.reward_low
    divisor, unit = None, 1.0
    if host.scale == "none":
        divisor, unit = 1.0, width
    elif host.scale == "batch" and batch_std >= COLLAPSE_STD:
        divisor, unit = batch_std + host.eps, width
    sides = {
        Outcome.ALL_CORRECT: (settings.target != "wrong", settings.scale_correct),
        Outcome.ALL_WRONG: (settings.target != "correct", settings.scale_wrong),
    }
    for outcome, (is_targeted, scale) in sides.items():
        members = groups.outcomes == outcome
        if not is_targeted:
            decisions[members] = Decision.NOT_TARGETED
            continue
        # One value per group size: all groups of a side and size share it, unless it is drawn.
        for size in np.unique(groups.sizes[members]).tolist():
            k = strategy.always_k or num_virtual(size, acr, settings.alpha)
            same = np.flatnonzero(members & (groups.sizes == size))
            for chunk in same[:, None] if strategy.is_random else [same]:
                value = (
                    scale
                    * unit
                    * advantage(
                        strategy,
                        outcome,
                        size=size,
                        k=k,
                        anchor=settings.r_anchor,
                        eps=host.eps,
                        divisor=divisor,
                        rng=np.random.default_rng((settings.seed, step, chunk[0]))
                        if strategy.is_random
                        else None,
                    )
                )
                decisions[chunk] = Decision.INJECTED if value else Decision.INERT_STRATEGY
                advantages[chunk] = value
                virtual[chunk] = k if value else 0


def _batch_std(rewards: Matrix) -> float:
    """The sample std of all scored rewards, as the host computes it; 0 with fewer than two."""
    scored = rewards[~np.isnan(rewards)]
    return float(scored.std(ddof=1)) if scored.size > 1 else 0.0


def _host_advantages(rewards: Matrix, groups: Groups, host: Host, batch_std: float) -> Matrix:
    """`[N, G]` what the host computes without us; 0 where a completion was not scored."""
    centred: Matrix = np.nan_to_num(rewards - groups.means[:, None])
    if host.scale == "none":
        return centred
    if host.scale == "batch":
        return centred / (batch_std + host.eps)
    # The host divides by the sample std (ddof 1) of each group.
    sizes = np.maximum(groups.sizes, 2)
    stds = np.nan_to_num(groups.stds) * np.sqrt(sizes / (sizes - 1))
    return np.asarray(centred / (stds + host.eps)[:, None])
