"""What a monitor knows of a run, as far as a report tells it: gathered at one step.

A run that trains on meanwhile is told up to the step it stood at when the gathering began.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from monitor_service.client.api import MonitorApi
from monitor_service.client.http import ClientError
from monitor_service.diagnose import panels
from monitor_service.engine.events import ALARM_KINDS
from monitor_service.report.alarms import Alarms, followed
from monitor_service.resources import (
    EventView,
    ForecastView,
    OrderView,
    Run,
    StepBins,
    StepRecord,
)

FIELDS = (
    *panels.FIELDS,
    *("acr_wrong", "acr_correct", "acr_other", "loss", "learning_rate", "temperature", "step_s"),
    "applied_version",
)
"""Columns that are asked for."""
FINE_BINS = 2000
"""Most bins of an answer, to find the steps with an injection."""
NUM_SAMPLES = 60
"""Records that are read of a run, evenly from those that are kept."""
MOST_ORDERS = 200
MOST_EVENTS = 100

ALARMS = (*sorted(ALARM_KINDS), "resumed", "ended")
TOLD = (
    *("created", "resumed", "ended", "result", "restored", "override_expired", "command_accepted"),
    *("arming", "health_failed", "gap", "invalid_rewards", "acr_source_fallback"),
)
"""Kinds of events that stand in a report; alarms and orders have sections of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One run of a monitor.

    Attributes:
        version: of the monitor.
        bins: the figures of all steps.
        start: their means over the first tenth; None without a step.
        end: over the last.
        injected: in finer bins, the groups that were injected.
        samples: records of some steps, ascending.
        resumes: the events of new attempts.
        orders: of people, the oldest first; the newest `MOST_ORDERS`.
        events: beside alarms and orders, the oldest first; the newest `MOST_EVENTS`.
        failure: where the health rules failed; "" when they did not.
    """

    version: str
    run: Run
    bins: StepBins
    start: StepBins | None
    end: StepBins | None
    injected: StepBins
    samples: Sequence[StepRecord]
    alarms: Alarms
    resumes: Sequence[EventView]
    orders: Sequence[OrderView]
    events: Sequence[EventView]
    forecast: ForecastView
    failure: str


def gathered(monitor: MonitorApi, run_id: str) -> Story:
    """Everything that a report on this run tells; errors as of `MonitorApi`."""
    # Before the run, so that none of them is later than it.
    alarms = list(monitor.events(run_id, kinds=ALARMS))[::-1]
    run = monitor.run(run_id)
    diagnosis = monitor.diagnosis(run_id)
    last = run.step or None
    bins = monitor.binned(run_id, FIELDS, panels.MOST_BINS, last=last)
    sides = ("injected_wrong", "injected_correct")
    injected = monitor.binned(run_id, sides, FINE_BINS, last=last)
    return Story(
        version=monitor.health().version,
        run=run,
        bins=bins,
        start=_tenth(monitor, bins, is_last=False),
        end=_tenth(monitor, bins, is_last=True),
        injected=injected,
        samples=_samples(monitor, run_id, injected),
        alarms=followed(alarms, run.verdicts),
        resumes=[view for view in alarms if view.event.kind == "resumed"],
        orders=list(islice(monitor.orders(run_id), MOST_ORDERS))[::-1],
        events=list(islice(monitor.events(run_id, kinds=TOLD), MOST_EVENTS))[::-1],
        forecast=monitor.forecast(run_id),
        failure=diagnosis.failure,
    )


def _tenth(monitor: MonitorApi, bins: StepBins, *, is_last: bool) -> StepBins | None:
    """One bin of the first or last tenth of the step numbers."""
    if bins.steps_from is None or bins.steps_to is None:
        return None
    reach = (bins.steps_to - bins.steps_from) // 10
    first = bins.steps_to - reach if is_last else bins.steps_from
    return monitor.binned(bins.run_id, FIELDS, 1, first=first, last=first + reach)


def _samples(monitor: MonitorApi, run_id: str, bins: StepBins) -> list[StepRecord]:
    """Records evenly from the oldest that is kept to the newest, of steps that begin a bin."""
    if bins.steps_from is None or bins.steps_to is None:
        return []
    oldest = next(monitor.steps(run_id, first=bins.steps_from, last=bins.steps_to), None)
    if oldest is None:
        return []
    begun = [int(step or 0) for step in bins.low["step"]]
    known = sorted({oldest.step, *(step for step in begun if step > oldest.step), bins.steps_to})
    chosen = np.unique(np.linspace(0, len(known) - 1, NUM_SAMPLES).round().astype(int))
    return [record for at in chosen if (record := _record(monitor, run_id, known[at]))]


def _record(monitor: MonitorApi, run_id: str, step: int) -> StepRecord | None:
    """The record of a step; None when it was never reported, or has been dropped."""
    try:
        return monitor.step(run_id, step)
    except ClientError as error:
        if error.kind == "step-not-kept":
            return None
        raise
