"""The only place where a run moves: (state, observation) -> (state', figures, events).

Order within one step, as in the paper's algorithm: the step was judged and injected with tau_n;
only then tau moves to n+1. Unscored steps move nothing but the step number and the counters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from monitor_service.engine.collapse import (
    DEGENERATE_SHARE,
    Groups,
    Matrix,
    Outcome,
    RewardRange,
    judge,
)
from monitor_service.engine.controllers import CONTROLLERS, Bounds, Signal
from monitor_service.engine.events import Event
from monitor_service.engine.plan import decision_acr
from monitor_service.engine.settings import AcrSource, Settings, changed
from monitor_service.engine.smoothing import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
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
    mean_reward: float | None = None
    """Mean reward of the newest scored step."""
    threshold_revision: int = 1
    """Revision of the settings at which a person last set the threshold."""
    reward_is_degenerate: bool = False
    """Whether the newest scored step looked like a dead verifier."""
    counters: Counters = Counters()

    def attempt_of(self, step: int) -> int:
        """The attempt whose record of `step` counts: the newest that covers it, or the first."""
        covering = (attempt for attempt, after in reversed(self.attempts) if after < step)
        return next(covering, self.attempts[0][0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one step's report says, as far as the engine looks at it.

    Attributes:
        step: number of the generation batch, from 1.
        rewards: `[N, G]` float64; NaN marks "not scored".
        primary: `[N, G]` the accuracy component, when `rewards` is a sum of several.
        injected_wrong: all-wrong groups the trainer injected.
        injected_correct: all-correct groups the trainer injected.
    """

    step: int
    rewards: Matrix
    primary: Matrix | None = None
    injected_wrong: int = 0
    injected_correct: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
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
    acr_window: float | None
    acr_window_low: float | None
    acr_window_high: float | None
    """Wilson interval of `acr_window`, 5 % on each side."""
    acr_decision: float | None
    """The rate the trigger and the controller used; None when nothing could be decided."""
    acr_source: AcrSource
    reward_mean: float | None
    threshold: float
    """tau this step was judged with, by the monitor's state."""
    threshold_next: float


def advance(state: RunState, seen: Observation) -> tuple[RunState, StepFigures, tuple[Event, ...]]:
    """Take one step into account. `seen.step` must be above `state.step`."""
    settings = state.settings
    groups = judge(seen.rewards, reward_range=settings.reward_range, primary=seen.primary)
    acr, source = decision_acr(groups, settings.memory, settings)
    threshold = settings.threshold
    mean_reward = groups.mean_reward
    if acr is not None and mean_reward is not None:
        threshold = CONTROLLERS[settings.controller].next_threshold(
            threshold,
            Signal(
                acr=acr,
                mean_reward=mean_reward,
                previous_mean_reward=state.mean_reward,
            ),
            Bounds(eta=settings.eta, low=settings.threshold_low, high=settings.threshold_high),
        )
    memory = settings.memory.after(groups)
    missing = seen.step - state.step - 1
    advanced = replace(
        state,
        settings=replace(
            settings,
            version=settings.version + 1,
            through_step=seen.step,
            threshold=threshold,
            memory=memory,
        ),
        step=seen.step,
        mean_reward=state.mean_reward if groups.acr is None else mean_reward,
        reward_is_degenerate=(
            state.reward_is_degenerate if groups.acr is None else groups.is_degenerate
        ),
        counters=_counted(state.counters, groups, seen, missing),
    )
    figures = _figures(groups, seen, memory, acr, source, settings.threshold, threshold)
    return advanced, figures, _events(state, advanced, seen, groups, source)


def with_changes(state: RunState, changes: Mapping[str, Any]) -> RunState:
    """A person's change of the settings: a new revision, published as a new version."""
    settings = changed(state.settings, changes)
    revision = settings.revision + 1
    return replace(
        state,
        settings=replace(settings, version=settings.version + 1, revision=revision),
        threshold_revision=revision if "threshold" in changes else state.threshold_revision,
    )


