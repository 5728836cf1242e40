"""One synthetic run through the real engine, under every law.

The loop is open: what is injected has no effect on later rewards, so all laws see the same run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.control.laws import LAWS, Law
from benchmarks.control.scenarios import Scenario, rewards
from monitor_service.engine.advance import advance
from monitor_service.engine.collapse import Matrix
from monitor_service.engine.events import Event
from monitor_service.engine.ledger import NOTHING_INJECTED
from monitor_service.engine.plan import Context, plan
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import Observation, RunState, StepFigures

Steps = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run to simulate: `groups` is N, `run` its number from 0."""

    scenario: Scenario
    groups: int
    run: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """What of a law's decisions reaches the optimizer, over a whole run.

    Attributes:
        group_share: injected groups among all groups, in [0, 1].
        mass_share: injected share of the sum of |A|, in [0, 1].
        most_groups: largest pooled share of groups at any step, which the cap is on.
        most_mass: largest pooled share of the sum of |A| at any step.
    """

    group_share: float
    mass_share: float
    most_groups: float
    most_mass: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What one law did in one run.

    Attributes:
        triggered: `[T]` whether it said to inject.
        threshold: `[T]` tau after each step.
        is_locked: whether it ended locked.
        injected: for laws that are planned.
    """

    triggered: Steps
    threshold: Matrix
    is_locked: bool
    injected: Injected | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run under every law.

    Attributes:
        acr: `[T]` raw ACR of each step.
        signs: `[T]` sign of the change of the mean reward, 0 at the first step.
        paths: law -> what it did.
        alarms: (rule, step) for each alarm that was raised; the same under every law.
    """

    task: Task
    acr: Matrix
    signs: npt.NDArray[np.int8]
    paths: Mapping[str, Path]
    alarms: tuple[tuple[str, int], ...]


def simulate(task: Task) -> Trial:
    """Take one run through the engine once for each law."""
    batches = rewards(task.scenario, steps=task.steps, groups=task.groups, run=task.run)
    laws = [law for law in LAWS if law.differs_at(task.groups)]
    followed = {law.name: _followed(law, batches) for law in laws}
    # What is measured does not depend on the law.
    _, record, events = followed[laws[-1].name]
    means = [figures.reward_mean or 0.0 for figures in record]
    return Trial(
        task=task,
        acr=np.array([figures.acr for figures in record]),
        signs=np.sign(np.diff(means, prepend=means[:1])).astype(np.int8),
        paths={name: path for name, (path, _, _) in followed.items()},
        alarms=tuple(
            (event.data["rule"], event.step) for event in events if event.kind == "alarm_raised"
        ),
    )


def _followed(law: Law, batches: Matrix) -> tuple[Path, Sequence[StepFigures], Sequence[Event]]:
    """What a law did in a run, and the engine's record of it."""
    state = RunState(settings=law.settings)
    account = Account()
    record: list[StepFigures] = []
    told: list[Event] = []
    for step, batch in enumerate(batches, start=1):
        if law.is_planned:
            account.book(batch, state.settings, step)
        state, figures, events = advance(state, Observation(step=step, rewards=batch), now_s=0.0)
        record.append(figures)
        told += events
    path = Path(
        triggered=np.array([figures.triggered for figures in record]),
        threshold=np.array([figures.threshold_next for figures in record]),
        is_locked=state.settings.arming.stage == "locked",
        injected=account.total if law.is_planned else None,
    )
    return path, record, told


class Account:
    """What a trainer would inject, booked step by step as a trainer books it."""

    def __init__(self) -> None:
        self._ledger = NOTHING_INJECTED
        self._groups = self._injected = 0
        self._virtual = self._healthy = self._most_groups = self._most_mass = 0.0

    def book(self, batch: Matrix, settings: Settings, step: int) -> None:
        """Decide about one more batch, by the settings in force at this step."""
        context = Context(ledger=self._ledger)
        decided = plan(batch, settings, step=step, context=context)
        self._ledger = decided.booked(self._ledger, context, is_injected=True)
        self._groups += len(batch)
        self._injected += int(np.count_nonzero(decided.is_injected))
        self._virtual += decided.virtual_mass
        self._healthy += decided.healthy_mass
        self._most_groups = max(self._most_groups, self._ledger.group_fraction)
        self._most_mass = max(self._most_mass, self._ledger.mass_fraction)

    @property
    def total(self) -> Injected:
        """Over all steps so far."""
        mass = self._virtual + self._healthy
        return Injected(
            group_share=self._injected / self._groups,
            mass_share=self._virtual / mass if mass else 0.0,
            most_groups=self._most_groups,
            most_mass=self._most_mass,
        )
