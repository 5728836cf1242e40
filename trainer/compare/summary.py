"""From the results of the cells to what may be said about the arms."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trainer.compare.paired import (
    CONFIDENCE,
    Difference,
    Mean,
    differences,
    evaluation_noise,
    mean,
)
from trainer.compare.plan import Plan
from trainer.compare.results import Result, Score

LATE = 0.2
"""Share of the steps, at the end, that "late" means."""

MAX_NAMED = 6
"""Cells that have not run and are named."""

_Value = Callable[[Result], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Something measured once per cell.

    Attributes:
        title: for people, with its unit.
        value: None where it was not measured.
        more: what more of it is: better, or just higher; None: it is shown and not compared.
        k: of pass@k; 0: the greedy answer; None: not counted per problem.
    """

    title: str
    value: _Value
    more: Literal["better", "higher"] | None = None
    k: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An arm against the baseline in one figure."""

    figure: str
    arm: str
    difference: Difference
    evaluation_noise: float | None
    """See `paired.evaluation_noise`; None for figures that are not counted per problem."""
    reading: str
    """What may be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm over its seeds."""

    name: str
    seeds: list[int]
    """Finished."""
    figures: dict[str, Mean]
    """Those that every finished seed has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a comparison found."""

    name: str
    title: str
    question: str
    baseline: str
    confidence: float
    num_cells: int
    num_finished: int
    figures: dict[str, str]
    """Titles by name, in the order to show them."""
    arms: list[Arm]
    comparisons: list[Comparison]
    notes: list[str]
    """What a reader must know before believing the rest."""


def figures_of(plan: Plan) -> dict[str, Figure]:
    """What is shown and compared, in order."""
    k = sorted(plan.evaluate.k)
    shown = list(dict.fromkeys((k[0], k[-1])))
    return {
        "accuracy": Figure(
            title="accuracy", value=_after(lambda s: s.accuracy), more="better", k=0
        ),
        "gain": Figure(title="gain", value=_gain),
        **{
            f"pass@{each}": Figure(
                title=f"pass@{each}",
                value=_after(lambda s, each=each: float(s.per_problem(each).mean())),  # type: ignore[misc]
                more="better",
                k=each,
            )
            for each in shown
        },
        "acr": Figure(title="ACR, late", value=_late("acr"), more="higher"),
        "acr_wrong": Figure(title="wrong", value=_late("acr_wrong")),
        "acr_correct": Figure(title="correct", value=_late("acr_correct")),
        "acr_effective": Figure(title="effective", value=_late("acr_effective")),
        "entropy": Figure(title="entropy", value=_after(lambda s: s.entropy), more="higher"),
        "injected": Figure(title="injected", value=lambda r: sum(r.series.injected_groups)),
        "completions": Figure(title="generated", value=lambda r: sum(r.series.completions)),
        "seconds": Figure(title="seconds", value=lambda r: sum(r.series.seconds)),
    }


def summarise(plan: Plan, found: Mapping[tuple[str, int], Result]) -> Summary:
    """Judge what is finished.

    Args:
        plan: the plan.
        found: (arm, seed) -> result; failed ones count as missing and are named in the notes.
    """
    done = {at: result for at, result in found.items() if result.error is None}
    figures = figures_of(plan)
    by_arm = {
        arm: {seed: done[arm, seed] for seed in plan.seeds if (arm, seed) in done}
        for arm in plan.arms
    }
    arms = []
    for name, results in by_arm.items():
        means = {
            figure: mean(values)
            for figure, what in figures.items()
            if (values := _known(what.value(result) for result in results.values()))
            and len(values) == len(results)
        }
        arms.append(Arm(name=name, seeds=list(results), figures=means))
    comparisons = [
        comparison
        for name, what in figures.items()
        if what.more
        for comparison in _compared(name, what, by_arm, plan.baseline)
    ]
    return Summary(
        name=plan.name,
        title=plan.title or plan.name,
        question=plan.question,
        baseline=plan.baseline,
        confidence=CONFIDENCE,
        num_cells=len(plan.arms) * len(plan.seeds),
        num_finished=len(done),
        figures={name: what.title for name, what in figures.items()},
        arms=arms,
        comparisons=comparisons,
        notes=_notes(plan, found, by_arm, comparisons),
    )


_ByArm = Mapping[str, Mapping[int, Result]]


def _compared(name: str, what: Figure, by_arm: _ByArm, baseline: str) -> list[Comparison]:
    """All arms in one figure: a family of comparisons, corrected together."""
    pairs: dict[str, list[tuple[Result, Result]]] = {}
    samples: list[list[float]] = []
    for arm, results in by_arm.items():
        both = [
            (result, by_arm[baseline][seed])
            for seed, result in results.items()
            if arm != baseline and seed in by_arm[baseline]
        ]
        measured = [
            (own, base, one, other)
            for one, other in both
            if (own := what.value(one)) is not None and (base := what.value(other)) is not None
        ]
        if measured:
            pairs[arm] = [(one, other) for _, _, one, other in measured]
            samples.append([own - base for own, base, _, _ in measured])
    return [
        Comparison(
            figure=name,
            arm=arm,
            difference=difference,
            evaluation_noise=_noise(what, pairs[arm]),
            reading=reading(difference, what),
        )
        for arm, difference in zip(pairs, differences(samples), strict=True)
    ]


def reading(difference: Difference, what: Figure) -> str:
    """The verdict in words, never more than the interval allows."""
    words = {
        "higher": "better" if what.more == "better" else "higher",
        "lower": "worse" if what.more == "better" else "lower",
        "none shown": "no difference shown",
        "too few seeds": "not judged: fewer than two pairs",
        "no spread": "not judged: the same difference in every seed",
        "identical": "identical in every seed",
    }
    text = words[difference.verdict]
    p_value = difference.p_value
    if difference.verdict == "none shown" and p_value is not None and p_value < 1 - CONFIDENCE:
        text = "not shown after correction"
    return text


def _noise(what: Figure, pairs: Sequence[tuple[Result, Result]]) -> float | None:
    if what.k is None or any(one.problems_sha256 != other.problems_sha256 for one, other in pairs):
        return None
    scores = [(one.after, other.after) for one, other in pairs]
    return evaluation_noise(
        [
            (own.per_problem(what.k or None), base.per_problem(what.k or None))
            for own, base in scores
            if own and base
        ]
    )


def _notes(
    plan: Plan,
    found: Mapping[tuple[str, int], Result],
    by_arm: _ByArm,
    comparisons: Sequence[Comparison],
) -> list[str]:
    notes = []
    missing = [cell.name for cell in plan.cells() if (cell.arm, cell.seed) not in found]
    if missing:
        names = ", ".join(missing[:MAX_NAMED]) + (", ..." if len(missing) > MAX_NAMED else "")
        notes.append(f"{len(missing)} cells have not run: {names}")
    notes += [
        f"{result.arm}-{result.seed} failed: {result.error}"
        for result in found.values()
        if result.error is not None
    ]
    for attribute, what in (
        ("weights_sha256", "Not paired: {} began from other weights than"),
        ("problems_sha256", "Not paired: {} answered other problems than"),
        ("data_sha256", "Other data: {} drew other training prompts than"),
    ):
        unlike = [
            f"{result.arm}-{result.seed}"
            for results in by_arm.values()
            for seed, result in results.items()
            if (base := by_arm[plan.baseline].get(seed))
            and getattr(result, attribute) != getattr(base, attribute)
        ]
        if unlike:
            notes.append(f"{what.format(', '.join(unlike))} {plan.baseline} of the same seed.")
    done = [result for results in by_arm.values() for result in results.values()]
    if len({tuple(sorted(result.versions.items())) for result in done}) > 1:
        notes.append("The cells ran with different versions; the result files say which.")
    if comparisons:
        num_figures = len({comparison.figure for comparison in comparisons})
        notes.append(
            f"{len(comparisons)} comparisons in {num_figures} figures: accuracy is the question, "
            "the others describe."
        )
    return notes


def _after(value: Callable[[Score], float | None]) -> _Value:
    return lambda result: value(result.after) if result.after else None


def _gain(result: Result) -> float | None:
    if result.before is None or result.after is None:
        return None
    return result.after.accuracy - result.before.accuracy


def _late(name: str) -> _Value:
    def value(result: Result) -> float | None:
        column = getattr(result.series, name)
        late = _known(column[len(column) - max(1, round(LATE * len(column))) :])
        return math.fsum(late) / len(late) if late else None

    return value


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