def resumed(newest: RunState, earlier: RunState, start_id: str = "") -> RunState:
    """The run continued after an earlier step, as a new attempt that `start_id` opened.

    Statistics are those of the earlier step. What people set stays as it is now: a crash must not
    undo a person's decision. The threshold is a decision when it is fixed, or when a person has
    set it since; else it is a statistic.
    """
    now, then = newest.settings, earlier.settings
    attempt = newest.attempt + 1
    is_decided = now.controller == "fixed" or newest.threshold_revision > earlier.threshold_revision
    return replace(
        earlier,
        attempt=attempt,
        attempts=(*newest.attempts, (attempt, earlier.step)),
        start_ids=(*newest.start_ids, start_id),
        threshold_revision=newest.threshold_revision,
        counters=newest.counters,
        settings=replace(
            now,
            version=now.version + 1,
            through_step=earlier.step,
            threshold=now.threshold if is_decided else then.threshold,
            memory=then.memory,
        ),
    )


def _counted(before: Counters, groups: Groups, seen: Observation, missing: int) -> Counters:
    injected = seen.injected_wrong + seen.injected_correct
    return Counters(
        steps=before.steps + 1,
        missing_steps=before.missing_steps + missing,
        completions=before.completions + int(groups.sizes.sum()),
        invalid_rewards=before.invalid_rewards + groups.num_invalid,
        mixed=before.mixed + groups.count(Outcome.MIXED),
        all_correct=before.all_correct + groups.count(Outcome.ALL_CORRECT),
        all_wrong=before.all_wrong + groups.count(Outcome.ALL_WRONG),
        uniform_other=before.uniform_other + groups.count(Outcome.UNIFORM_OTHER),
        unscored=before.unscored + groups.count(Outcome.UNSCORED),
        intervened_steps=before.intervened_steps + (injected > 0),
        injected_wrong=before.injected_wrong + seen.injected_wrong,
        injected_correct=before.injected_correct + seen.injected_correct,
    )


def _figures(
    groups: Groups,
    seen: Observation,
    memory: Memory,
    acr: float | None,
    source: AcrSource,
    threshold: float,
    threshold_next: float,
) -> StepFigures:
    low, high = memory.window_interval or (None, None)
    primary_acr = None
    if seen.primary is not None:
        primary_acr = judge(seen.primary, reward_range=RewardRange()).acr
    return StepFigures(
        num_groups=groups.num_scored,
        num_completions=int(groups.sizes.sum()),
        mixed=groups.count(Outcome.MIXED),
        all_correct=groups.count(Outcome.ALL_CORRECT),
        all_wrong=groups.count(Outcome.ALL_WRONG),
        uniform_other=groups.count(Outcome.UNIFORM_OTHER),
        unscored=groups.count(Outcome.UNSCORED),
        acr=groups.acr,
        acr_wrong=groups.share(Outcome.ALL_WRONG),
        acr_correct=groups.share(Outcome.ALL_CORRECT),
        acr_other=groups.share(Outcome.UNIFORM_OTHER),
        acr_primary=primary_acr,
        acr_smoothed=memory.smoothed_acr,
        acr_window=memory.windowed_acr,
        acr_window_low=low,
        acr_window_high=high,
        acr_decision=acr,
        acr_source=source,
        reward_mean=groups.mean_reward,
        threshold=threshold,
        threshold_next=threshold_next,
    )


def _events(
    state: RunState, after: RunState, seen: Observation, groups: Groups, source: AcrSource
) -> tuple[Event, ...]:
    events = []
    missing = seen.step - state.step - 1
    if missing:
        events.append(
            Event(
                kind="gap",
                step=seen.step,
                message=f"{missing} steps were never reported before step {seen.step}",
                data={"missing": missing},
            )
        )
    if groups.num_invalid:
        events.append(
            Event(
                kind="invalid_rewards",
                step=seen.step,
                message=f"{groups.num_invalid} rewards were infinite or too large to use",
                data={"count": groups.num_invalid},
            )
        )
    if after.reward_is_degenerate and not state.reward_is_degenerate:
        events.append(
            Event(
                kind="reward_degenerate",
                step=seen.step,
                message=(
                    f"at least {DEGENERATE_SHARE:.0%} of the completions got one and the same "
                    "reward: a dead verifier, or a batch far too hard or too easy"
                ),
                data={"reward_mean": groups.mean_reward},
            )
        )
    is_first = groups.num_scored > 0 and state.settings.memory.num_groups == 0
    if source != state.settings.acr_source and is_first:
        events.append(
            Event(
                kind="acr_source_fallback",
                step=seen.step,
                message=(
                    f"{groups.num_scored} scored groups a step are too few for acr_source "
                    f"{state.settings.acr_source}; {source} decides"
                ),
                data={"num_groups": groups.num_scored, "acr_source": source},
            )
        )
    return tuple(events)
