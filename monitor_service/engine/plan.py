"""What to do with the groups of one batch: the decision that the trainer makes at each step.

`plan` is pure and cheap, and every rank computes the same one from the gathered rewards. The
trigger of the paper's law is strict: ACR > tau; the guarded controller injects while it is active.
Groups that carry a signal are never touched; collapsed groups that are not injected get an
advantage of exactly 0, because float noise divided by a tiny std is not a signal.

In shadow mode the whole decision is made, advantages included, and nothing is rewritten.
"""

from collections import Counter
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from monitor_service.engine.collapse import COLLAPSED, Groups, Matrix, Outcome, judge, usable
from monitor_service.engine.controllers import watched
from monitor_service.engine.injection import Host, batch_std, host_advantages, value
from monitor_service.engine.ledger import NOTHING_INJECTED, Ledger
from monitor_service.engine.settings import AcrSource, ActingMode, Settings
from monitor_service.engine.smoothing import Memory
from monitor_service.engine.virtual import STRATEGIES, num_virtual

_LEAST_SCALE = 1e-6
"""Factor on the injected advantages below which the cap leaves nothing of them: what rounding
leaves in an account is no injection."""


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
    LOCKED = 9
    NOT_ACTIVE = 10
    """The guarded controller is not active."""
    HELD = 11
    """An alarm forbids it."""
    TRUNCATED = 12
    """Every completion was cut at the length limit: wrong for being long, not for its answer."""
    OVER_BUDGET = 13
    """The prompt had its injections of this epoch."""
    OVER_GROUP_CAP = 14
    OVER_MASS_CAP = 15


class Context(Struct, frozen=True, kw_only=True):
    """What is known of a batch beside its rewards.

    Attributes:
        truncated: `[N, G]` bool, completions cut at the length limit; None when unknown.
        prompts: `[N]` a name for each group's prompt; empty when unknown.
        epoch: the pass over the data, from 0.
        ledger: what was injected before.
    """

    truncated: npt.NDArray[np.bool_] | None = None
    prompts: Sequence[str] = ()
    epoch: int = 0
    ledger: Ledger = NOTHING_INJECTED


class Plan(Struct, frozen=True, kw_only=True):
    """What happens to the groups of one batch.

    Attributes:
        groups: the groups, judged from real rewards.
        mode: active: applied. shadow: only decided.
        acr: the rate that decided; None when nothing may be decided yet.
        acr_source: where that rate came from.
        triggered: whether the controller said to inject.
        decisions: `[N]` int8 of `Decision`.
        is_rewritten: `[N]` bool, groups whose advantages the trainer replaces.
        advantages: `[N]` the value for every scored completion of an injected group; else 0.
        num_virtual: `[N]` K of injected groups; 0 where nothing was invented.
        healthy_mass: sum of |A| over the completions that were not injected.
        mass_scale: factor that the cap on the mass put on the injected advantages; 1 when it
            did not bind.
    """

    groups: Groups
    mode: ActingMode
    acr: float | None
    acr_source: AcrSource
    triggered: bool
    decisions: npt.NDArray[np.int8]
    is_rewritten: npt.NDArray[np.bool_]
    advantages: Matrix
    num_virtual: npt.NDArray[np.int64]
    healthy_mass: float
    mass_scale: float

    @property
    def is_injected(self) -> npt.NDArray[np.bool_]:
        """`[N]` groups that get a virtual signal; in shadow mode, that would."""
        return np.asarray(self.decisions == Decision.INJECTED)

    def num_injected(self, outcome: Outcome) -> int:
        """Injected groups of one side; in shadow mode, those that would be."""
        return int(np.count_nonzero(self.is_injected & (self.groups.outcomes == outcome)))

    @property
    def effective_acr(self) -> float | None:
        """Share of scored groups without a signal once the plan is applied; None if none scored.

        It falls whenever something is injected, by construction: it says what the optimizer sees,
        never how healthy the run is. In shadow mode, what it would see.
        """
        if not self.groups.num_scored:
            return None
        silent = self.groups.num_collapsed - int(np.count_nonzero(self.is_injected))
        return silent / self.groups.num_scored

    @property
    def virtual_mass(self) -> float:
        """Sum of |A| over the injected completions."""
        return float((np.abs(self.advantages) * self.groups.sizes).sum())

    @property
    def virtual_mass_fraction(self) -> float:
        """Share of the batch's sum of |A| that injection contributed, in [0, 1]."""
        total = self.virtual_mass + self.healthy_mass
        return self.virtual_mass / total if total else 0.0

    def booked(self, ledger: Ledger, context: Context, *, is_injected: bool) -> Ledger:
        """The account with this batch in it; what was decided counts if it `is_injected`."""
        if not self.groups.num_scored:
            return ledger
        injected = self.is_injected & is_injected
        return ledger.after(
            num_groups=self.groups.num_scored,
            num_injected=int(np.count_nonzero(injected)),
            healthy_mass=self.healthy_mass,
            virtual_mass=self.virtual_mass if is_injected else 0.0,
            epoch=context.epoch,
            prompts=[name for name, was in zip(context.prompts, injected, strict=False) if was],
        )

    def counts(self) -> dict[str, int]:
        """Groups by decision, those that occur, by the decision's name in lower case."""
        kinds, counts = np.unique(self.decisions, return_counts=True)
        return {
            Decision(kind).name.lower(): count
            for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)
        }


