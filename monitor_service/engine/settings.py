"""Settings: what a trainer applies at its next step. An immutable, versioned value.

People change the fields in `TUNABLE`; `threshold` also moves by itself when the controller is
adaptive. `version` grows with every publication (one per step), `revision` only when a person
changes something, so that two people can notice each other while the run goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from monitor_service.engine.collapse import REWARD_LIMIT, RewardRange
from monitor_service.engine.controllers import CONTROLLERS
from monitor_service.engine.smoothing import MIN_GROUPS, NOTHING_SEEN, Memory
from monitor_service.engine.virtual import STRATEGIES
from monitor_service.errors import InvalidInput

Mode = Literal["off", "active"]
AcrSource = Literal["batch", "window", "ewma"]
Target = Literal["both", "wrong", "correct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is in force. Raises `InvalidInput` naming the field when a value is out of range."""

    version: int = 1
    """Grows with every publication."""
    revision: int = 1
    """Grows when a person changes something; the ETag of the REST resource."""
    through_step: int = 0
    """The newest step these settings take into account; 0 before the first."""
    session: str = ""
    """The life and the attempt of the run that these settings are for; "" in process."""
    profile: str = "paper"
    """The bundle the run started from, or was last set to."""
    mode: Mode = "active"
    """off: plain GRPO, nothing is touched. active: the plan is applied."""
    controller: str = "paper"
    """Which law moves the threshold."""
    threshold: float = 0.5
    """tau in force, a rate in [0, 1]: inject when ACR is strictly above it."""
    threshold_low: float = 0.1
    threshold_high: float = 0.9
    """Bounds an adaptive controller keeps to; without them the paper's law diverges."""
    eta: float = 0.01
    """Gain of the paper's controller, in (0, 1]."""
    acr_source: AcrSource = "batch"
    """Which ACR decides: of the batch (the paper), of the last groups, or the EWMA."""
    min_groups_per_unit: int = 16
    """With fewer scored groups in a batch, acr_source batch falls back to ewma."""
    target: Target = "both"
    """Which collapsed groups may be injected."""
    strategy: str = "stratified"
    alpha: float = 0.5
    """Exponent in K = ceil(G * ACR^alpha), in (0, 1]; smaller means more virtual rewards."""
    r_anchor: float = 0.1
    """Largest virtual reward of an all-wrong group, a fraction of the reward range, in (0, 1]."""
    scale_wrong: float = 1.0
    scale_correct: float = 1.0
    """Factors on the injected advantage of each side, in [0, 1]."""
    reward_low: float = 0.0
    reward_high: float = 1.0
    """Rewards of a wrong and of a right answer."""
    skip_degenerate: bool = False
    """Leave a batch alone in which nearly all completions got the same reward."""
    seed: int = 0
    """For random strategies: drawn from (seed, step, group), so ranks and resumes agree."""
    memory: Memory = NOTHING_SEEN
    """Pooled ACR as of `through_step`; not for people to change."""

    def __post_init__(self) -> None:
        for name, (is_allowed, allowed) in _RULES.items():
            if not is_allowed(getattr(self, name)):
                raise InvalidInput(name, getattr(self, name), allowed)
        if self.threshold_low > self.threshold_high:
            raise InvalidInput("threshold_low", self.threshold_low, "at most threshold_high")
        if min(self.version, self.revision, self.through_step) < 0:
            counts = (self.version, self.revision, self.through_step)
            raise InvalidInput("version, revision, through_step", counts, "must be at least 0")
        if self.reward_low >= self.reward_high:
            raise InvalidInput("reward_low", self.reward_low, "below reward_high")

    @property
    def reward_range(self) -> RewardRange:
        """The declared rewards of a wrong and of a right answer."""
        return RewardRange(low=self.reward_low, high=self.reward_high)


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with `changes` applied; a `profile` among them is applied first.

    Version and revision stay; they are the business of whoever publishes.

    Raises:
        InvalidInput: a name nobody may change, or a value out of range.
    """
    for name, value in changes.items():
        if name not in TUNABLE:
            raise InvalidInput(name, value, f"one of {', '.join(TUNABLE)}")
    bundle: Mapping[str, Any] = {}
    if "profile" in changes:
        profile = changes["profile"]
        bundle = PROFILES.get(profile, {}) if isinstance(profile, str) else {}
    return replace(settings, **{**bundle, **changes})


def from_profile(profile: str, changes: Mapping[str, Any]) -> Settings:
    """Fresh settings of a named profile, with changes on top."""
    return changed(Settings(), {"profile": profile, **changes})


def _number(
    low: float, high: float, *, open_low: bool = False
) -> tuple[Callable[[Any], bool], str]:
    def is_allowed(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        # NaN compares false, and an integer too large for a float still compares.
        return (low < value if open_low else low <= value) and value <= high

    return is_allowed, f"must be a number in {'(' if open_low else '['}{low:g}, {high:g}]"


def _integer(low: int, high: int) -> tuple[Callable[[Any], bool], str]:
    def is_allowed(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return is_allowed, f"must be an integer in [{low}, {high}]"


def _choice(*names: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: isinstance(value, str) and value in names), f"one of {', '.join(names)}"


_AVSPO: dict[str, Any] = {
    field.name: field.default
    for field in fields(Settings)
    if field.name
    in {
        "mode",
        "controller",
        "threshold_low",
        "threshold_high",
        "eta",
        "acr_source",
        "min_groups_per_unit",
        "target",
        "strategy",
        "alpha",
        "r_anchor",
        "scale_wrong",
        "scale_correct",
        "skip_degenerate",
    }
}

PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"paper": _AVSPO, "grpo": {"mode": "off"}}
)
"""Named bundles. paper: the published method, clamped. grpo: nothing is touched."""

_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = MappingProxyType(
    {
        "profile": _choice(*PROFILES),
        "mode": _choice("off", "active"),
        "controller": _choice(*CONTROLLERS),
        "threshold": _number(0, 1),
        "threshold_low": _number(0, 1),
        "threshold_high": _number(0, 1),
        "eta": _number(0, 1, open_low=True),
        "acr_source": _choice("batch", "window", "ewma"),
        "min_groups_per_unit": _integer(1, MIN_GROUPS),
        "target": _choice("both", "wrong", "correct"),
        "strategy": _choice(*STRATEGIES),
        "alpha": _number(0, 1, open_low=True),
        "r_anchor": _number(0, 1, open_low=True),
        "scale_wrong": _number(0, 1),
        "scale_correct": _number(0, 1),
        "skip_degenerate": ((lambda value: isinstance(value, bool)), "must be true or false"),
        "reward_low": _number(-REWARD_LIMIT, REWARD_LIMIT),
        "reward_high": _number(-REWARD_LIMIT, REWARD_LIMIT),
        "seed": _integer(0, 2**63 - 1),
    }
)

TUNABLE = tuple(_RULES)
"""Names of the fields that people may change, in the order they are listed."""
