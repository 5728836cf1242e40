"""What the control loop needs from a monitor, near or far; and the one that is near.

`InProcessMonitor` runs the same engine inside the trainer: no service, no network, no history.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from monitor_service.engine.advance import advance
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import AcrError, InputTooLarge
from monitor_service.wire import StepReport, observation

WhenUnreachable = Literal["grpo", "hold", "fail"]
WHEN_UNREACHABLE: tuple[WhenUnreachable, ...] = ("grpo", "hold", "fail")
"""What to do while no monitor has answered yet: plain GRPO, the initial settings, or fail."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The settings for one step.

    Attributes:
        settings: what to apply.
        note: why these are not the newest the monitor published, when they are not.
    """

    settings: Settings
    note: str | None = None


class MonitorUnreachable(AcrError):
    """No monitor answers at the start, and the caller chose to fail then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStats:
    """What became of the reports, and how fast the loop closed.

    Attributes:
        results: reports by outcome: recorded, duplicate, conflict, rejected, dropped.
        settings_from: versions of the settings by the way they arrived first: redis, http.
        lags_s: seconds from handing in a report to holding settings that know it; the newest
            ten thousand.
    """

    results: Mapping[str, int]
    settings_from: Mapping[str, int]
    lags_s: tuple[float, ...]


class MonitorLink(Protocol):
    """A monitor, as the trainer's rank 0 sees it; once started, no method raises."""

    def start(self, after_step: int) -> None:
        """Announce that training continues after this step (0: from the beginning).

        The one place that may raise, when the caller asked for a monitor or nothing.
        """
        ...

    def settings_for(self, step: int, wait_s: float) -> Held:
        """The newest settings held; waits at most `wait_s` for those through `step - 1`."""
        ...

    def submit(self, report: StepReport) -> bool:
        """Queue a report. Never blocks, never raises; False when one was dropped."""
        ...

    def close(self) -> None:
        """Deliver what is queued, within a bound, and let go."""
        ...


class InProcessMonitor:
    """The engine inside the trainer."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells Unix time in seconds."""
        self._clock = clock
        self._initial = settings
        self._state = RunState(settings=settings)

    def start(self, after_step: int) -> None:  # noqa: D102 - the Protocol documents it
        settings = replace(self._initial, through_step=after_step)
        self._state = RunState(settings=settings, step=after_step, attempts=((1, after_step),))

    def settings_for(self, step: int, wait_s: float) -> Held:  # noqa: D102
        return Held(settings=self._state.settings)

    def submit(self, report: StepReport) -> bool:  # noqa: D102
        try:
            self._state, _, _ = advance(self._state, observation(report), now_s=self._clock())
        except InputTooLarge as error:
            log.warning("step %d is not taken into account: %s", report.step, error)
            return False
        return True

    def close(self) -> None:  # noqa: D102
        return
