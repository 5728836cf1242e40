"""Settings: what a trainer applies at its next step. An immutable, versioned value.

People change the fields in `TUNABLE`; `threshold` also moves by itself when the controller is
adaptive. `version` grows with every publication (one per step), `revision` only when a person
changes something, so that two people can notice each other while the run goes on.

What is configured is not always what acts: `Settings.in_force` adds the overrides that have not
expired, and takes everything away once the run is killed.
"""

from collections.abc import Mapping
from copy import copy
from types import MappingProxyType
from typing import Any, Literal, get_args

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from monitor_service.engine.allowed import Allowed, boolean, choice, integer, number
from monitor_service.engine.arming import DISARMED, NO_HOLDS, Arming, Holds, Target
from monitor_service.engine.collapse import REWARD_LIMIT, RewardRange
from monitor_service.engine.orders import Command, Kill, Override
from monitor_service.engine.smoothing import MIN_GROUPS, NOTHING_SEEN, Memory
from monitor_service.engine.virtual import STRATEGIES
from monitor_service.errors import InvalidInput

Mode = Literal["off", "shadow", "active"]
ActingMode = Literal["off", "shadow", "active", "locked"]
ControllerName = Literal["paper", "fixed", "guarded"]
ProfileName = Literal["paper", "guarded", "observe", "constant", "grpo"]
AcrSource = Literal["batch", "window", "ewma"]


