"""Whether everything acknowledged is stored, once: asked of the API, run by run."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from monitor_service.retention import DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the monitor holds of what it acknowledged, over all runs.

    Attributes:
        acknowledged: reports.
        counted: by the runs' counters.
        listed: records in the runs' histories.
        lost: acknowledged steps that a counter or a history lacks.
        twice: steps that a counter or a history has once too often.
        wrong_runs: ids of the runs that are not as they should be.
    """

    acknowledged: int
    counted: int
    listed: int
    lost: int
    twice: int
    wrong_runs: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether everything is stored, once."""
        return not self.wrong_runs


def verify(url: str, acknowledged: Mapping[str, int]) -> Kept:
    """Compare what every run holds with what was sent.

    Args:
        url: of the monitor.
        acknowledged: run id -> n; exactly the steps 1 to n were sent, and acknowledged. A history
            holds of them what retention keeps by default, the counter all.
    """
    counted = listed = lost = twice = 0
    wrong = []
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        for run_id, newest in acknowledged.items():
            counter = _answer(http, f"/v1/runs/{run_id}")["counters"]["steps"]
            found = Counter(_history(http, run_id))
            due = Counter(s for s in range(1, newest + 1) if DEFAULT.keeps_record(s, newest))
            missing = max((due - found).total(), newest - counter)
            surplus = max((found - due).total(), counter - newest)
            if missing or surplus:
                wrong.append(run_id)
            counted, listed = counted + counter, listed + found.total()
            lost, twice = lost + missing, twice + surplus
    return Kept(
        acknowledged=sum(acknowledged.values()),
        counted=counted,
        listed=listed,
        lost=lost,
        twice=twice,
        wrong_runs=tuple(wrong),
    )


def _history(http: httpx.Client, run_id: str) -> Iterator[int]:
    """The steps that the run's history lists, page by page."""
    first: int | None = 1
    while first:
        page = _answer(http, f"/v1/runs/{run_id}/steps?from={first}")
        yield from (record["step"] for record in page["steps"])
        first = page["next_from"]


def _answer(http: httpx.Client, path: str) -> Any:
    reply = http.get(path)
    reply.raise_for_status()
    return reply.json()
