"""The only place where a step moves a run: (state, observation) -> (state', figures, events).

Order within one step, as in the paper's algorithm: the step was judged and injected with tau_n;
only then tau moves to n+1. An unscored step moves neither tau nor the guarded controller, and
leaves the statistics of collapse and of the reward as they are.
"""

import math
import traceback

import numpy as np
from msgspec.structs import replace

from monitor_service.engine.arming import Holds
from monitor_service.engine.collapse import REWARD_LIMIT, Groups, Outcome, RewardRange, judge
from monitor_service.engine.controllers import CONTROLLERS, Signal, Stance
from monitor_service.engine.events import Event
from monitor_service.engine.health.alarms import SILENCE_RULE, Health, Vitals, examine, holds
from monitor_service.engine.orders import Kill
from monitor_service.engine.plan import decision_acr, is_triggered
from monitor_service.engine.settings import AcrSource, Settings
from monitor_service.engine.smoothing import HALF_LIFE_GROUPS, Memory, Trend
from monitor_service.engine.state import Counters, Observation, RunState, StepFigures

ENTROPY_HALF_LIFE_STEPS = 8
KILL_FILE_ACTOR = "kill file"


def advance(
    state: RunState, seen: Observation, *, now_s: float
) -> tuple[RunState, StepFigures, tuple[Event, ...]]:
    """Take one step into account. `seen.step` must be above `state.step`; `now_s` is Unix time."""
    configured = state.settings
    acting = configured.in_force(step=seen.step, now_s=now_s)
    groups = judge(seen.rewards, reward_range=acting.reward_range, primary=seen.primary)
    acr, source = decision_acr(groups, configured.memory, acting)
    memory = configured.memory.after(groups)
    entropy, reward = _entropy(state, seen), _reward(state, groups)
    stance = Stance(threshold=configured.threshold, arming=configured.arming)
    if groups.mean_reward is not None and groups.acr is not None:
        signal = Signal(
            step=seen.step,
            acr=acr,
            mean_reward=groups.mean_reward,
            previous_mean_reward=state.mean_reward,
            rates=memory.rates if memory.is_ready else None,
            reward=reward,
            entropy=entropy.mean if entropy.is_known else None,
        )
        stance = CONTROLLERS[acting.controller].after(stance, signal, acting)
        if acting.controller != configured.controller:
            # An override returns by itself: its law leaves the configured threshold alone.
            stance = replace(stance, threshold=configured.threshold)
    figures = _figures(groups, seen, memory, acr, source, acting, stance)
    health, held, failure, alarms = _examined(state, _vitals(seen, groups, memory, figures))
    settings = configured.moved(
        version=configured.version + 1,
        through_step=seen.step,
        threshold=stance.threshold,
        arming=stance.arming,
        memory=memory,
        holds=held,
        kill=configured.kill or _kill_heard(configured, seen, now_s),
        command=None if _is_obeyed(configured, seen) else configured.command,
        overrides=tuple(one for one in configured.overrides if one.acts(seen.step + 1, now_s)),
    )
    advanced = replace(
        state,
        settings=settings,
        step=seen.step,
        ended=None,
        is_silent=False,
        mean_reward=state.mean_reward if groups.acr is None else groups.mean_reward,
        reward=reward,
        entropy=entropy,
        health=health,
        health_failure=failure,
        unapplied=tuple(version for version in state.unapplied if not _is_applied(version, seen)),
        counters=_counted(state.counters, groups, seen, seen.step - state.step - 1),
    )
    events = (*_events(state, advanced, seen, groups, source), *alarms)
    return advanced, figures, events


def _entropy(state: RunState, seen: Observation) -> Trend:
    entropy = seen.scalars.get("entropy", math.nan)
    if not abs(entropy) <= REWARD_LIMIT:  # NaN, or too large to be squared.
        return state.entropy
    return state.entropy.after(entropy, entropy**2, 1, half_life=ENTROPY_HALF_LIFE_STEPS)


def _reward(state: RunState, groups: Groups) -> Trend:
    if groups.acr is None:
        return state.reward
    means = groups.means
    if groups.num_scored < len(means):
        means = means[groups.outcomes != Outcome.UNSCORED]
    return state.reward.after(
        float(np.add.reduce(means) / len(means)),
        float(np.add.reduce(np.square(means)) / len(means)),
        len(means),
        half_life=HALF_LIFE_GROUPS,
    )


def _kill_heard(settings: Settings, seen: Observation, now_s: float) -> Kill | None:
    # A report made before the trainer heard of the newest re-arming must not undo it.
    if seen.killed_after_rearms != settings.rearms:
        return None
    reason = "found next to the trainer"
    return seen.kill or Kill(actor=KILL_FILE_ACTOR, reason=reason, step=seen.step, at_s=now_s)


def _is_obeyed(settings: Settings, seen: Observation) -> bool:
    return settings.command is not None and settings.command.number == seen.command


def _is_applied(version: int, seen: Observation) -> bool:
    return seen.applied_version is not None and version <= seen.applied_version


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
        shadow_wrong=before.shadow_wrong + seen.shadow_wrong,
        shadow_correct=before.shadow_correct + seen.shadow_correct,
        sampling_kept=before.sampling_kept + (seen.sampling.kept if seen.sampling else 0),
        sampling_filled=before.sampling_filled + (seen.sampling.filled if seen.sampling else 0),
        sampling_surplus=before.sampling_surplus + (seen.sampling.surplus if seen.sampling else 0),
    )


