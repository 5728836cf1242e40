"""What happens to a run, for people to read."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

KINDS = (
    *("created", "resumed", "ended", "result"),
    *("described", "deleted", "restored"),
    *("settings_changed", "override_added", "override_ended", "override_expired"),
    *("killed", "rearmed", "command_given", "command_accepted", "arming"),
    "change_applied",
    *("alarm_raised", "alarm_updated", "alarm_resolved", "health_failed"),
    *("gap", "invalid_rewards", "acr_source_fallback"),
)
"""Every kind of event there is; older runs may have kept others."""
ALARM_KINDS = frozenset({"alarm_raised", "alarm_updated", "alarm_resolved"})
"""Events that say that a run's alarms have changed."""

AUDITED = frozenset(
    {
        *("settings_changed", "override_added", "override_ended"),
        *("killed", "rearmed", "command_given", "change_applied"),
    }
)
"""Kinds of the audit trail: what people ordered, and the step from which it acted."""


class Event(Struct, frozen=True, kw_only=True):
    """Something worth telling a person.

    Attributes:
        kind: a stable name, one of `KINDS`.
        step: the newest step when it happened.
        message: one sentence.
        data: the numbers behind it.
    """

    kind: str
    step: int
    message: str
    data: Mapping[str, Any]
