"""Reports of runs that never were: four groups of four completions a step, binary rewards."""

from typing import Any
from uuid import uuid4

from monitor_service.engine.settings import Settings
from monitor_service.monitor import Monitor
from monitor_service.wire import StepReport

MIXED = [1.0, 0.0, 1.0, 0.0]
WRONG = [0.0, 0.0, 0.0, 0.0]
CORRECT = [1.0, 1.0, 1.0, 1.0]


def report(step: int, rewards: Any = (MIXED, MIXED, WRONG, CORRECT), **fields: Any) -> StepReport:
    """A valid report; by default ACR = (1 wrong + 1 correct) / 4 groups = 0.5."""
    groups = [list(group) for group in rewards]
    return StepReport(step=step, rewards=groups, **fields)


def body(step: float, **fields: Any) -> dict[str, Any]:
    """The same as a client writes it."""
    return {"step": step, "rewards": [MIXED, MIXED, WRONG, CORRECT], **fields}


async def recorded(monitor: Monitor, run_id: str, found: StepReport) -> tuple[bool, Settings]:
    """Whether this report was new, and the newest settings; raises the conflict that it met."""
    answer = await monitor.recorder.record(run_id, [found])
    if answer.conflict:
        raise answer.conflict
    return answer.results[0].status == "recorded", answer.settings


def new_run_id() -> str:
    """An id no other test uses, so that tests share a server."""
    return f"run-{uuid4().hex[:12]}"
