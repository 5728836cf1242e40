"""Which settings fit a step: the newest held, unless they are missing, too old, or not for us."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Literal

from monitor_service.engine.settings import TUNABLE, Settings
from monitor_service.errors import InvalidInput
from trainer.link import Held, WhenUnreachable

MAX_STALE_STEPS = 50
"""Steps that old settings stay in force without a word from the monitor."""
LAGS_KEPT = 10_000

Source = Literal["redis", "http"]

log = logging.getLogger(__name__)


def fitting(
    step: int,
    held: Settings | None,
    *,
    initial: Settings,
    when_unreachable: WhenUnreachable,
    is_superseded: bool,
    is_unreadable: bool,
) -> Held:
    """The settings for one step, with a note where they are not the newest published.

    Args:
        step: number of the generation batch, from 1.
        held: the newest settings that could be read; None before the first.
        initial: what the trainer was configured with.
        when_unreachable: what to do before the first.
        is_superseded: another start of the trainer took the run over.
        is_unreadable: something newer came, and cannot be read.
    """

    def plain(note: str) -> Held:
        return Held(settings=(held or initial).without_interventions(), note=f"{note}: plain GRPO")

    if is_superseded:
        return plain("another start of the trainer took this run over")
    if is_unreadable:
        return plain("the newest settings are unreadable")
    if held is None and when_unreachable == "hold":
        return Held(settings=initial, note="no monitor yet: initial settings")
    if held is None:
        return plain("no monitor yet")
    if is_stale(step, held):
        return plain(f"settings are {step - 1 - held.through_step} steps old")
    return Held(settings=held)


def is_stale(step: int, held: Settings | None) -> bool:
    """Whether settings held are too old to intervene by at this step."""
    return held is not None and step - 1 - held.through_step > MAX_STALE_STEPS


class Holding:
    """The newest settings, whichever way they came, and the steps whose settings are awaited."""

    def __init__(
        self,
        changed: threading.Condition,
        initial: Settings,
        when_unreachable: WhenUnreachable,
    ) -> None:
        """`changed` guards everything here, and is notified of new settings."""
        self._changed = changed
        self._initial = initial
        self._when_unreachable = when_unreachable
        self._held: Settings | None = None
        self._handed_in_at: dict[int, float] = {}
        self._is_stale = False
        self._is_unreadable = False
        self.arrived_by: Counter[str] = Counter()
        """Versions by the way they came first."""
        self.lags_s: deque[float] = deque(maxlen=LAGS_KEPT)

    def begin(self, awaited: Iterable[int]) -> None:
        """Hold nothing; the settings that follow from these steps are to come."""
        with self._changed:
            self._held, self._is_stale, self._is_unreadable = None, False, False
            self._handed_in_at = dict.fromkeys(awaited, time.monotonic())

    def handed_in(self, step: int) -> None:
        """The report of a step is on its way: settings will follow from it."""
        with self._changed:
            self._handed_in_at[step] = time.monotonic()

    def give_up(self, steps: Iterable[int]) -> None:
        """No settings will follow from these steps: their reports were refused, or dropped."""
        with self._changed:
            for step in steps:
                self._handed_in_at.pop(step, None)

    def is_to_come(self, step: int) -> bool:
        """Whether the settings that follow from a step are awaited, and not held yet."""
        is_held = self._held is not None and self._held.through_step >= step
        return not is_held and step in self._handed_in_at

    def fitting(self, step: int, *, is_superseded: bool) -> Held:
        """The settings for a step."""
        with self._changed:
            held, is_unreadable = self._held, self._is_unreadable
        was_stale, self._is_stale = self._is_stale, is_stale(step, held)
        if self._is_stale != was_stale:
            what = "too old, interventions stop" if self._is_stale else "fresh again"
            log.warning("step %d: the settings held are %s", step, what)
        return fitting(
            step,
            held,
            initial=self._initial,
            when_unreachable=self._when_unreachable,
            is_superseded=is_superseded,
            is_unreadable=is_unreadable,
        )

    def announced(self, run_id: str, settings: Settings) -> None:
        """Hold what the monitor answered to the run's start, whatever was held before."""
        kept = [
            f"{name}={getattr(settings, name)}"
            for name in TUNABLE
            if name != "threshold" and getattr(settings, name) != getattr(self._initial, name)
        ]
        if kept:
            what = "run %s is known and keeps its settings: %s; another run_id starts afresh"
            log.warning(what, run_id, ", ".join(kept))
        with self._changed:
            # A monitor that lost its data counts versions from 1 again.
            self._held = None
            self.offer(settings, "http")

    def offer(self, settings: Settings, source: Source) -> None:
        """Hold these settings if they are newer than the ones held.

        Those from Redis only if they are of the run's life and attempt that the monitor announced:
        the key may be another monitor's, or left over.
        """
        now = time.monotonic()
        with self._changed:
            held = self._held
            is_ours = source == "http" or (held is not None and settings.session == held.session)
            is_news = held is None or settings.version > held.version
            if not (is_ours and is_news):
                return
            self._held = settings
            self._is_unreadable = False
            self.arrived_by[source] += 1
            known = [step for step in self._handed_in_at if step <= settings.through_step]
            self.lags_s.extend(now - self._handed_in_at.pop(step) for step in known)
            self._changed.notify_all()

    def cannot_read(self, error: InvalidInput) -> None:
        """What nobody can read may be an order to stop: until it is followed by more, do."""
        log.warning("settings from Redis are unreadable, interventions stop: %s", error)
        self.is_unreadable()

    def is_unreadable(self) -> None:
        """The newest settings cannot be read, wherever they came from."""
        with self._changed:
            self._is_unreadable = True
