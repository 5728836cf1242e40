"""What is wrong with a run, judged anew at every step: (health, vitals) -> (health', events).

The rules are data (`rules`); here they are counted, raised and resolved. An alarm only gets worse
until it ends, and is told again only when it got notably worse. The state keeps the numbers; the
words are made when somebody reads (`words`).
"""

import math
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from monitor_service.engine.arming import Holds
from monitor_service.engine.events import Event
from monitor_service.engine.forecast import NOTHING_YET, FirstHundred
from monitor_service.engine.health.averages import kept
from monitor_service.engine.health.evidence import Evidence, Severity
from monitor_service.engine.health.figures import Seen
from monitor_service.engine.health.rule import Rule
from monitor_service.engine.health.rules import RULE, RULES
from monitor_service.engine.health.trends import NOTHING_SEEN, Trends
from monitor_service.engine.health.vitals import Vitals
from monitor_service.engine.health.words import WORDS

__all__ = [
    "HEALTH_UNKNOWN",
    "RULES",
    "SILENCE_RULE",
    "Alarm",
    "Health",
    "Holds",
    "Verdict",
    "Vitals",
    "examine",
    "holds",
    "silence",
    "told",
]

SPIKE = 5.0
"""Multiple of its running median from which one gradient norm holds every intervention."""
SILENCE_RULE = "reports_stopped"
SILENCE_S = 600.0
"""Seconds without a report that are never called a silence before they have passed."""
SILENCE_STEPS = 10
"""A silence is at least this many typical steps."""
TEXT_LENGTH = 120
"""Characters of a text kept as evidence."""

_RANK: Mapping[Severity, int] = {"critical": 0, "warning": 1, "info": 2}


class Verdict(Struct, frozen=True, kw_only=True):
    """One thing that is wrong, or worth knowing.

    Attributes:
        rule: stable name.
        since_step: first step of the evidence that led to it.
        step: newest step of the evidence.
        cause: one sentence, with the numbers that matter.
        evidence: the numbers.
        advice: what to do.
    """

    rule: str
    severity: Severity
    since_step: int
    step: int
    cause: str
    evidence: Mapping[str, float | str]
    advice: str


class Alarm(Struct, frozen=True, kw_only=True):
    """A raised rule: `told` is its figure when people last heard of it."""

    severity: Severity
    since_step: int
    step: int
    told: float
    evidence: Mapping[str, float | str]


