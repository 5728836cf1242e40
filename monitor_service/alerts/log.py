"""The monitor's own log as a sink: a line for each alert."""

import logging

from monitor_service.alert import Alert
from monitor_service.alerts.sink import Answer
from monitor_service.alerts.telling import RANK

log = logging.getLogger(__name__)


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