def _figures(
    groups: Groups,
    seen: Observation,
    memory: Memory,
    acr: float | None,
    source: AcrSource,
    acting: Settings,
    after: Stance,
) -> StepFigures:
    low, high = memory.window_interval or (None, None)
    rates = memory.rates
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
        acr_smoothed=rates.acr if rates else None,
        acr_wrong_smoothed=rates.wrong if rates else None,
        acr_correct_smoothed=rates.correct if rates else None,
        acr_smoothed_groups=rates.num_effective if rates else None,
        acr_window=memory.windowed_acr,
        acr_window_low=low,
        acr_window_high=high,
        acr_decision=acr,
        acr_source=source,
        reward_mean=groups.mean_reward,
        triggered=acting.acting_mode in ("active", "shadow") and is_triggered(acr, acting),
        threshold=acting.threshold,
        threshold_next=after.threshold,
        stage=acting.arming.stage,
    )


def _vitals(seen: Observation, groups: Groups, memory: Memory, figures: StepFigures) -> Vitals:
    return Vitals(
        step=seen.step,
        num_groups=figures.num_groups,
        acr=figures.acr,
        acr_wrong=figures.acr_wrong,
        acr_correct=figures.acr_correct,
        acr_other=figures.acr_other,
        acr_primary=figures.acr_primary,
        pooled=memory.rates,
        reward_mean=figures.reward_mean,
        reward_is_degenerate=groups.is_degenerate,
        components=seen.components,
        settings_lag_steps=seen.settings_lag_steps,
        not_applied=seen.not_applied,
        non_finite=seen.non_finite,
        filled_share=seen.sampling.filled_share if seen.sampling else None,
        sampling_tries=seen.sampling.tries if seen.sampling else None,
        sampling_stopped_by=(seen.sampling.stopped_by or "") if seen.sampling else "",
        **seen.scalars,
    )


def _examined(state: RunState, vitals: Vitals) -> tuple[Health, Holds, str, tuple[Event, ...]]:
    """What the health rules say: (health, holds, where they failed or "", events)."""
    try:
        health, alarms = examine(state.health, vitals)
        return health, holds(health), "", alarms
    except Exception as error:  # noqa: BLE001 - a mistake in one rule must not cost the step
        at = traceback.extract_tb(error.__traceback__)[-1]
        failure = f"{type(error).__name__} in {at.name}, line {at.lineno}"
        text = f"the health rules could not judge this step ({failure}): {error}"
        event = Event(kind="health_failed", step=vitals.step, message=text, data={"at": failure})
        is_news = failure != state.health_failure
        return state.health, state.settings.holds, failure, (event,) if is_news else ()


def _events(
    state: RunState, after: RunState, seen: Observation, groups: Groups, source: AcrSource
) -> tuple[Event, ...]:
    def event(kind: str, message: str, **data: object) -> None:
        events.append(Event(kind=kind, step=seen.step, message=message, data=data))

    events: list[Event] = []
    before, now = state.settings, after.settings
    if state.is_silent:
        event("alarm_resolved", "reports arrive again", rule=SILENCE_RULE)
    missing = seen.step - state.step - 1
    if missing:
        text = f"{missing} steps were never reported before step {seen.step}"
        event("gap", text, missing=missing)
    if groups.num_invalid:
        text = f"{groups.num_invalid} rewards were infinite or too large to use"
        event("invalid_rewards", text, count=groups.num_invalid)
    is_first = groups.num_scored > 0 and before.memory.num_groups == 0
    # The guarded controller pools whatever the size of a batch.
    if source != before.acr_source and is_first and before.controller != "guarded":
        text = (
            f"{groups.num_scored} scored groups a step are too few for acr_source "
            f"{before.acr_source}; {source} decides"
        )
        event("acr_source_fallback", text, num_groups=groups.num_scored, acr_source=source)
    if now.arming.stage != before.arming.stage:
        text = f"{before.arming.stage} -> {now.arming.stage}: {now.arming.reason}"
        event("arming", text, stage=now.arming.stage, from_stage=before.arming.stage)
    if now.kill and not before.kill:
        kill = now.kill
        change = {"old": {"kill": None}, "new": {"kill": kill}}
        text = f"{kill.actor}: {kill.reason}"
        event("killed", text, actor=kill.actor, reason=kill.reason, **change)
    if before.command and not now.command:
        text = f"the trainer carries out command {before.command.number}: {before.command.kind}"
        event("command_accepted", text, number=before.command.number, command=before.command.kind)
    for version in state.unapplied:
        if _is_applied(version, seen):
            event(
                "change_applied",
                f"version {version} of the settings has reached the trainer",
                version=version,
                settings_version=seen.applied_version,
                ignored=dict(seen.not_applied),
            )
    return (*events, *expiries(before, now, seen.step))


def expiries(before: Settings, now: Settings, step: int) -> tuple[Event, ...]:
    """An event for each override that is gone since `before`."""
    return tuple(
        Event(
            kind="override_expired",
            step=step,
            message=f"override {one.number} returned by itself: {', '.join(one.changes)}",
            data={"number": one.number, "fields": list(one.changes)},
        )
        for one in before.overrides
        if one not in now.overrides
    )