def decision_acr(
    groups: Groups, memory: Memory, settings: Settings
) -> tuple[float | None, AcrSource]:
    """The rate that decides about a batch, and where it comes from.

    None when the batch has no scored group, or a pooled rate has not seen enough groups.
    """
    source: AcrSource = "ewma" if settings.controller == "guarded" else settings.acr_source
    if source == "batch" and groups.num_scored < settings.min_groups_per_unit:
        source = "ewma"
    if groups.acr is None:
        return None, source
    if source == "batch":
        return groups.acr, source
    after = memory.after(groups)
    if not after.is_ready:
        return None, source
    if settings.controller == "guarded":
        assert after.rates is not None, "enough groups were seen"
        return watched(after.rates, settings.target), source
    return (after.windowed_acr if source == "window" else after.smoothed_acr), source


def is_triggered(acr: float | None, settings: Settings) -> bool:
    """Whether the controller says to inject in a batch that this rate decides about."""
    if acr is None:
        return False
    if settings.controller == "guarded":
        return settings.arming.stage == "active"
    return acr > settings.threshold


def plan(
    rewards: Matrix,
    settings: Settings,
    *,
    step: int,
    primary: Matrix | None = None,
    host: Host = Host(),
    context: Context = Context(),
) -> Plan:
    """Decide about every group of a batch.

    Args:
        rewards: `[N, G]` float64, NaN where a completion was not scored.
        settings: what is in force at this step.
        step: the batch's number, from 1; seeds random choices.
        primary: `[N, G]` the accuracy component, when `rewards` is a sum of several.
        host: the trainer's own normalisation.
        context: what else is known of the batch.
    """
    groups = judge(rewards, reward_range=settings.reward_range, primary=primary)
    rewards, _, _ = usable(rewards)
    acr, source = decision_acr(groups, settings.memory, settings)
    mode = settings.acting_mode
    collapsed = np.isin(groups.outcomes, COLLAPSED)
    refusal = _refusal(groups, settings, acr)
    decisions = np.full(len(rewards), Decision.HAS_SIGNAL, dtype=np.int8)
    decisions[collapsed] = Decision.INJECTED if refusal is None else refusal
    decisions[groups.outcomes == Outcome.UNIFORM_OTHER] = Decision.MIDDLE_VALUE
    decisions[groups.outcomes == Outcome.UNSCORED] = Decision.UNSCORED
    if refusal is None:
        _narrow(decisions, groups, settings, step, context)

    advantages = np.zeros(len(rewards))
    virtual = np.zeros(len(rewards), dtype=np.int64)
    deviation = batch_std(rewards)
    mass_scale = 1.0
    own = np.abs(host_advantages(rewards, groups, host, deviation)).sum(axis=1)
    healthy_mass = float(own[~collapsed].sum())
    if refusal is None:
        assert acr is not None, "nothing triggers without a rate"
        _value(decisions, advantages, virtual, groups, settings, acr, step, host, deviation)
        mass_scale = _capped(
            decisions, advantages, virtual, groups, settings, healthy_mass, context.ledger
        )
    return Plan(
        groups=groups,
        mode=mode,
        acr=acr,
        acr_source=source,
        triggered=refusal is None,
        decisions=decisions,
        is_rewritten=collapsed & (mode == "active"),
        advantages=advantages,
        num_virtual=virtual,
        healthy_mass=healthy_mass,
        mass_scale=mass_scale,
    )


def _refusal(groups: Groups, settings: Settings, acr: float | None) -> Decision | None:
    """Why nothing of this batch may be injected; None when something may."""
    if settings.acting_mode == "locked":
        return Decision.LOCKED
    if settings.mode == "off":
        return Decision.OFF
    if settings.skip_degenerate and groups.is_degenerate:
        return Decision.DEGENERATE_REWARD
    if settings.heed_alarms and settings.holds.everything:
        return Decision.HELD
    is_uniform = 1.0 in (groups.share(Outcome.ALL_CORRECT), groups.share(Outcome.ALL_WRONG))
    needs_uniform = STRATEGIES[settings.strategy].uniform_batch_only
    if is_triggered(acr, settings) and (is_uniform or not needs_uniform):
        return None
    return Decision.NOT_ACTIVE if settings.controller == "guarded" else Decision.BELOW_THRESHOLD


