"""Where the guarded controller stands; a value that travels with the settings.

off -> armed -> active -> cooldown -> armed ...      active -> locked -> (a person) -> off
"""

from typing import Literal

from msgspec import Struct

Stage = Literal["off", "armed", "active", "cooldown", "locked"]
Target = Literal["both", "wrong", "correct"]


class Entry(Struct, frozen=True, kw_only=True):
    """How the run stood when injection began: what a benefit is measured against.

    Attributes:
        rate: the watched rate of collapse, in [0, 1].
        rate_error: its standard error.
        reward: pooled mean reward, reward units.
        reward_error: its standard error.
        entropy: pooled entropy, nats per token; None when it is not reported.
        mode: whether injection was applied from then on, or only decided.
        target: the groups whose rate was watched.
    """

    rate: float
    rate_error: float
    reward: float
    reward_error: float
    entropy: float | None
    mode: Literal["shadow", "active"]
    target: Target


class Arming(Struct, frozen=True, kw_only=True):
    """The state machine's place.

    Attributes:
        stage: off (not enough seen, or the mode is off), armed, active, cooldown, or locked.
        since_step: the first step that this stage is in force for.
        steps: scored steps recorded in this stage.
        reason: why it came here, for people.
        activations: times it became active.
        entry: when it is active, how the run stood at the beginning of it.
    """

    stage: Stage = "off"
    since_step: int = 1
    steps: int = 0
    reason: str = ""
    activations: int = 0
    entry: Entry | None = None


DISARMED = Arming()
"""Before anything was seen."""


class Holds(Struct, frozen=True, kw_only=True):
    """Alarms that forbid injection, by the name of the rule; "" where nothing does.

    Attributes:
        everything: forbids all of it: the policy is drifting, or its gradient explodes.
        correct: forbids pushing all-correct groups up, which lowers entropy further.
    """

    everything: str = ""
    correct: str = ""


NO_HOLDS = Holds()
"""Nothing is forbidden."""
