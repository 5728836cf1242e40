"""The step that everybody logs: 16 groups of 8 rewards, and a dozen figures beside them."""

from dataclasses import dataclass

import msgspec

from benchmarks.reports import Reports
from monitor_service.engine.collapse import Matrix
from monitor_service.wire import StepReport, observation

GROUPS, SIZE = 16, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        number: from 1.
        figures: name -> value, twelve of them.
        rewards: `[16, 8]`.
        report: the same as our client takes it, with what the trainer applied.
    """

    number: int
    figures: dict[str, float]
    rewards: Matrix
    report: StepReport

    @property
    def group_means(self) -> dict[str, float]:
        """For peers that keep numbers only."""
        return {f"reward_mean/{at:02}": float(one.mean()) for at, one in enumerate(self.rewards)}


def steps(num: int) -> list[Step]:
    """The first `num` steps of a training."""
    reports = Reports(GROUPS, SIZE)
    return [_step(reports.of(number)) for number in range(1, num + 1)]


def _step(report: StepReport) -> Step:
    scalars = msgspec.structs.asdict(report.scalars)
    return Step(
        number=report.step,
        figures={name: value for name, value in scalars.items() if isinstance(value, float)},
        rewards=observation(report).rewards,
        report=report,
    )
