"""What the control loop needs from a monitor, near or far; and the one that is near.

`InProcessMonitor` runs the same engine inside the trainer: no service, no network, no history.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
from msgspec.structs import replace

from monitor_service.engine.advance import advance
from monitor_service.engine.changes import with_changes
from monitor_service.engine.settings import TUNABLE, Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import AcrError, InputTooLarge, InvalidInput
from monitor_service.wire import StepReport, observation

WhenUnreachable = Literal["grpo", "hold", "fail"]
WHEN_UNREACHABLE: tuple[WhenUnreachable, ...] = ("grpo", "hold", "fail")
"""What to do while no monitor has answered yet: plain GRPO, the initial settings, or fail."""

log = logging.getLogger(__name__)


class Held(msgspec.Struct, frozen=True, kw_only=True):
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

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, made of what JSON has; may wait for a disk."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept, before `start`.

        What is missing starts afresh; what is unreadable does so with a warning.
        """
        ...


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint keeps of a run in process: its state, and what it was configured with."""

    configured: Settings
    run: RunState


class InProcessMonitor:
    """The engine inside the trainer."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells Unix time in seconds."""
        self._clock = clock
        self._initial = settings
        self._state = RunState(settings=settings)
        self._kept: _Kept | None = None

    def start(self, after_step: int) -> None:
        """Go on with the state that was loaded, if it is of this step or before; else afresh.

        A setting that is configured otherwise than in the checkpoint's run is changed to what is
        configured now. A kill is over: there is nobody to re-arm, but who started the trainer.
        """
        kept, self._kept = self._kept, None
        if kept and kept.run.step > after_step:
            what = "the checkpoint's statistics are of step %d and start afresh after step %d"
            log.warning(what, kept.run.step, after_step)
        elif kept:
            try:
                self._state = _continued(kept, self._initial)
            except InvalidInput as error:
                log.warning("the checkpoint's statistics start afresh: %s", error)
            else:
                return
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

    def state(self) -> dict[str, Any]:  # noqa: D102
        kept = _Kept(configured=self._initial, run=self._state)
        return msgspec.json.decode(msgspec.json.encode(kept), type=dict[str, Any])

    def load(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        if not state:
            return
        try:
            self._kept = msgspec.convert(state, _Kept)
        except msgspec.ValidationError as error:
            log.warning("the checkpoint's statistics are unreadable and start afresh: %s", error)


def _continued(kept: _Kept, configured: Settings) -> RunState:
    """The state that was kept, under what is configured now."""
    run = replace(kept.run, settings=replace(kept.run.settings, kill=None))
    changes = {
        name: value
        for name in TUNABLE
        if (value := getattr(configured, name)) != getattr(kept.configured, name)
    }
    if not changes:
        return run
    told = ", ".join(f"{name}={value}" for name, value in changes.items())
    log.warning("configured otherwise than in the checkpoint's run, and changed: %s", told)
    # A profile brings all of its settings along, so all that is configured has to follow it.
    if "profile" in changes:
        changes = {name: getattr(configured, name) for name in TUNABLE}
    return with_changes(run, changes)
