"""What the first hundred steps of a run say about its accuracy in the end.

    ACR_100 = mean ACR of steps 1 to 100;    accuracy = 0.514 - 0.296 * ACR_100

(arXiv 2605.21125: r = -0.785, R2 = 0.617.) The paper gives no residual spread. The interval here
follows from slope, r and R2 once a spread of ACR_100 is assumed: slope = r * sd_y / sd_x, so

    residual sd = |slope| * sd_x * sqrt(1 - R2) / |r|

and sd_x = 1/sqrt(12), as if ACR_100 were even over [0, 1], is the widest that is plausible. With
enough finished runs of one's own, ordinary least squares on those replaces the paper's line.

Accuracies are fractions in [0, 1]. Left out: everything but ACR_100, so the kind of collapse too.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

NUM_STEPS = 100
MIN_STEPS = 80
"""Of the first hundred steps, how many must have been scored: without 20 of them the sampling
error of the mean is 12 % larger (1/sqrt(0.8)), with half of them missing it would be 41 %."""

PAPER_INTERCEPT = 0.514
PAPER_SLOPE = -0.296
PAPER_R = -0.785
PAPER_R2 = 0.617
ASSUMED_SPREAD = 1 / math.sqrt(12)
"""Standard deviation of ACR_100 among the paper's runs, which it does not publish."""

MIN_RUNS = 10
"""Own runs for a fit: its interval is then 19 % wider than that of a line known exactly; with 5
runs 57 %."""
MIN_SPREAD = 0.1
"""Standard deviation of ACR_100 among them. Below it the slope would be noise: with the paper's
residual spread, 10 runs and 0.1 its standard error is 0.22, against a slope of 0.30."""

NORMAL_95 = 1.6448536269514722
"""Normal quantile that leaves 5 % on one side: every interval here covers 90 %."""

PAPER_SCOPE = (
    "MATH-500 after 500 steps of GRPO on Qwen2.5 models of 0.5B to 7B, sampled at temperature "
    "0.6; one paper, its runs counted as 140 in the draft and 245 in the final version"
)
CAVEAT = (
    "ACR_100 cannot tell data that is too easy from data that is too hard: look at ACR_correct "
    "and ACR_wrong before acting on it"
)


class FirstHundred(Struct, frozen=True, kw_only=True):
    """What is remembered of steps 1 to 100; a value that does not grow.

    >>> seen = FirstHundred()
    >>> for step in range(1, 101):
    ...     seen = seen.after(step, 0.4 if step % 2 else 0.2)
    >>> seen.acr_100
    0.3
    """

    num_steps: int = 0
    """Of the first hundred steps, those with a scored group."""
    total: float = 0.0
    """Sum of their ACR."""
    through_step: int = 0
    """The newest step seen, up to 100."""

    def after(self, step: int, acr: float | None) -> "FirstHundred":
        """With one more step, in order; `acr` is None when nothing was scored."""
        if self.through_step >= NUM_STEPS:
            return self
        counts = step <= NUM_STEPS and acr is not None
        return FirstHundred(
            num_steps=self.num_steps + counts,
            total=self.total + (acr if counts and acr is not None else 0.0),
            through_step=min(step, NUM_STEPS),
        )

    @property
    def acr_100(self) -> float | None:
        """Mean ACR of steps 1 to 100; None before step 100, or with too few of them scored."""
        if self.through_step < NUM_STEPS or self.num_steps < MIN_STEPS:
            return None
        return round(self.total / self.num_steps, 12)


NOTHING_YET = FirstHundred()


class FinishedRun(Struct, frozen=True, kw_only=True):
    """A run whose accuracy is known.

    Attributes:
        acr_100: in [0, 1].
        accuracy: fraction in [0, 1], after training.
        benchmark: what it was measured on; runs are only compared on the same one.
    """

    acr_100: float
    accuracy: float
    benchmark: str


class Forecast(Struct, frozen=True, kw_only=True):
    """Expected accuracy at the end, with its 90 % interval; fractions in [0, 1].

    Attributes:
        ready: whether ACR_100 is known; else `acr_100` and the next three are None.
        steps_seen: of the first hundred, those with a scored group.
        num_runs: own finished runs behind the line; 0 when it is the paper's.
        benchmark: what the accuracy is measured on.
        scope: where the line comes from, and so for what it may hold.
        why: why this line, and how the interval came about.
    """

    ready: bool
    steps_seen: int
    acr_100: float | None
    expected: float | None
    low: float | None
    high: float | None
    source: Literal["paper", "own runs"]
    num_runs: int
    benchmark: str
    scope: str
    caveat: str
    why: str


class Line(Struct, frozen=True, kw_only=True):
    """A straight line through finished runs, and how far a new run may lie from it."""

    intercept: float
    slope: float
    residual_sd: float
    num_runs: int
    mean_x: float
    sum_squares_x: float
    """Sum of squared deviations of ACR_100 from its mean."""

    def at(self, acr_100: float) -> tuple[float, float, float]:
        """(expected, low, high), a 90 % prediction interval; not clipped."""
        expected = self.intercept + self.slope * acr_100
        spread = 1 + 1 / self.num_runs + (acr_100 - self.mean_x) ** 2 / self.sum_squares_x
        half = student_95(self.num_runs - 2) * self.residual_sd * math.sqrt(spread)
        return expected, expected - half, expected + half


def paper_accuracy(acr_100: float) -> float:
    """The paper's line, as a fraction.

    >>> [round(paper_accuracy(acr), 5) for acr in (0, 0.28, 0.5, 1)]
    [0.514, 0.43112, 0.366, 0.218]
    """
    return PAPER_INTERCEPT + PAPER_SLOPE * acr_100


