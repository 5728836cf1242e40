"""Alarms from the step they were raised at to the step they were over, as pages show them."""

from collections.abc import Iterable, Sequence

from monitor_service.diagnose.markup import paragraph, text
from monitor_service.diagnose.numbers import number
from monitor_service.diagnose.plots import Mark
from monitor_service.diagnose.replay import Episode
from monitor_service.diagnose.sentences import advice_of
from monitor_service.diagnose.timeline import Row


def cards(title: str, episodes: Sequence[Episode]) -> str:
    """Each with its cause and advice, under a heading; nothing without one."""
    advice = advice_of([one.verdict for one in episodes])
    shown = "".join(map(_card, episodes, advice))
    return f"<h3>{title}</h3>{shown}" if shown else ""


def rows(episodes: Iterable[Episode], newest: int) -> list[Row]:
    """A row of a timeline for each rule, in the order they were raised first."""
    found: dict[str, list[Episode]] = {}
    for episode in episodes:
        found.setdefault(episode.verdict.rule, []).append(episode)
    return [
        Row(
            label=rule,
            spans=[
                (
                    one.raised,
                    newest if one.resolved is None else one.resolved,
                    one.worst,
                )
                for one in its
            ],
            told=", ".join(map(span, its)),
        )
        for rule, its in found.items()
    ]


def marks(episodes: Iterable[Episode]) -> list[Mark]:
    """Where alarms rose that are more than information."""
    return [
        Mark(step=episode.raised, colour=episode.worst)
        for episode in episodes
        if episode.worst != "info"
    ]


def span(episode: Episode) -> str:
    """From which step to which."""
    since = episode.verdict.since_step
    if episode.resolved is None:
        return f"since step {since}, raised at {episode.raised}"
    return f"steps {since} to {episode.resolved}, raised at {episode.raised}"


def _card(episode: Episode, advice: str) -> str:
    verdict, severity = episode.verdict, episode.worst
    evidence = ", ".join(
        f"{name} {value if isinstance(value, str) else number(value)}"
        for name, value in verdict.evidence.items()
    )
    return (
        f'<div class="verdict {severity}"><b>{severity} · {text(verdict.rule)}</b> · '
        f"{span(episode)}{paragraph(verdict.cause)}{paragraph(advice)}"
        f"{paragraph(evidence, 'soft')}</div>"
    )