def _narrow(
    decisions: npt.NDArray[np.int8],
    groups: Groups,
    settings: Settings,
    step: int,
    context: Context,
) -> None:
    """Take out the groups that are not to be injected, before any value is known."""
    wanted = decisions == Decision.INJECTED

    def refuse(members: npt.NDArray[np.bool_], decision: Decision) -> None:
        decisions[members & wanted] = decision
        wanted[members] = False

    correct, wrong = (groups.outcomes == side for side in (Outcome.ALL_CORRECT, Outcome.ALL_WRONG))
    if settings.target != "both":
        refuse(wrong if settings.target == "correct" else correct, Decision.NOT_TARGETED)
    if settings.heed_alarms and settings.holds.correct:
        refuse(correct, Decision.HELD)
    if settings.skip_truncated and context.truncated is not None:
        is_scored = ~np.isnan(groups.rewards)
        refuse(np.all(context.truncated | ~is_scored, axis=1), Decision.TRUNCATED)
    # By a seeded draw, never by position: the same prompts must not always come first.
    order = np.random.default_rng((settings.seed, step)).permutation(len(decisions))
    if settings.prompt_budget is not None and context.prompts:
        refuse(_over_budget(wanted, order, settings.prompt_budget, context), Decision.OVER_BUDGET)
    if settings.max_group_fraction < 1:
        left = min(
            account.groups_left(groups.num_scored, settings.max_group_fraction)
            for account in _accounts(groups, settings, context.ledger)
        )
        excess = np.zeros_like(wanted)
        excess[order[wanted[order]][left:]] = True
        refuse(excess, Decision.OVER_GROUP_CAP)


def _over_budget(
    wanted: npt.NDArray[np.bool_], order: npt.NDArray[np.int64], budget: int, context: Context
) -> npt.NDArray[np.bool_]:
    """`[N]` groups whose prompt has no injection left, counting those of this batch."""
    ledger = context.ledger
    before = ledger.spent if context.epoch == ledger.epoch else {}
    here: Counter[str] = Counter()
    over = np.zeros_like(wanted)
    for at in order[wanted[order]].tolist():
        prompt = context.prompts[at]
        here[prompt] += 1
        over[at] = before.get(prompt, 0) + here[prompt] > budget
    return over


def _value(
    decisions: npt.NDArray[np.int8],
    advantages: Matrix,
    virtual: npt.NDArray[np.int64],
    groups: Groups,
    settings: Settings,
    acr: float,
    step: int,
    host: Host,
    deviation: float,
) -> None:
    """Fill in the advantages of the groups that are to be injected."""
    strategy = STRATEGIES[settings.strategy]
    injected = decisions == Decision.INJECTED
    for outcome in (Outcome.ALL_CORRECT, Outcome.ALL_WRONG):
        members = injected & (groups.outcomes == outcome)
        # One value per group size: all groups of a side and size share it, unless it is drawn.
        for size in np.unique(groups.sizes[members]).tolist():
            k = strategy.always_k
            if k is None:
                k = num_virtual(size, acr, settings.alpha)
            same = np.flatnonzero(members & (groups.sizes == size))
            for chunk in same[:, None] if strategy.is_random else [same]:
                # Drawn by group; a group's number is not the batch's own draw of an order.
                draw = (settings.seed, step, chunk[0]) if strategy.is_random else None
                found = value(outcome, settings, host, deviation, size=size, k=k, draw=draw)
                decisions[chunk] = Decision.INJECTED if found else Decision.INERT_STRATEGY
                advantages[chunk] = found
                virtual[chunk] = k if found else 0


def _capped(
    decisions: npt.NDArray[np.int8],
    advantages: Matrix,
    virtual: npt.NDArray[np.int64],
    groups: Groups,
    settings: Settings,
    healthy_mass: float,
    ledger: Ledger,
) -> float:
    """Scale the injected advantages down to the cap on their mass; returns the factor."""
    fraction = settings.max_mass_fraction
    mass = float((np.abs(advantages) * groups.sizes).sum())
    if fraction >= 1 or not mass:
        return 1.0
    left = min(
        account.mass_left(groups.num_scored, healthy_mass, fraction)
        for account in _accounts(groups, settings, ledger)
    )
    scale = min(1.0, left / mass)
    if scale < _LEAST_SCALE:
        scale = 0.0
        decisions[decisions == Decision.INJECTED] = Decision.OVER_MASS_CAP
        virtual[:] = 0
    advantages *= scale
    return scale


def _accounts(groups: Groups, settings: Settings, ledger: Ledger) -> tuple[Ledger, ...]:
    """What the caps have to hold for: the last groups, and a batch of enough groups by itself."""
    is_enough = groups.num_scored >= settings.min_groups_per_unit
    return (ledger, NOTHING_INJECTED) if is_enough else (ledger,)
