"""What happens to a run, for people to read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = (
    *("created", "resumed", "ended", "result"),
    *("settings_changed", "override_added", "override_ended", "override_expired"),
    *("killed", "rearmed", "command_given", "command_accepted", "arming"),
    *("alarm_raised", "alarm_updated", "alarm_resolved", "health_failed"),
    *("gap", "invalid_rewards", "acr_source_fallback"),
)
"""Every kind of event there is; older runs may have kept others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
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
