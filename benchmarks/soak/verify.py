"""Whether everything acknowledged is stored, once: asked of the API, run by run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from monitor_service.retention import DEFAULT

PAGE_STEPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the monitor holds of what it acknowledged, over all runs.

    Attributes:
        acknowledged: reports.
        counted: by the runs' counters.
        listed: records in the histories.
        lost: acknowledged steps that a history lacks, of those that retention keeps, or that a
            counter lacks.
        twice: steps that a history lists again, or that a counter counts beyond what was sent.
        wrong_runs: ids of the runs concerned.
    """

    acknowledged: int
    counted: int
    listed: int
    lost: int
    twice: int
    wrong_runs: tuple[str, ...]


def verify(url: str, acknowledged: Mapping[str, int]) -> Kept:
    """Compare what every run holds with the steps 1 to n that were acknowledged of it."""
    counted = listed = lost = twice = 0
    wrong = []
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        for run_id, newest in acknowledged.items():
            counter = _answer(http, f"/v1/runs/{run_id}")["counters"]["steps"]
            steps = Counter(_history(http, run_id))
            kept = {step for step in range(1, newest + 1) if DEFAULT.keeps_record(step, newest)}
            missing = max(len(kept - steps.keys()), newest - counter)
            surplus = max(steps.total() - len(steps), counter - newest)
            # A report whose answer did not arrive before the end may be stored all the same.
            surplus -= len(steps.keys() - kept) if surplus else 0
            if missing > 0 or surplus > 0:
                wrong.append(run_id)
            counted, listed = counted + counter, listed + steps.total()
            lost, twice = lost + max(0, missing), twice + max(0, surplus)
    return Kept(
        acknowledged=sum(acknowledged.values()),
        counted=counted,
        listed=listed,
        lost=lost,
        twice=twice,
        wrong_runs=tuple(wrong),
    )