class Settings(Struct, frozen=True, kw_only=True):
    """What is in force. Raises `InvalidInput` naming the field when a value is out of range."""

    version: int = 1
    """Grows with every publication."""
    revision: int = 1
    """Grows when a person changes something; the ETag of the REST resource."""
    through_step: int = 0
    """The newest step these settings take into account; 0 before the first."""
    session: str = ""
    """The life and the attempt of the run that these settings are for; "" in process."""
    profile: ProfileName = "paper"
    """The bundle the run started from, or was last set to."""
    mode: Mode = "active"
    """Of injection, not of the knobs below. off: none. shadow: decided and reported, never applied.
    active: applied."""
    controller: ControllerName = "paper"
    """Which law decides when to inject."""
    threshold: float = 0.5
    """tau, a rate in [0, 1]: inject when the rate that decides is strictly above it."""
    exit_threshold: float = 0.2
    """guarded: stop when the rate falls below this; under `threshold`."""
    threshold_low: float = 0.1
    threshold_high: float = 0.9
    """Bounds the paper's controller keeps to; without them its law diverges."""
    eta: float = 0.01
    """Gain of the paper's controller, in (0, 1]."""
    max_active_steps: int = 50
    """guarded: longest activation."""
    cooldown_steps: int = 25
    """guarded: steps without injection after an activation."""
    benefit_check: bool = True
    """guarded: after `max_active_steps` without a benefit, lock until a person re-arms."""
    heed_alarms: bool = False
    """Do not inject while an alarm forbids it: KL, gradient norm; entropy for the correct side."""
    acr_source: AcrSource = "batch"
    """Which ACR decides: of the batch (the paper), of the last groups, or the EWMA."""
    min_groups_per_unit: int = 16
    """With fewer scored groups in a batch, acr_source batch falls back to ewma, and caps hold
    over the last groups instead of within the batch."""
    target: Target = "both"
    """Which collapsed groups may be injected; guarded also watches only these."""
    strategy: str = "stratified"
    alpha: float = 0.5
    """Exponent in K = ceil(G * ACR^alpha), in (0, 1]; smaller means more virtual rewards."""
    r_anchor: float = 0.1
    """Largest virtual reward of an all-wrong group, a fraction of the reward range, in (0, 1]."""
    scale_wrong: float = 1.0
    scale_correct: float = 1.0
    """Factors on the injected advantage of each side, in [0, 1]."""
    max_advantage: float | None = None
    """Cap on the injected |A|, in (0, 1]; times the reward range where the trainer divides by
    nothing. None: no cap."""
    max_group_fraction: float = 1.0
    """Cap on the share of groups that are injected, in (0, 1]."""
    max_mass_fraction: float = 1.0
    """Cap on the share of the sum of |A| that is injected, in (0, 1]."""
    prompt_budget: int | None = None
    """Most injections of one prompt in an epoch; None: no limit."""
    skip_degenerate: bool = False
    """Leave a batch alone in which nearly all completions got the same reward."""
    skip_truncated: bool = False
    """Leave a group alone whose completions were all cut at the length limit."""
    reward_low: float | None = 0.0
    reward_high: float | None = 1.0
    """Rewards of a wrong and of a right answer; both None: the reward has no bounds."""
    seed: int = 0
    """For random choices: drawn from (seed, step), so ranks and resumes agree."""
    epsilon_low: float | None = None
    epsilon_high: float | None = None
    """Clip range of the policy ratio; None, here and below: as the trainer was configured."""
    beta: float | None = None
    """Weight of the KL to the reference policy."""
    entropy_coef: float | None = None
    """Weight of the entropy bonus."""
    temperature: float | None = None
    """Sampling temperature."""
    learning_rate_scale: float | None = None
    """Factor on the learning rate's schedule."""
    loss_mask: bool | None = None
    """Keep groups without a signal out of the loss and its denominator."""
    dynamic_sampling: bool | None = None
    """Sample on until the batch is filled with groups that differ, or a budget is used up."""
    overrides: tuple[Override, ...] = ()
    """Changes with an end; a later one wins."""
    kill: Kill | None = None
    """Why nothing may act, when a person said so."""
    rearms: int = 0
    """Times that a person re-armed the run."""
    command: Command | None = None
    """What the trainer is to do next, until it says that it will."""
    arming: Arming = DISARMED
    """Where the guarded controller stands; not for people to change."""
    holds: Holds = NO_HOLDS
    """Alarms that forbid injection, for settings that heed them."""
    memory: Memory = NOTHING_SEEN
    """Pooled ACR as of `through_step`; not for people to change."""

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            if not allowed.takes(value := getattr(self, name)):
                raise InvalidInput(name, value, allowed.words)
        self._check_together()
        counts = (self.version, self.revision, self.through_step, self.rearms)
        if min(counts) < 0:
            names = "version, revision, through_step, rearms"
            raise InvalidInput(names, counts, "must be at least 0")

    def _check_together(self) -> None:
        for override in self.overrides:
            if unknown := override.changes.keys() - set(OVERRIDABLE):
                allowed = f"changes of {', '.join(OVERRIDABLE)}"
                raise InvalidInput("overrides", sorted(unknown), allowed)
        if self.threshold_low > self.threshold_high:
            raise InvalidInput("threshold_low", self.threshold_low, "at most threshold_high")
        if self.controller == "guarded" and self.exit_threshold >= self.threshold:
            allowed = f"below threshold ({self.threshold:g}), where the guarded controller enters"
            raise InvalidInput("exit_threshold", self.exit_threshold, allowed)
        low, high = self.reward_low, self.reward_high
        if (low is None) != (high is None):
            raise InvalidInput("reward_low, reward_high", (low, high), "both numbers, or both null")
        if low is None and self.mode != "off" and self.strategy != "none":
            raise InvalidInput(
                "strategy",
                self.strategy,
                "none, or mode off, while the reward has no bounds: what is right and what is "
                "wrong is told by the range from reward_low to reward_high",
            )
        if low is not None and high is not None and low >= high:
            raise InvalidInput("reward_low", low, "below reward_high")

    @property
    def reward_range(self) -> RewardRange | None:
        """The declared rewards of a wrong and of a right answer; None when there are no bounds."""
        if self.reward_low is None or self.reward_high is None:
            return None
        return RewardRange(low=self.reward_low, high=self.reward_high)

    @property
    def acting_mode(self) -> ActingMode:
        """The mode, unless the run is locked: killed by a person, or disarmed for no benefit."""
        return "locked" if self.kill or self.arming.stage == "locked" else self.mode

    @property
    def knobs(self) -> dict[str, float | bool]:
        """What is asked of the trainer's own parameters."""
        values = {name: getattr(self, name) for name in KNOBS}
        return {name: value for name, value in values.items() if value is not None}

    def moved(self, **fields: Any) -> "Settings":
        """With fields that a step moves and nobody types: what was checked stays checked."""
        found = copy(self)
        for name, value in fields.items():
            force_setattr(found, name, value)
        return found

    def in_force(self, *, step: int, now_s: float) -> "Settings":
        """What acts at `step`: overrides that have not expired on top, nothing once killed.

        Overrides that contradict the rest, which a later change can bring about, make the mode
        off: what nobody can read as one intention does not act.
        """
        if self.kill:
            return self.without_interventions()
        if not self.overrides:
            return self
        acting = tuple(one for one in self.overrides if one.acts(step, now_s))
        changes: dict[str, Any] = {}
        for override in acting:
            changes.update(override.changes)
        try:
            return replace(self, overrides=acting, **changes)
        except InvalidInput:
            return self.without_interventions()

    def without_interventions(self) -> "Settings":
        """These settings, with the trainer as it was configured: plain GRPO."""
        return replace(self, mode="off", overrides=(), **_NO_KNOBS)


