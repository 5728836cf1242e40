"""The health rules, as data: what each watches, when it is raised, when it is taken back.

A rule watches one figure. A step on its bad side counts one; a step on the other side takes `leak`
back. At `raise_after` the alarm is raised; at `clear_after` steps beyond the clear level, counted
alike, it is resolved. A figure that was not measured counts neither way. docs/health.md says why
the levels are what they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from monitor_service.engine.health import figures
from monitor_service.engine.health.evidence import Severity
from monitor_service.engine.health.figures import Seen

RESETS = 1_000_000
"""A leak that makes a rule ask for consecutive steps."""
ONCE = 1e9
"""Told once, and again only when it becomes critical."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        name: stable.
        severity: of its alarm, unless the evidence changes it (`words`).
        watches: its figure, in words; `unit` says what it is measured in.
        read: the figure at a step; None when it was not measured. Never negative.
        worse: the side of `raise_at` that is bad; strict.
        clear_at: the level beyond which a raised alarm may end; strict.
        raise_after: bad steps, `leak` taken back for each other one, until it is raised.
        clear_after: the same for good steps, until it is resolved.
        critical_at: the level beyond which it is critical; None when there is none.
        notable: factor by which the figure has to get worse to be told again.
        source: where the level comes from.
    """

    name: str
    severity: Severity
    watches: str
    unit: str
    read: Callable[[Seen], float | None]
    raise_at: float
    clear_at: float
    raise_after: int
    source: str
    clear_after: int = 10
    worse: Literal["above", "below"] = "above"
    leak: int = 2
    critical_at: float | None = None
    notable: float = 1.5

    def is_bad(self, figure: float) -> bool:
        """Whether a step with this figure counts towards an alarm."""
        return figure > self.raise_at if self.worse == "above" else figure < self.raise_at

    def is_good(self, figure: float) -> bool:
        """Whether a step with this figure counts towards the end of an alarm."""
        return figure < self.clear_at if self.worse == "above" else figure > self.clear_at

    def is_critical(self, figure: float) -> bool:
        """Whether the figure alone makes it critical."""
        if self.critical_at is None:
            return False
        return figure > self.critical_at if self.worse == "above" else figure < self.critical_at

    def is_notably_worse(self, figure: float, told: float) -> bool:
        """Whether people who were told of `told` want to hear of `figure`."""
        if self.worse == "above":
            return figure > self.notable * told
        return figure < told / self.notable


RULES: tuple[Rule, ...] = (
    Rule(
        name="not_finite",
        severity="critical",
        watches="figures that were NaN or infinite",
        unit="count",
        read=figures.not_finite,
        raise_at=0.5,
        clear_at=0.5,
        raise_after=2,
        leak=1,
        notable=10.0,
        source="ours: a single infinite norm is routine with a float16 loss scaler",
    ),
    Rule(
        name="no_signal",
        severity="critical",
        watches="groups in a row without a gradient, where collapse explains its lack",
        unit="groups",
        read=figures.no_signal,
        raise_at=63.0,
        clear_at=1.0,
        raise_after=10,
        clear_after=5,
        leak=RESETS,
        notable=10.0,
        source="users of verl ask for it; the numbers are ours",
    ),
    Rule(
        name="gradient_dead",
        severity="critical",
        watches="gradient norm 0 although groups have a signal",
        unit="1 or 0",
        read=figures.gradient_dead,
        raise_at=0.5,
        clear_at=0.5,
        raise_after=10,
        clear_after=3,
        leak=RESETS,
        source="ours",
    ),
    Rule(
        name="gradient_explosion",
        severity="warning",
        watches="gradient norm, median of 5 over its running median",
        unit="ratio",
        read=figures.gradient_explosion,
        raise_at=10.0,
        clear_at=5.0,
        raise_after=5,
        critical_at=100.0,
        notable=1000.0,
        source="ours",
    ),
    Rule(
        name="reward_collapse",
        severity="warning",
        watches="share of the best gain in reward that is left",
        unit="fraction",
        read=figures.reward_collapse,
        worse="below",
        raise_at=0.25,
        clear_at=0.5,
        raise_after=10,
        critical_at=0.1,
        notable=ONCE,
        source="ours",
    ),
    Rule(
        name="reward_degenerate",
        severity="warning",
        watches="at least 95 % of the completions got one and the same reward",
        unit="1 or 0",
        read=figures.reward_degenerate,
        raise_at=0.5,
        clear_at=0.5,
        raise_after=10,
        clear_after=5,
        leak=1,
        source="ours",
    ),
    Rule(
        name="reward_constant",
        severity="info",
        watches="reward functions that gave one value for 25 steps",
        unit="functions",
        read=figures.reward_constant,
        raise_at=0.5,
        clear_at=0.5,
        raise_after=1,
        clear_after=1,
        source="ours",
    ),
    Rule(
        name="entropy_collapse",
        severity="warning",
        watches="entropy, median of 5 over its baseline",
        unit="ratio",
        read=figures.entropy_collapse,
        worse="below",
        raise_at=0.3,
        clear_at=0.4,
        raise_after=10,
        notable=3.0,
        source="ours: relative, since levels differ by model",
    ),
    Rule(
        name="entropy_low",
        severity="info",
        watches="entropy",
        unit="nats",
        read=figures.entropy_low,
        worse="below",
        raise_at=0.5,
        clear_at=0.6,
        raise_after=51,
        leak=RESETS,
        notable=10.0,
        source="practitioner folklore",
    ),
    Rule(
        name="entropy_explosion",
        severity="warning",
        watches="entropy, median of 5 over that of the first three steps",
        unit="ratio",
        read=figures.entropy_explosion,
        raise_at=2.5,
        clear_at=2.0,
        raise_after=3,
        leak=1,
        critical_at=4.0,
        source="ours",
    ),
    Rule(
        name="kl_explosion",
        severity="critical",
        watches="magnitude of KL, median of 5",
        unit="nats",
        read=figures.kl_magnitude,
        raise_at=1.0,
        clear_at=0.7,
        raise_after=5,
        clear_after=20,
        leak=1,
        notable=3.0,
        source="ours",
    ),
    Rule(
        name="kl_drift",
        severity="warning",
        watches="magnitude of KL, median of 5",
        unit="nats",
        read=figures.kl_magnitude,
        raise_at=0.5,
        clear_at=0.35,
        raise_after=20,
        clear_after=20,
        notable=3.0,
        source="ours",
    ),
    Rule(
        name="clipping",
        severity="info",
        watches="share of tokens whose ratio was clipped, median of 5",
        unit="fraction",
        read=figures.clipping,
        raise_at=0.3,
        clear_at=0.2,
        raise_after=10,
        source="ours",
    ),
    Rule(
        name="truncation",
        severity="warning",
        watches="share of completions cut at the limit, mean of 5",
        unit="fraction",
        read=figures.truncation,
        raise_at=0.8,
        clear_at=0.6,
        raise_after=10,
        critical_at=0.95,
        source="ours",
    ),
    Rule(
        name="truncation_rising",
        severity="warning",
        watches="the same, above the mean of the first 10 steps",
        unit="fraction",
        read=figures.truncation_rising,
        raise_at=0.25,
        clear_at=0.15,
        raise_after=20,
        source="ours",
    ),
    Rule(
        name="length_collapse",
        severity="warning",
        watches="mean length, median of 5 over its highest",
        unit="ratio",
        read=figures.length_collapse,
        worse="below",
        raise_at=0.2,
        clear_at=0.3,
        raise_after=10,
        notable=3.0,
        source="ours",
    ),
    Rule(
        name="length_at_limit",
        severity="warning",
        watches="mean length, median of 5 over the longest",
        unit="ratio",
        read=figures.length_at_limit,
        raise_at=0.95,
        clear_at=0.85,
        raise_after=10,
        source="ours",
    ),
    Rule(
        name="stall",
        severity="warning",
        watches="pooled ACR less its standard error, without rising reward",
        unit="fraction",
        read=figures.stall,
        raise_at=0.35,
        clear_at=0.3,
        raise_after=51,
        leak=RESETS,
        source="paper, on a smoothed rate",
    ),
    Rule(
        name="middle_values",
        severity="warning",
        watches="pooled share of groups collapsed at a middle value, less its standard error",
        unit="fraction",
        read=figures.middle_values,
        raise_at=0.25,
        clear_at=0.15,
        raise_after=25,
        source="ours",
    ),
    Rule(
        name="acr_100",
        severity="info",
        watches="mean ACR of steps 1 to 100, while pooled ACR is above .35",
        unit="fraction",
        read=figures.acr_100,
        raise_at=0.5,
        clear_at=0.5,
        raise_after=1,
        clear_after=50,
        source="paper",
    ),
    Rule(
        name="volatility",
        severity="warning",
        watches="standard deviation of ACR over 25 steps beyond sampling noise",
        unit="fraction",
        read=figures.volatility,
        raise_at=0.15,
        clear_at=0.1,
        raise_after=10,
        clear_after=25,
        leak=1,
        source="paper, corrected for sampling",
    ),
    Rule(
        name="saturation",
        severity="info",
        watches="pooled share of all-correct groups less its standard error",
        unit="fraction",
        read=figures.saturation,
        raise_at=0.35,
        clear_at=0.25,
        raise_after=10,
        source="ours",
    ),
    Rule(
        name="hidden_collapse",
        severity="info",
        watches="ACR of the accuracy component above the total",
        unit="fraction",
        read=figures.hidden_collapse,
        raise_at=0.25,
        clear_at=0.15,
        raise_after=25,
        clear_after=25,
        source="ours",
    ),
    Rule(
        name="settings_late",
        severity="warning",
        watches="steps between the settings applied and the newest possible",
        unit="steps",
        read=figures.settings_late,
        raise_at=5.0,
        clear_at=3.0,
        raise_after=5,
        clear_after=3,
        leak=RESETS,
        notable=4.0,
        source="ours",
    ),
    Rule(
        name="settings_ignored",
        severity="warning",
        watches="knobs that the trainer ignored",
        unit="count",
        read=figures.settings_ignored,
        raise_at=0.5,
        clear_at=0.5,
        raise_after=2,
        clear_after=2,
        leak=RESETS,
        source="ours",
    ),
)

RULE: Mapping[str, Rule] = MappingProxyType({rule.name: rule for rule in RULES})
"""By name."""
