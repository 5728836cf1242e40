"""The page of `acr diagnose`: each log with its verdicts, charts and figures."""

from collections.abc import Sequence

from monitor_service.diagnose import panels, plots, timeline
from monitor_service.diagnose.binned import binned
from monitor_service.diagnose.episodes import cards, marks, rows
from monitor_service.diagnose.markup import badge, document, listed, paragraph, table, text
from monitor_service.diagnose.report import TITLES, Diagnosis, Skipped
from monitor_service.diagnose.sentences import (
    ABOUT_ACR,
    forecast_lines,
    problem_lines,
    read_lines,
)


def of(judged: Sequence[Diagnosis], skipped: Sequence[Skipped]) -> str:
    """The page on these files. Needs matplotlib; see `svg.missing`."""
    body = [_contents(judged)] if len(judged) > 1 else []
    body += [section(one, f"log-{index}") for index, one in enumerate(judged)]
    return document("diagnose", [*body, _skipped(skipped)])


def section(one: Diagnosis, anchor: str) -> str:
    """What there is to say about one log."""
    bins = binned(one, panels.MOST_BINS)
    episodes, steps = one.replay.episodes, one.replay.series.steps
    return "\n".join(
        (
            f'<section id="{anchor}"><h2>{text(one.path)}</h2>',
            paragraph(one.headline, f"headline {one.worst or 'ok'}"),
            cards("Standing at the end", one.standing),
            cards("Raised earlier, resolved", one.resolved),
            "<h3>Over the steps</h3>",
            panels.about(bins, has_alarms=bool(marks(episodes))),
            plots.side_by_side(
                (
                    timeline.figure("Alarms", rows(episodes, steps[-1]), (steps[0], steps[-1])),
                    *map(plots.figure, panels.of(bins, marks(episodes), one.replay.baselines)),
                )
            ),
            _figures(one),
            listed("Forecast", forecast_lines(one)),
            listed("Not judged", one.not_judged),
            listed("Notes", one.caveats),
            listed("Problems of the file", problem_lines(one)),
            listed("What was read", read_lines(one)),
            "</section>",
        )
    )


def _contents(judged: Sequence[Diagnosis]) -> str:
    rows = "".join(
        f'<li>{badge(one.worst)} <a href="#log-{index}">{text(one.path)}</a><br>'
        f"{text(one.headline)}</li>"
        for index, one in enumerate(judged)
    )
    return f"<nav><h2>{len(judged)} logs</h2><ul>{rows}</ul></nav>"


def _figures(one: Diagnosis) -> str:
    if not one.ranges:
        return ""
    rows = [
        (
            *(TITLES[name].strip(), found.first, found.last, found.low, found.low_step),
            *(found.high, found.high_step, one.replay.series.keys.get(name, "")),
        )
        for name, found in one.ranges.items()
    ]
    head = ("figure", "first", "last", "lowest", "at step", "highest", "at step", "key")
    about = paragraph(f"{ABOUT_ACR}.", "soft") if "acr" in one.ranges else ""
    return f"<h3>Figures</h3>{about}{table('Figures', head, rows)}"


def _skipped(skipped: Sequence[Skipped]) -> str:
    titles = {"unreadable": "Could not be read", "not_a_log": "Not a log"}
    shown = "".join(
        listed(title, [f"{one.place}: {one.reason}" for one in skipped if one.status == status])
        for status, title in titles.items()
    )
    return f"<section>{shown}</section>" if shown else ""
