"""What of a run's events a sink is told: (place, events) -> (alerts, place'). Pure.

An alarm is told when it is raised, told again when it got notably worse, and its end is told once
it stayed away for `quiet_s`. One that comes back sooner is the same alarm: neither its end nor its
return is told, unless it comes back worse. So a flapping alarm is one alert, and the last thing
people heard is always what is so.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from monitor_service.alert import Alert
from monitor_service.alerts.config import AlertConfig
from monitor_service.engine.events import Event
from monitor_service.engine.health.alarms import SILENCE_RULE
from monitor_service.engine.health.evidence import Severity
from monitor_service.store.alerts import Entry, Place, Told
from monitor_service.store.redis import TimedEvent

RANK: Mapping[Severity, int] = {"info": 0, "warning": 1, "critical": 2}
_ORDERS: Mapping[str, tuple[Literal["killed", "rearmed", "locked", "ended"], Severity]] = {
    "killed": ("killed", "warning"),
    "rearmed": ("rearmed", "info"),
    "arming": ("locked", "warning"),
    "ended": ("ended", "info"),
}
"""Kind of an event that is no alarm -> what it is told as."""

_SINCE: Mapping[str, str] = {"resumed": "resumed", "created": "begun anew", "ended": "ended"}
"""Kind of an event by which alarms end -> what the run has done."""


class _Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the data of an event say that matters here."""

    rule: str | None = None
    severity: Severity = "info"
    since_step: int | None = None
    evidence: dict[str, float | str] = {}
    advice: str = ""
    alarms: list[str] = []
    """Those still raised after a resume."""
    stage: str = ""
    old: dict[str, Any] = {}


def heard(
    run_id: str, place: Place, entries: Iterable[Entry], now_s: float, config: AlertConfig
) -> tuple[list[tuple[Alert, Place]], Place]:
    """What to tell a sink that has got to `place`.

    Returns:
        The alerts in order, each with the place once it is told; and the place after all of them
        and all entries.
    """
    found: list[tuple[Alert, Place]] = []
    for entry in entries:
        if entry.timed is not None:
            place = _settled(place, entry.timed.at_s, config.quiet_s, found)
            alert, place = _after(run_id, place, entry.id, entry.timed, config)
            place = replace(place, cursor=entry.id)
            if alert is not None:
                found.append((alert, place))
        place = replace(place, cursor=entry.id)
    return found, _settled(place, now_s, config.quiet_s, found)


def without(place: Place, rule: str | None) -> Place:
    """The place of a sink that knows nothing of an alarm."""
    return replace(place, alarms={name: one for name, one in place.alarms.items() if name != rule})


def _settled(place: Place, at_s: float, quiet_s: float, found: list[tuple[Alert, Place]]) -> Place:
    """Tell the end of the alarms that stayed away until `at_s`."""
    for rule, told in place.alarms.items():
        if told.over is not None and told.over.at_s + quiet_s <= at_s:
            place = without(place, rule)
            found.append((told.over, place))
    return place


def _after(
    run_id: str, place: Place, entry_id: str, timed: TimedEvent, config: AlertConfig
) -> tuple[Alert | None, Place]:
    event = timed.event
    try:
        facts = msgspec.convert(event.data, _Facts)
    except msgspec.ValidationError:
        return None, place  # Not an event of this version's.
    alert = Alert(
        id=f"{run_id}:{entry_id}",
        status="raised",
        run_id=run_id,
        rule=facts.rule,
        severity=facts.severity,
        step=event.step,
        since_step=facts.since_step,
        at_s=timed.at_s,
        message=event.message,
        advice=facts.advice,
        evidence=facts.evidence,
        url=config.public_url and f"{config.public_url}/#/runs/{run_id}",
    )
    if event.kind in ("alarm_raised", "alarm_updated"):
        return _raised(place, alert, is_update=event.kind == "alarm_updated", config=config)
    for rule in _ended(place, event, facts):
        end = alert
        if event.kind != "alarm_resolved":  # Several alarms may end with one such event.
            text = f"{rule} is over, for the run has {_SINCE[event.kind]}: {event.message}"
            end = replace(alert, id=f"{alert.id}:{rule}", message=text)
        place = _with_end(place, rule, end)
    if event.kind in _ORDERS and _is_news(event, facts):
        status, severity = _ORDERS[event.kind]
        if status in config.also:
            return replace(alert, status=status, severity=severity), place
    return None, place


def _raised(
    place: Place, alert: Alert, *, is_update: bool, config: AlertConfig
) -> tuple[Alert | None, Place]:
    if alert.rule is None or RANK[alert.severity] < RANK[config.min_severity]:
        return None, place
    told = place.alarms.get(alert.rule)
    known = Told(severity=alert.severity, since_step=alert.since_step)
    if told is None:
        return alert, _with(place, alert.rule, known)
    is_worse = RANK[alert.severity] > RANK[told.severity]
    if is_worse or (is_update and told.over is None):
        return replace(alert, status="updated"), _with(place, alert.rule, known)
    return None, _with(place, alert.rule, replace(told, over=None))


def _ended(place: Place, event: Event, facts: _Facts) -> list[str]:
    """The told alarms that an event ends."""
    if event.kind == "alarm_resolved":
        ended = {facts.rule}
    elif event.kind in ("resumed", "created"):
        # The run has gone back to before they were raised, or is another of the same name.
        ended = {rule for rule in place.alarms if rule not in facts.alarms}
    else:
        ended = {SILENCE_RULE} if event.kind == "ended" else set()
    return [rule for rule, told in place.alarms.items() if rule in ended and told.over is None]


def _with_end(place: Place, rule: str, alert: Alert) -> Place:
    told = place.alarms[rule]
    over = replace(
        alert,
        status="resolved",
        rule=rule,
        severity=told.severity,
        since_step=told.since_step,
        advice="",
    )
    return _with(place, rule, replace(told, over=over))


def _with(place: Place, rule: str, told: Told) -> Place:
    return replace(place, alarms={**place.alarms, rule: told})


def _is_news(event: Event, facts: _Facts) -> bool:
    """Whether a kill changed something, and a move of the controller is one that people end."""
    if event.kind == "killed":
        return not facts.old.get("kill")
    return event.kind != "arming" or facts.stage == "locked"
