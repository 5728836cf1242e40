"""A log through the engine, step by step, as if the run had reported to the monitor.

Left out, because a log does not hold it: what was injected, settings, and how they arrived.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from monitor_service.diagnose.log import Log
from monitor_service.diagnose.series import Collapse, Series, seen_range, series_of
from monitor_service.engine.collapse import Groups, Outcome, RewardRange, judge, matrix
from monitor_service.engine.forecast import NOTHING_YET, FirstHundred, Forecast, forecast
from monitor_service.engine.health.alarms import Health, Verdict, examine
from monitor_service.engine.health.vitals import Vitals
from monitor_service.engine.smoothing import NOTHING_SEEN, Rates

SEVERITIES = ("info", "warning", "critical")


@dataclass(slots=True)
class Episode:
    """One verdict from the step it was raised at to the step it was resolved at.

    Attributes:
        verdict: as it was last told.
        worst: the highest severity it reached.
        raised: step it was first told at; its cause may have begun earlier.
        resolved: step it was gone at; None when it stood at the end.
    """

    verdict: Verdict
    worst: str
    raised: int
    resolved: int | None = None


def by_urgency(episodes: Iterable[Episode]) -> list[Episode]:
    """The worst first, among equals the oldest."""
    return sorted(
        episodes, key=lambda one: (-SEVERITIES.index(one.verdict.severity), one.verdict.since_step)
    )


@dataclass(slots=True)
class GroupTotals:
    """All groups of a log by outcome."""

    num_groups: int = 0
    num_completions: int = 0
    num_invalid: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    sizes: set[int] = field(default_factory=set)
    per_step: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Replay:
    """What the engine said about a log.

    Attributes:
        series: with the rates of groups added to `values` as acr, acr_wrong and so on.
        episodes: in the order they were raised.
        totals: None for a log without groups.
        reward_range: the one groups were judged with.
        range_is_guess: whether it was taken from the data.
        baselines: what figures are compared with at the end; those that are known.
    """

    series: Series
    episodes: list[Episode]
    forecast: Forecast | None
    totals: GroupTotals | None
    reward_range: RewardRange | None
    range_is_guess: bool
    baselines: Mapping[str, float]

    @property
    def standing(self) -> list[Episode]:
        """What was raised and not resolved, the worst first."""
        return by_urgency(one for one in self.episodes if one.resolved is None)


def replay(log: Log, declared: RewardRange | None) -> Replay:
    """Judge a log from its first step to its last."""
    series = series_of(log, declared)
    reward_range = declared or (seen_range(log) if log.groups else None)
    totals = GroupTotals() if log.groups else None
    episodes: list[Episode] = []
    standing: dict[str, Episode] = {}
    health, hundred = Health(), NOTHING_YET
    for vitals in _vitals(log, series, reward_range, totals):
        health, _ = examine(health, vitals)
        _follow(vitals.step, health.verdicts, standing, episodes)
        hundred = _counted(hundred, vitals, first=series.steps[0])
        _remember(series, vitals)
    has_rate = not series.is_lower_bound and "acr" in series.values
    return Replay(
        series=series,
        episodes=episodes,
        forecast=forecast(hundred) if has_rate else None,
        totals=totals,
        reward_range=reward_range,
        range_is_guess=declared is None and bool(log.groups),
        baselines=health.baselines,
    )


def _vitals(
    log: Log, series: Series, reward_range: RewardRange | None, totals: GroupTotals | None
) -> Iterator[Vitals]:
    memory = NOTHING_SEEN
    for step in series.steps:
        vitals = _measured(step, series)
        if step in log.groups:
            groups = _judged(log, step, reward_range)
            memory = memory.after(groups)
            series.weights[step] = int(groups.sizes.sum())
            if totals is not None:
                _add(totals, groups)
            vitals = _with_groups(vitals, groups, memory.rates)
        elif (row := series.collapse.get(step)) is not None:
            memory = memory.blended(
                row.acr,
                row.num_groups,
                wrong=row.wrong or 0.0,
                correct=row.correct or 0.0,
            )
            vitals = _with_row(vitals, row, memory.rates, is_counted=series.num_groups_known)
        elif (rates := memory.rates) is not None:
            knows = any(one.wrong is not None for one in series.collapse.values()) or log.groups
            vitals = replace(vitals, pooled=rates if knows else _without_sides(rates))
        yield vitals


def _measured(step: int, series: Series) -> Vitals:
    def at(name: str) -> float | None:
        return series.values.get(name, {}).get(step)

    return Vitals(
        step=step,
        reward_mean=at("reward_mean"),
        components={
            name: column[step] for name, column in series.components.items() if step in column
        },
        entropy=at("entropy"),
        kl=at("kl"),
        grad_norm=at("grad_norm"),
        clip_fraction=at("clip_fraction"),
        completion_length_mean=at("completion_length_mean"),
        completion_length_max=at("completion_length_max"),
        truncated_fraction=at("truncated_fraction"),
        learning_rate=at("learning_rate"),
        temperature=at("temperature"),
        non_finite=series.non_finite.get(step, ()),
    )


def _judged(log: Log, step: int, reward_range: RewardRange | None) -> Groups:
    rewards = matrix([list(group) for group in log.groups[step].values()])
    return judge(rewards, reward_range=reward_range or RewardRange())


def _with_groups(vitals: Vitals, groups: Groups, pooled: Rates | None) -> Vitals:
    return replace(
        vitals,
        num_groups=groups.num_scored,
        acr=groups.acr,
        acr_wrong=groups.share(Outcome.ALL_WRONG),
        acr_correct=groups.share(Outcome.ALL_CORRECT),
        acr_other=groups.share(Outcome.UNIFORM_OTHER),
        pooled=pooled,
        reward_mean=groups.mean_reward,
        reward_is_degenerate=groups.is_degenerate,
    )


def _with_row(vitals: Vitals, row: Collapse, pooled: Rates | None, *, is_counted: bool) -> Vitals:
    other = None
    if row.wrong is not None and row.correct is not None:
        other = max(0.0, row.acr - row.wrong - row.correct)
    elif pooled is not None:
        pooled = _without_sides(pooled)
    return replace(
        vitals,
        num_groups=row.num_groups if is_counted else 0,
        acr=row.acr,
        acr_wrong=row.wrong,
        acr_correct=row.correct,
        acr_other=other,
        pooled=pooled,
    )


def _without_sides(rates: Rates) -> Rates:
    return replace(rates, wrong=None, correct=None)


def _add(totals: GroupTotals, groups: Groups) -> None:
    totals.num_groups += len(groups.outcomes)
    totals.num_completions += int(groups.sizes.sum())
    totals.num_invalid += groups.num_invalid
    totals.sizes.update(int(size) for size in groups.sizes)
    totals.per_step.add(len(groups.outcomes))
    for outcome in Outcome:
        name = outcome.name.lower()
        totals.outcomes[name] = totals.outcomes.get(name, 0) + groups.count(outcome)


def _counted(hundred: FirstHundred, vitals: Vitals, *, first: int) -> FirstHundred:
    """The first hundred steps, counted from 1 also where a log counts from 0."""
    return hundred.after(vitals.step + (1 if first == 0 else 0), vitals.acr)


def _follow(
    step: int,
    verdicts: tuple[Verdict, ...],
    standing: dict[str, Episode],
    episodes: list[Episode],
) -> None:
    now: Mapping[str, Verdict] = {verdict.rule: verdict for verdict in verdicts}
    for rule in [rule for rule in standing if rule not in now]:
        standing.pop(rule).resolved = step
    for rule, verdict in now.items():
        episode = standing.get(rule)
        if episode is None:
            episode = standing[rule] = Episode(verdict, verdict.severity, raised=step)
            episodes.append(episode)
        episode.verdict = verdict
        episode.worst = max(episode.worst, verdict.severity, key=SEVERITIES.index)


def _remember(series: Series, vitals: Vitals) -> None:
    """Keep what the engine computed, for the report."""
    computed: dict[str, float | None] = {
        "acr": vitals.acr,
        "acr_wrong": vitals.acr_wrong,
        "acr_correct": vitals.acr_correct,
        "acr_other": vitals.acr_other,
        "acr_smoothed": None if vitals.pooled is None else vitals.pooled.acr,
        "wrong_smoothed": None if vitals.pooled is None else vitals.pooled.wrong,
        "correct_smoothed": None if vitals.pooled is None else vitals.pooled.correct,
        "reward_mean": vitals.reward_mean,
    }
    for name, value in computed.items():
        if value is not None and not (series.is_partial and name.endswith("_smoothed")):
            series.values.setdefault(name, {})[vitals.step] = value