KNOBS: Mapping[str, Allowed] = MappingProxyType(
    {
        "epsilon_low": number(0, 1, is_low_allowed=False, is_nullable=True),
        "epsilon_high": number(0, 10, is_low_allowed=False, is_nullable=True),
        "beta": number(0, 10, is_nullable=True),
        "entropy_coef": number(0, 1, is_nullable=True),
        "temperature": number(0, 5, is_low_allowed=False, is_nullable=True),
        "learning_rate_scale": number(0, 10, is_nullable=True),
        "loss_mask": boolean(is_nullable=True),
        "dynamic_sampling": boolean(is_nullable=True),
    }
)
"""The trainer's own parameters that can be driven while it runs."""

_NO_KNOBS: dict[str, Any] = dict.fromkeys(KNOBS)

ALLOWED: Mapping[str, Allowed] = MappingProxyType(
    {
        "profile": choice(*get_args(ProfileName)),
        "mode": choice(*get_args(Mode)),
        "controller": choice(*get_args(ControllerName)),
        "threshold": number(0, 1),
        "exit_threshold": number(0, 1),
        "threshold_low": number(0, 1),
        "threshold_high": number(0, 1),
        "eta": number(0, 1, is_low_allowed=False),
        "max_active_steps": integer(1, 100_000),
        "cooldown_steps": integer(0, 100_000),
        "benefit_check": boolean(),
        "heed_alarms": boolean(),
        "acr_source": choice(*get_args(AcrSource)),
        "min_groups_per_unit": integer(1, MIN_GROUPS),
        "target": choice(*get_args(Target)),
        "strategy": choice(*STRATEGIES),
        "alpha": number(0, 1, is_low_allowed=False),
        "r_anchor": number(0, 1, is_low_allowed=False),
        "scale_wrong": number(0, 1),
        "scale_correct": number(0, 1),
        "max_advantage": number(0, 1, is_low_allowed=False, is_nullable=True),
        "max_group_fraction": number(0, 1, is_low_allowed=False),
        "max_mass_fraction": number(0, 1, is_low_allowed=False),
        "prompt_budget": integer(1, 1_000_000, is_nullable=True),
        "skip_degenerate": boolean(),
        "skip_truncated": boolean(),
        "reward_low": number(-REWARD_LIMIT, REWARD_LIMIT, is_nullable=True),
        "reward_high": number(-REWARD_LIMIT, REWARD_LIMIT, is_nullable=True),
        "seed": integer(0, 2**63 - 1),
        **KNOBS,
    }
)
"""What the fields that people may change take. `Settings` checks some together, too."""

TUNABLE = tuple(ALLOWED)
"""Names of the fields that people may change, in the order they are listed."""

OVERRIDABLE = tuple(name for name in TUNABLE if name != "profile")
"""Names of the fields that an override may change."""
