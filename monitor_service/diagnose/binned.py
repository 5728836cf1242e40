"""A log's figures in bins of steps, as a monitor answers them for a run."""

import math

import numpy as np

from monitor_service.diagnose.report import Diagnosis
from monitor_service.resources import StepBins
from monitor_service.series import COLUMNS, Table, in_bins

_SHARES = {"all_wrong": "acr_wrong", "all_correct": "acr_correct", "uniform_other": "acr_other"}


def binned(
    one: Diagnosis, bins: int, *, first: float = -math.inf, last: float = math.inf
) -> StepBins:
    """The steps from `first` to `last` in at most so many bins of equal numbers of steps.

    Groups by outcome are shares here, and known only where a log tells the sides of all groups
    without a signal.
    """
    series = one.replay.series
    steps = [step for step in series.steps if first <= step <= last]
    values = {name: series.values.get(name, {}) for name in COLUMNS if name not in _SHARES}
    values |= {name: series.values.get(share, {}) for name, share in _SHARES.items()}
    is_known = not series.is_lower_bound and values["all_wrong"] and values["all_correct"]
    # Where sides are missing, the mixed groups would seem to be all there are.
    sides = values["all_wrong"].keys() & values["all_correct"].keys() if is_known else set()
    values |= {"mixed": {step: 1 - values["acr"][step] for step in sides}}
    if not is_known:
        values |= {name: {} for name in _SHARES}
    known = ["step", *(name for name in COLUMNS if values.get(name))]
    rows = np.full((len(steps), len(COLUMNS)), np.nan)
    rows[:, COLUMNS.index("step")] = steps
    for name in known[1:]:
        rows[:, COLUMNS.index(name)] = [values[name].get(step, np.nan) for step in steps]
    return in_bins(one.path, Table(rows), known, bins, whole=("step",))
