"""What a replay amounts to: one headline, the verdicts, the figures, and what could not be judged.

A value that text, page and JSON are made from; nothing here formats for a medium.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from monitor_service.diagnose.headline import collapse, headline
from monitor_service.diagnose.log import Log, Problem
from monitor_service.diagnose.numbers import number
from monitor_service.diagnose.replay import Episode, Replay
from monitor_service.diagnose.vocabulary import FIGURES

BASELINE_ROWS = 25
"""Rows that rules need which compare a run with its own start."""

SHOWN = (
    *("reward_mean", "acr", "acr_wrong", "acr_correct", "acr_other", "acr_smoothed"),
    *("entropy", "kl", "grad_norm", "clip_fraction", "completion_length_mean"),
    *("completion_length_max", "truncated_fraction"),
)
TITLES: Mapping[str, str] = {
    **{name: FIGURES[name].title for name in SHOWN if name in FIGURES},
    "acr": "ACR",
    "acr_wrong": "  all wrong",
    "acr_correct": "  all correct",
    "acr_other": "  other value",
    "acr_smoothed": "  ACR, pooled",
}

Status = Literal["judged", "not_a_log", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One figure from start to end; finite numbers."""

    count: int
    first: float
    last: float
    low: float
    low_step: int
    high: float
    high_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One file, judged.

    Attributes:
        headline: what a person should know first.
        worst: the highest severity that stands at the end; None when nothing does. A reward that is
            stuck at its lowest is critical, also where too few completions were seen for a rule.
    """

    path: str
    log: Log
    replay: Replay
    headline: str
    worst: str | None
    ranges: Mapping[str, Range]
    not_judged: tuple[str, ...]
    caveats: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def standing(self) -> list[Episode]:
        """Verdicts that stand at the end, the worst first."""
        return self.replay.standing

    @property
    def resolved(self) -> list[Episode]:
        """Verdicts that were resolved on the way, in the order they were raised."""
        return [one for one in self.replay.episodes if one.resolved is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """One file, or one argument, without a diagnosis."""

    path: str
    status: Status
    reason: str
    line: int | None = None
    column: int | None = None

    @property
    def place(self) -> str:
        """`path:line:column`, as far as known."""
        return ":".join(str(one) for one in (self.path, self.line, self.column) if one is not None)


def diagnosis(log: Log, replayed: Replay) -> Diagnosis:
    """What there is to say about a log."""
    standing = replayed.standing
    severity = standing[0].verdict.severity if standing else None
    has_collapsed = collapse(replayed.series) is not None
    return Diagnosis(
        path=log.path,
        log=log,
        replay=replayed,
        headline=headline(replayed),
        worst="critical" if has_collapsed else severity,
        ranges={
            name: range_of(values) for name in SHOWN if (values := replayed.series.values.get(name))
        },
        not_judged=tuple(_not_judged(replayed)),
        caveats=(*log.caveats, *replayed.series.caveats, *_caveats(log, replayed)),
        problems=tuple(log.problems.values()),
    )


def range_of(values: Mapping[int, float]) -> Range:
    """Start, end and extremes of a figure with at least one value."""
    steps = sorted(values)
    low = min(steps, key=lambda step: values[step])
    high = max(steps, key=lambda step: values[step])
    return Range(
        count=len(steps),
        first=values[steps[0]],
        last=values[steps[-1]],
        low=values[low],
        low_step=low,
        high=values[high],
        high_step=high,
    )


def _not_judged(replayed: Replay) -> list[str]:
    values = replayed.series.values
    missing = [
        ("reward_mean", "the course of the reward"),
        ("entropy", "entropy (collapse, explosion)"),
        ("kl", "KL"),
        ("grad_norm", "the gradient (dead, exploding)"),
        ("completion_length_mean", "completion length"),
        ("truncated_fraction", "truncation"),
        ("clip_fraction", "clipping of the ratio"),
    ]
    absent = [words for name, words in missing if name not in values]
    told = [f"not in this log: {', '.join(absent)}"] if absent else []
    if "acr" not in values:
        told.append(
            "collapse of groups: needs the rewards of every completion with their group, or a "
            "share of groups without signal such as frac_reward_zero_std"
        )
    elif replayed.series.is_lower_bound:
        told.append("the forecast from ACR_100: ACR is only bounded from below here")
    if "acr" in values and "acr_wrong" not in values:
        told.append("stalled against saturated: the side of groups without signal is unknown")
    rows = len(replayed.series.steps)
    if rows < BASELINE_ROWS:
        steps = "1 step" if rows == 1 else f"{rows} steps"
        told.append(f"changes against the run's own start: {steps}, {BASELINE_ROWS} needed")
    return told


def _caveats(log: Log, replayed: Replay) -> list[str]:
    told = []
    steps = replayed.series.steps
    if len(steps) > 2:
        gaps = sorted(after - before for before, after in itertools.pairwise(steps))
        usual = gaps[len(gaps) // 2]
        if usual > 1:
            told.append(f"a row stands for {usual} steps: rules that count steps count rows here")
    if (totals := replayed.totals) is not None and replayed.reward_range is not None:
        low, high = replayed.reward_range.low, replayed.reward_range.high
        if replayed.range_is_guess:
            told.append(
                f"wrong was taken to be a reward of {number(low)} and right {number(high)}, from "
                "the data; --reward-low and --reward-high say otherwise"
            )
        if max(totals.per_step) == 1:
            told.append("one group a step: only rates pooled over steps mean something")
        if 1 in totals.sizes:
            told.append("groups with one completion say nothing and count as unscored")
    if log.num_evaluation_rows:
        told.append(f"{log.num_evaluation_rows} rows of evaluation were left out")
    return told
