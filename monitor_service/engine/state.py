"""What a run is between steps, what a step says, and what is kept of it."""

from collections.abc import Mapping

from msgspec import Struct

from monitor_service.engine.arming import Stage
from monitor_service.engine.collapse import Matrix
from monitor_service.engine.health.alarms import HEALTH_UNKNOWN, Health
from monitor_service.engine.orders import Kill
from monitor_service.engine.settings import AcrSource, Settings
from monitor_service.engine.smoothing import UNKNOWN, Trend
from monitor_service.errors import InvalidInput


class Counters(Struct, frozen=True, kw_only=True):
    """Totals of everything reported, replaced attempts included, so that they only grow."""

    steps: int = 0
    missing_steps: int = 0
    completions: int = 0
    invalid_rewards: int = 0
    mixed: int = 0
    all_correct: int = 0
    all_wrong: int = 0
    uniform_other: int = 0
    unscored: int = 0
    intervened_steps: int = 0
    injected_wrong: int = 0
    injected_correct: int = 0
    shadow_wrong: int = 0
    shadow_correct: int = 0
    """Groups that would have been injected, had the mode not been shadow."""
    sampling_kept: int = 0
    sampling_filled: int = 0
    sampling_surplus: int = 0
    """What became of groups under dynamic sampling."""


class RunState(Struct, frozen=True, kw_only=True):
    """Everything a run remembers between steps."""

    settings: Settings
    step: int = 0
    """The newest step recorded; 0 before the first."""
    attempt: int = 1
    """Grows each time the trainer starts again."""
    attempts: tuple[tuple[int, int], ...] = ((1, 0),)
    """(attempt, step it continued after): which attempt's record of a step counts."""
    start_ids: tuple[str, ...] = ("",)
    """What the trainer called the start that opened each attempt; "" when it said nothing."""
    ended: str | None = None
    """How the newest attempt ended, when its trainer said so."""
    is_silent: bool = False
    """Whether people were told that reports have stopped."""
    mean_reward: float | None = None
    """Mean reward of the newest scored step."""
    reward: Trend = UNKNOWN
    """Group means of the reward, pooled over groups."""
    entropy: Trend = UNKNOWN
    """Policy entropy, nats per token, pooled over steps."""
    health: Health = HEALTH_UNKNOWN
    health_failure: str = ""
    """Where the health rules failed at the newest step; "" when they judged it."""
    threshold_revision: int = 1
    """Revision of the settings at which a person last set the threshold."""
    num_commands: int = 0
    num_overrides: int = 0
    """Given so far: the next is numbered one higher."""
    unapplied: tuple[int, ...] = ()
    """Versions of people's orders that no report says are in force; ascending, the newest ones."""
    counters: Counters = Counters()

    def attempt_of(self, step: int) -> int:
        """The attempt whose record of `step` counts: the newest that covers it, or the first."""
        if len(self.attempts) == 1:
            return self.attempts[0][0]
        covering = (attempt for attempt, after in reversed(self.attempts) if after < step)
        return next(covering, self.attempts[0][0])


class Sampling(Struct, frozen=True, kw_only=True):
    """What dynamic sampling made of one step; kept + filled groups were trained on.

    Raises InvalidInput when the figures contradict each other.

    Attributes:
        tries: batches of prompts that were sampled.
        sampled: groups in them.
        kept: groups that differ, in the batch.
        filled: collapsed groups that fill the batch.
        surplus: groups that differ and were left over.
        stopped_by: the limit that ended it; None when groups enough differed.
    """

    tries: int
    sampled: int
    kept: int
    filled: int = 0
    surplus: int = 0
    stopped_by: str | None = None

    def __post_init__(self) -> None:
        field = "applied.sampling"
        trained, used = (self.kept, self.filled), (self.kept, self.filled, self.surplus)
        if not sum(trained):
            raise InvalidInput(f"{field}.kept, {field}.filled", trained, "at least 1 together")
        if sum(used) > self.sampled:
            names = f"{field}.kept, {field}.filled, {field}.surplus"
            raise InvalidInput(names, used, f"at most {self.sampled} together, the groups sampled")
        if self.filled and self.stopped_by is None:
            allowed = "what ended the sampling, when collapsed groups fill the batch"
            raise InvalidInput(f"{field}.stopped_by", self.stopped_by, allowed)

    @property
    def filled_share(self) -> float:
        """Share of the batch that only fills it, in [0, 1]."""
        return self.filled / (self.kept + self.filled)


class Observation(Struct, frozen=True, kw_only=True):
    """What one step's report says, as far as the engine looks at it.

    Attributes:
        step: number of the generation batch, from 1.
        rewards: `[N, G]` float64; NaN marks "not scored".
        primary: `[N, G]` the accuracy component, when `rewards` is a sum of several.
        injected_wrong: all-wrong groups the trainer injected.
        injected_correct: all-correct groups the trainer injected.
        shadow_wrong: all-wrong groups it would have injected in another mode.
        shadow_correct: all-correct groups it would have injected in another mode.
        scalars: figure -> value, for the figures of the trainer that the health rules watch.
        non_finite: figures that were NaN or infinite.
        components: reward function -> (mean, std) over the completions it scored.
        applied_version: version of the settings applied; None when the trainer applies none.
        settings_lag_steps: steps between the settings applied and the newest possible ones;
            None when the trainer applies none.
        not_applied: knob -> why the trainer ignored it; "settings" -> why it did not follow them.
        killed_after_rearms: the trainer is killed by what its settings do not say, when it knew of
            so many re-armings.
        kill: that kill; None stands for a kill file.
        command: number of the command that the trainer is carrying out.
        sampling: how the batch was filled, under dynamic sampling; `rewards` are then of all groups
            that were sampled.
    """

    step: int
    rewards: Matrix
    primary: Matrix | None = None
    injected_wrong: int = 0
    injected_correct: int = 0
    shadow_wrong: int = 0
    shadow_correct: int = 0
    scalars: Mapping[str, float] = {}
    non_finite: tuple[str, ...] = ()
    components: Mapping[str, tuple[float | None, float | None]] = {}
    applied_version: int | None = None
    settings_lag_steps: int | None = None
    not_applied: Mapping[str, str] = {}
    kill: Kill | None = None
    killed_after_rearms: int | None = None
    command: int | None = None
    sampling: Sampling | None = None


class StepFigures(Struct, frozen=True, kw_only=True):
    """What one step says about collapse. Rates are in [0, 1]; None means nothing was scored."""

    num_groups: int
    num_completions: int
    mixed: int
    all_correct: int
    all_wrong: int
    uniform_other: int
    unscored: int
    acr: float | None
    acr_wrong: float | None
    acr_correct: float | None
    acr_other: float | None
    acr_primary: float | None
    """ACR of the accuracy component alone; None without one. Above `acr`: hidden collapse."""
    acr_smoothed: float | None
    acr_wrong_smoothed: float | None = None
    acr_correct_smoothed: float | None = None
    acr_smoothed_groups: float | None = None
    """Groups that an unweighted mean would need to be as certain as the smoothed rates."""
    acr_window: float | None
    acr_window_low: float | None
    acr_window_high: float | None
    """Wilson interval of `acr_window`, 5 % on each side."""
    acr_decision: float | None
    """The rate the trigger and the controller used; None when nothing could be decided."""
    acr_source: AcrSource
    reward_mean: float | None
    triggered: bool = False
    """Whether the monitor's own state said to inject at this step."""
    threshold: float
    """tau this step was judged with, by the monitor's state."""
    threshold_next: float
    stage: Stage = "off"
    """Where the guarded controller stood at this step."""
