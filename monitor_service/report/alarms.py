"""The alarms of a run, each from the step it rose at to the step it was over, from its events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from monitor_service.diagnose.replay import SEVERITIES, Episode, by_urgency
from monitor_service.engine.events import Event
from monitor_service.engine.health.alarms import SILENCE_RULE, Verdict
from monitor_service.resources import EventView


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """What was raised.

    Attributes:
        episodes: in the order they were raised.
        num_replaced: alarms of steps that a later attempt did over again; not in `episodes`.
    """

    episodes: Sequence[Episode]
    num_replaced: int

    @property
    def standing(self) -> list[Episode]:
        """What is raised now, the worst first."""
        return by_urgency(one for one in self.episodes if one.resolved is None)

    @property
    def resolved(self) -> list[Episode]:
        """What is over, the newest first."""
        return [one for one in reversed(self.episodes) if one.resolved is not None]


def followed(views: Iterable[EventView], verdicts: Sequence[Verdict]) -> Alarms:
    """The alarms behind these events, the oldest first; `verdicts` stand now."""
    told = [view.event for view in views]
    counting = _counting(told)
    episodes: list[Episode] = []
    for event in counting:
        standing = [one for one in episodes if one.resolved is None]
        its = [one for one in standing if one.verdict.rule == event.data.get("rule")]
        match event.kind:
            case "alarm_raised" | "alarm_updated":
                if not its:
                    its = [Episode(_verdict(event), "info", raised=event.step)]
                    episodes += its
                _tell(its[0], _verdict(event))
            case "alarm_resolved":
                _end(its, event.step)
            case "resumed":
                # Silence, which no step raised.
                still = event.data["alarms"]
                _end([one for one in standing if one.verdict.rule not in still], event.step)
            case "ended":
                _end([one for one in standing if one.verdict.rule == SILENCE_RULE], event.step)
    _end_with(episodes, verdicts)
    return Alarms(episodes=episodes, num_replaced=_num_raised(told) - _num_raised(counting))


def _counting(told: Iterable[Event]) -> list[Event]:
    """Without those of steps that a later attempt did over again."""
    counting: list[Event] = []
    for event in told:
        if event.kind == "resumed":
            counting = [one for one in counting if one.step <= event.step]
        counting.append(event)
    return counting


def _num_raised(told: Iterable[Event]) -> int:
    return sum(event.kind == "alarm_raised" for event in told)


def _end(episodes: Iterable[Episode], step: int) -> None:
    for one in episodes:
        one.resolved = step


def _verdict(event: Event) -> Verdict:
    data = event.data
    return Verdict(
        rule=data["rule"],
        severity=data["severity"],
        since_step=data["since_step"],
        step=event.step,
        cause=event.message,
        evidence=data["evidence"],
        advice=data["advice"],
    )


def _tell(episode: Episode, verdict: Verdict) -> None:
    episode.verdict = verdict
    episode.worst = max(episode.worst, verdict.severity, key=SEVERITIES.index)


def _end_with(episodes: list[Episode], verdicts: Sequence[Verdict]) -> None:
    """What stands now is known without events, which are not kept for ever."""
    for verdict in verdicts:
        its = [one for one in episodes if one.verdict.rule == verdict.rule]
        if not its or its[-1].resolved is not None:
            its = [Episode(verdict, "info", raised=verdict.since_step)]
            episodes += its
        _tell(its[-1], verdict)
    now = {verdict.rule for verdict in verdicts}
    for one in episodes:
        if one.resolved is None and one.verdict.rule not in now:
            one.resolved = one.verdict.step
    episodes.sort(key=lambda one: one.raised)
