"""An alert, and how the sinks of alerts do: what webhooks get and the REST API shows."""

from typing import Literal

from msgspec import Struct

from monitor_service.engine.health.evidence import Severity


class Alert(Struct, frozen=True, kw_only=True):
    """What a sink is told; the body of a webhook's request."""

    id: str
    """The same in every repetition, and of no other alert."""
    status: Literal["raised", "updated", "resolved", "killed", "rearmed", "locked", "ended", "test"]
    run_id: str
    rule: str | None
    """The health rule; None when it is no alarm."""
    severity: Severity
    """Of the end of an alarm: what it was last told with."""
    step: int
    since_step: int | None
    """First step of the evidence; None when there is none."""
    at_s: float
    """Unix time at which it happened, not at which it is told."""
    message: str
    advice: str
    evidence: dict[str, float | str]
    url: str | None
    """Where the page shows the run; None when the monitor does not know its own address."""


class SinkView(Struct, frozen=True, kw_only=True):
    """A sink of alerts, and how its deliveries go."""

    name: str
    place: str
    """Host and port; the rest of the address may be a secret."""
    delivered_at_s: float | None
    """Unix time of the newest delivery."""
    failed_at_s: float | None
    error: str
    """What went wrong then."""
    pending: int
    """Alerts that wait to be delivered, as far as they were read."""
    outcomes: dict[str, int]
    """Deliveries by how they ended, since the store was new."""


class AlertsView(Struct, frozen=True, kw_only=True):
    """Who is told of alarms."""

    sinks: list[SinkView]
    is_delivering: bool
    """Whether a replica of the monitor is at work on it."""