class Health(Struct, frozen=True, kw_only=True):
    """What is remembered between steps; small, since it is stored with each of them.

    Attributes:
        step: the newest step examined; 0 before the first.
        trends: the run's figures.
        first_hundred: for the forecast, and for the rule on it.
        counts: rule -> (steps counted towards raising or resolving it, first step of those).
        raised: rule -> its alarm.
    """

    step: int = 0
    trends: Trends = NOTHING_SEEN
    first_hundred: FirstHundred = NOTHING_YET
    counts: Mapping[str, tuple[int, int]] = {}
    raised: Mapping[str, Alarm] = {}

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What is raised now, most severe first, then oldest first."""
        found = [_verdict(name, alarm) for name, alarm in self.raised.items() if name in RULE]
        return tuple(
            sorted(found, key=lambda found: (_RANK[found.severity], found.since_step, found.rule))
        )

    @property
    def baselines(self) -> dict[str, float]:
        """What figures of the run are compared with, by their names; those that are known."""
        trends = self.trends
        found = {
            "entropy": trends.entropy.baseline,
            "grad_norm": trends.grad_usual,
            "completion_length_mean": trends.length_first,
            "truncated_fraction": trends.truncated_first if trends.truncated_count else None,
        }
        return {name: value for name, value in found.items() if value is not None}


HEALTH_UNKNOWN = Health()
"""The health of a run before its first step."""


def examine(health: Health, vitals: Vitals) -> tuple[Health, tuple[Event, ...]]:
    """Take one step into account. `vitals.step` must be above `health.step`."""
    trends = health.trends.after(vitals)
    first_hundred = health.first_hundred.after(vitals.step, vitals.acr)
    seen = Seen(vitals=vitals, trends=trends, first_hundred=first_hundred)
    counts, raised = dict(health.counts), dict(health.raised)
    events = []
    for rule in RULES:
        figure = rule.read(seen)
        if figure is None:
            continue
        is_watched = rule.name in counts or rule.name in raised
        # As nearly always: nothing is wrong, and nothing is counted.
        if not (is_watched or rule.is_bad(figure)) or not math.isfinite(figure):
            continue
        alarm = raised.get(rule.name)
        counts_on = rule.is_bad(figure) if alarm is None else rule.is_good(figure)
        count, since = counts.pop(rule.name, (0, vitals.step))
        count = count + 1 if counts_on else max(0, count - rule.leak)
        if alarm is None and count >= rule.raise_after:
            raised[rule.name] = _raised(rule, figure, seen, since)
            events.append(_event("alarm_raised", rule.name, raised[rule.name], vitals.step))
        elif alarm is not None and count >= rule.clear_after:
            del raised[rule.name]
            events.append(_event("alarm_resolved", rule.name, alarm, vitals.step))
        else:
            if count:
                counts[rule.name] = (count, since)
            if alarm is not None and rule.is_bad(figure):
                raised[rule.name], is_news = _worse(rule, alarm, figure, seen)
                if is_news:
                    events.append(
                        _event("alarm_updated", rule.name, raised[rule.name], vitals.step)
                    )
    after = Health(
        step=vitals.step,
        trends=trends,
        first_hundred=first_hundred,
        counts=counts,
        raised=raised,
    )
    return after, tuple(events)


def holds(health: Health) -> Holds:
    """What a guarded controller must leave alone for now."""
    stops = ("not_finite", "kl_explosion", "kl_drift", "gradient_explosion")
    everything = next((name for name in stops if name in health.raised), "")
    norms, usual = health.trends.grad_norm, health.trends.grad_usual
    if not everything and norms and usual and norms[-1] > SPIKE * usual:
        everything = "gradient_explosion"
    correct = "entropy_collapse" if "entropy_collapse" in health.raised else ""
    return Holds(everything=everything, correct=correct)


def silence(
    *, last_report_at_s: float, now_s: float, typical_step_s: float | None, step: int
) -> Verdict | None:
    """The verdict that no report brings: none came for too long.

    Args:
        last_report_at_s: Unix time of the newest report.
        now_s: Unix time now.
        typical_step_s: what a step of this run usually takes; None when unknown.
        step: the newest step reported.
    """
    quiet_s = now_s - last_report_at_s
    bound_s = max(SILENCE_S, SILENCE_STEPS * (typical_step_s or 0.0))
    if not quiet_s > bound_s:
        return None
    evidence: dict[str, float | str] = {"quiet_s": kept(quiet_s), "bound_s": kept(bound_s)}
    if typical_step_s:
        evidence["typical_step_s"] = kept(typical_step_s)
    alarm = Alarm(severity="critical", since_step=step, step=step, told=quiet_s, evidence=evidence)
    return _verdict(SILENCE_RULE, alarm)


def _raised(rule: Rule, figure: float, seen: Seen, since: int) -> Alarm:
    evidence = _evidence(rule, seen)
    return Alarm(
        severity=_severity(rule, figure, evidence),
        since_step=since,
        step=seen.vitals.step,
        told=kept(figure),
        evidence=evidence,
    )


def _worse(rule: Rule, alarm: Alarm, figure: float, seen: Seen) -> tuple[Alarm, bool]:
    """The alarm with newer evidence, and whether that is worth telling."""
    evidence = _evidence(rule, seen)
    severity = min(_severity(rule, figure, evidence), alarm.severity, key=_RANK.__getitem__)
    is_news = severity != alarm.severity or rule.is_notably_worse(figure, alarm.told)
    told = kept(figure) if is_news else alarm.told
    newer = Alarm(
        severity=severity,
        since_step=alarm.since_step,
        step=seen.vitals.step,
        told=told,
        evidence=evidence,
    )
    return newer, is_news


def _severity(rule: Rule, figure: float, evidence: Evidence) -> Severity:
    graded = WORDS[rule.name].grade(evidence, rule.severity)
    return "critical" if rule.is_critical(figure) else graded


def _evidence(rule: Rule, seen: Seen) -> dict[str, float | str]:
    """What the words of this rule need, fit to be stored."""
    found: dict[str, float | str] = {}
    for name, value in WORDS[rule.name].evidence(seen).items():
        if isinstance(value, str):
            found[name] = value[:TEXT_LENGTH]
        elif value is not None and math.isfinite(value):
            found[name] = kept(value)
    return found


def _verdict(name: str, alarm: Alarm) -> Verdict:
    words = WORDS[name]
    return Verdict(
        rule=name,
        severity=alarm.severity,
        since_step=alarm.since_step,
        step=alarm.step,
        cause=words.cause(alarm.evidence),
        evidence=alarm.evidence,
        advice=words.advice(alarm.evidence),
    )


def _event(kind: str, name: str, alarm: Alarm, step: int) -> Event:
    found = _verdict(name, alarm)
    if kind == "alarm_resolved":
        message = f"{name} is over: it was raised since step {alarm.since_step}"
        return replace(told(kind, found), step=step, message=message)
    return replace(told(kind, found), step=step)


def told(kind: str, found: Verdict) -> Event:
    """A verdict as an event, with its cause for a message."""
    data: dict[str, Any] = {
        "rule": found.rule,
        "severity": found.severity,
        "since_step": found.since_step,
        "evidence": dict(found.evidence),
        "advice": found.advice,
    }
    return Event(kind=kind, step=found.step, message=found.cause, data=data)
