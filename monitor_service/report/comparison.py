"""Runs beside each other: their figures at equal steps, and their curves in the same charts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitor_service.client.api import MonitorApi
from monitor_service.diagnose import panels, plots
from monitor_service.diagnose.binned import binned
from monitor_service.diagnose.markup import Cell, facts, paragraph, table
from monitor_service.diagnose.report import Diagnosis
from monitor_service.diagnose.svg import NUM_RUNS
from monitor_service.resources import StepBins

MOST = NUM_RUNS
"""Runs beside each other, the one that the report is on included."""

FIGURES = (
    ("reward_mean", "reward"),
    ("acr", "ACR"),
    ("acr_wrong", "wrong"),
    ("acr_correct", "correct"),
    ("acr_effective", "effective"),
    ("entropy", "entropy"),
    ("kl", "KL"),
    ("grad_norm", "grad norm"),
    ("completion_length_mean", "length"),
    ("truncated_fraction", "cut"),
)
"""Columns of the table."""

_CHARTS = (
    ("acr_smoothed", "ACR, pooled"),
    ("reward_mean", "Reward"),
    ("entropy", "Entropy, nats per token"),
    ("kl", "KL, nats per token"),
)
_STYLES = ("solid", "dashed", "dotted")
NO_EVIDENCE = (
    "A difference between two single runs is no evidence: with another seed, each of these figures "
    "would be another, and nobody can tell from here by how much. acr-train compare trains several "
    "seeds of each arm, pairs them and says which differences hold (docs/compare.md)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One of the runs.

    Attributes:
        name: of the run, or path of the log.
        headline: how it stands.
        bins: the figures of all its steps.
        window: (first step, last step) -> the figures between, in one bin.
    """

    name: str
    headline: str
    bins: StepBins
    window: Callable[[int, int], StepBins]


def of_run(monitor: MonitorApi, run_id: str) -> Contender:
    """A run of a monitor; errors as of `MonitorApi`."""
    run = monitor.run(run_id)
    fields = [name for name, _ in (*FIGURES, *_CHARTS)]
    return Contender(
        name=run_id,
        headline=run.headline,
        bins=monitor.binned(run_id, fields, panels.MOST_BINS, last=run.step or None),
        window=lambda first, last: monitor.binned(run_id, fields, 1, first=first, last=last),
    )


def of_log(one: Diagnosis) -> Contender:
    """A log."""
    return Contender(
        name=one.path,
        headline=one.headline,
        bins=binned(one, panels.MOST_BINS),
        window=lambda first, last: binned(one, 1, first=first, last=last),
    )


def compared(contenders: Sequence[Contender]) -> str:
    """The section on these; asks for what lies between the steps that all of them have."""
    return "".join(
        (
            "<h2>Beside other runs</h2>",
            paragraph(NO_EVIDENCE),
            facts((one.name, one.headline) for one in contenders),
            _table(contenders),
            "<h3>Over the steps</h3>",
            plots.side_by_side(_chart(contenders, name, title) for name, title in _CHARTS),
        )
    )


def _table(contenders: Sequence[Contender]) -> str:
    ends = [(one.bins.steps_from, one.bins.steps_to) for one in contenders]
    known = [(first, last) for first, last in ends if first is not None and last is not None]
    first = max((first for first, _ in known), default=1)
    last = min((last for _, last in known), default=0)
    if len(known) < len(contenders) or last < first:
        text = "There is no step that all of them have, so no figures are put beside each other."
        return paragraph(text)
    start = last - (last - first) // 10
    windows = [one.window(start, last) for one in contenders]
    chosen = [
        (name, title)
        for name, title in FIGURES
        if any(_mean(window, name) is not None for window in windows)
    ]
    rows: list[tuple[Cell, ...]] = [
        (one.name, one.bins.steps_to, *(_mean(window, name) for name, _ in chosen))
        for one, window in zip(contenders, windows, strict=True)
    ]
    head = ("run", "last step", *(title for _, title in chosen))
    about = f"Means of the steps {start} to {last}, the last tenth of those that all have."
    return paragraph(about, "soft") + table("Figures beside each other", head, rows)


def _mean(window: StepBins, name: str) -> float | None:
    found = window.columns.get(name)
    return found[0] if found else None


def _chart(contenders: Sequence[Contender], name: str, title: str) -> str:
    curves = [
        curve
        for index, one in enumerate(contenders)
        if (curve := panels.curve_of(one.bins, _line(one.name, name, index))) is not None
    ]
    if not curves:
        return ""
    ends = [
        end
        for one in contenders
        for end in (one.bins.steps_from, one.bins.steps_to)
        if end is not None
    ]
    chart = plots.Chart(
        title=title,
        steps=(float(min(ends)), float(max(ends))),
        curves=curves,
        is_share=name.startswith("acr"),
        has_key=True,
    )
    return plots.figure(chart)


def _line(label: str, name: str, index: int) -> panels.Line:
    return panels.Line(
        column=name,
        label=label,
        colour=f"run-{index}",
        style=_STYLES[index % len(_STYLES)],
        has_range=False,
    )
