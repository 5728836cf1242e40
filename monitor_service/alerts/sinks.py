"""Where alerts go: what a sink is, and the monitor's own log as one."""

import logging
from dataclasses import dataclass
from typing import Literal, Protocol

from monitor_service.alerts.telling import RANK
from monitor_service.resources import Alert

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one try to deliver.

    Attributes:
        outcome: delivered; failed: try again; refused: this alert will never be taken.
        text: what the sink said; holds no secret.
        retry_after_s: how long it wants to be left alone; None when it did not say.
    """

    outcome: Literal["delivered", "failed", "refused"]
    text: str
    retry_after_s: float | None = None


class Sink(Protocol):
    """Somebody to tell."""

    @property
    def name(self) -> str:
        """By which the store and `/metrics` know it; the kind, numbered from the second on."""

    @property
    def place(self) -> str:
        """Where it is, fit to be shown."""

    async def send(self, alert: Alert) -> Answer:
        """Tell it; ends in time, and raises nothing."""


class LogSink:
    """A line in the log for each alert."""

    name = "log"
    place = "the monitor's log"

    async def send(self, alert: Alert) -> Answer:
        """Write the line, as a warning unless it is good news."""
        is_bad = alert.status in ("raised", "updated", "killed", "locked")
        level = logging.WARNING if is_bad and RANK[alert.severity] else logging.INFO
        log.log(
            level,
            "run %s, step %d: %s%s: %s",
            alert.run_id,
            alert.step,
            f"{alert.severity} {alert.rule} " if alert.rule else "",
            alert.status,
            alert.message,
        )
        return Answer(outcome="delivered", text="written")