def paper_residual_sd() -> float:
    """Spread of accuracy around the paper's line, as derived above.

    >>> round(paper_residual_sd(), 4)
    0.0674
    """
    return abs(PAPER_SLOPE) * ASSUMED_SPREAD * math.sqrt(1 - PAPER_R2) / abs(PAPER_R)


def student_95(degrees: int) -> float:
    """Quantile of Student's t that leaves 5 % on one side.

    Expansion 26.7.5 of Abramowitz and Stegun, "Handbook of Mathematical Functions"; from
    8 degrees of freedom on it is good to 4 decimals.

    >>> [round(student_95(degrees), 4) for degrees in (8, 10, 30)]
    [1.8595, 1.8125, 1.6973]
    """
    x = NORMAL_95
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + math.fsum(term / degrees**order for order, term in enumerate(terms, start=1))


def fitted(runs: Sequence[FinishedRun]) -> Line | None:
    """Least squares through these runs; None when they are too few or too much alike."""
    num_runs = len(runs)
    if num_runs < MIN_RUNS:
        return None
    mean_x = math.fsum(run.acr_100 for run in runs) / num_runs
    mean_y = math.fsum(run.accuracy for run in runs) / num_runs
    squares = math.fsum((run.acr_100 - mean_x) ** 2 for run in runs)
    if math.sqrt(squares / (num_runs - 1)) < MIN_SPREAD:
        return None
    slope = math.fsum((run.acr_100 - mean_x) * (run.accuracy - mean_y) for run in runs) / squares
    intercept = mean_y - slope * mean_x
    residuals = math.fsum((run.accuracy - intercept - slope * run.acr_100) ** 2 for run in runs)
    return Line(
        intercept=intercept,
        slope=slope,
        residual_sd=math.sqrt(residuals / (num_runs - 2)),
        num_runs=num_runs,
        mean_x=mean_x,
        sum_squares_x=squares,
    )


def forecast(
    first_hundred: FirstHundred,
    results: Sequence[FinishedRun] = (),
    *,
    benchmark: str | None = None,
) -> Forecast:
    """The accuracy to expect of a run.

    Args:
        first_hundred: what the run has shown so far.
        results: one's own finished runs.
        benchmark: which accuracy is asked for; by default the one most of `results` were
            measured on.
    """
    if benchmark is None and results:
        benchmark = Counter(run.benchmark for run in results).most_common(1)[0][0]
    same = [run for run in results if run.benchmark == benchmark]
    acr_100 = first_hundred.acr_100
    line = fitted(same)
    expected, low, high = (None, None, None) if acr_100 is None else _at(acr_100, line)
    return Forecast(
        ready=acr_100 is not None,
        steps_seen=first_hundred.num_steps,
        acr_100=acr_100,
        expected=expected,
        low=low,
        high=high,
        source="paper" if line is None else "own runs",
        num_runs=0 if line is None else line.num_runs,
        benchmark="MATH-500" if line is None or benchmark is None else benchmark,
        scope=PAPER_SCOPE if line is None else _own_scope(line, benchmark),
        caveat=CAVEAT,
        why=_why(first_hundred, line, same),
    )


def _at(acr_100: float, line: Line | None) -> tuple[float, float, float]:
    """(expected, low, high), clipped to [0, 1]."""
    if line is None:
        expected = paper_accuracy(acr_100)
        half = NORMAL_95 * paper_residual_sd()
        low, high = expected - half, expected + half
    else:
        expected, low, high = line.at(acr_100)
    return _fraction(expected), _fraction(low), _fraction(high)


def _fraction(value: float) -> float:
    return min(1.0, max(0.0, value))


def _own_scope(line: Line, benchmark: str | None) -> str:
    return (
        f"{line.num_runs} finished runs of your own on {benchmark}; it holds for runs like those, "
        f"whose mean ACR_100 was {line.mean_x:.2f}"
    )


def _why(first_hundred: FirstHundred, line: Line | None, same: Sequence[FinishedRun]) -> str:
    """Why this line was taken, what its interval rests on, and what is missing."""
    if line is not None:
        basis = (
            f"Least squares through {line.num_runs} of your own runs (accuracy = "
            f"{line.intercept:.3f} {line.slope:+.3f} * ACR_100, residual spread "
            f"{line.residual_sd:.3f}); the interval is a 90 % prediction interval with Student's t."
        )
    else:
        if len(same) < MIN_RUNS:
            missing = f"{len(same)} finished runs of your own are known, {MIN_RUNS} are needed"
        else:
            missing = f"ACR_100 of your own runs varies by less than {MIN_SPREAD} (std)"
        basis = (
            f"The paper's line, since {missing} for a fit. It comes without a spread: the 90 % "
            f"interval, +-{NORMAL_95 * paper_residual_sd():.3f}, follows from its slope, r and R2 "
            "if its runs had ACR_100 spread evenly over [0, 1]; that assumption is ours, and wide."
        )
    if first_hundred.acr_100 is not None:
        return basis
    if first_hundred.through_step >= NUM_STEPS:
        return (
            f"No forecast: {first_hundred.num_steps} of the first {NUM_STEPS} steps were scored, "
            f"{MIN_STEPS} are needed. {basis}"
        )
    return (
        f"No forecast before step {NUM_STEPS}: {first_hundred.num_steps}/{NUM_STEPS} seen. {basis}"
    )
