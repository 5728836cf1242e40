"""A report as one HTML page that needs nothing else: no script, no font, no network."""

from collections.abc import Iterable, Sequence
from html import escape

from monitor_service.diagnose import plots
from monitor_service.diagnose.numbers import number
from monitor_service.diagnose.replay import Episode
from monitor_service.diagnose.report import TITLES, Diagnosis, Skipped
from monitor_service.diagnose.sentences import (
    ABOUT_ACR,
    forecast_lines,
    printable,
    problem_lines,
    read_lines,
)

missing = plots.missing

START = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="generator" content="acr diagnose">'
)
"""What every page begins with, and no other file."""

_STYLE = """
:root { --paper: #ffffff; --ink: #1d2430; --soft: #5b6675; --line: #d8dde5; --grid: #e6e9ee;
  --main: #1f5fbf; --second: #8aa4c8; --wrong: #c2410c; --correct: #15803d; --other: #7c6f64;
  --warning: #b45309; --critical: #b91c1c; --info: #0e7490; --good: #15803d; --card: #f6f7f9; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --ink: #e6e9ee; --soft: #9aa5b4;
  --line: #2c3440; --grid: #262d37; --main: #6ea8ff; --second: #57708f; --wrong: #fb923c;
  --correct: #4ade80; --other: #b6a999; --warning: #fbbf24; --critical: #f87171; --info: #67e8f9;
  --good: #4ade80; --card: #1a2029; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 0; overflow-wrap: anywhere; }
h3 { font-size: .95rem; margin: 1.4rem 0 .4rem; color: var(--soft); font-weight: 600; }
section { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1.5rem; }
.headline { font-size: 1.05rem; margin: .3rem 0 0; }
.badge { display: inline-block; min-width: 4.6rem; font-size: .8rem; font-weight: 700; }
.critical { color: var(--critical); } .warning { color: var(--warning); }
.info { color: var(--info); } .ok { color: var(--good); }
.verdict { background: var(--card); border-left: 3px solid currentColor; padding: .6rem .9rem;
  margin: .5rem 0; } .verdict p { color: var(--ink); margin: .25rem 0 0; }
.verdict .soft { color: var(--soft); font-size: .9rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
.wide { overflow-x: auto; } th, td { text-align: right; padding: .18rem .8rem .18rem 0; }
th:last-child, td:last-child, th:first-child, td:first-child { text-align: left; white-space: pre; }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line); }
ul { margin: .2rem 0; padding-left: 1.2rem; } li { overflow-wrap: anywhere; }
nav li { list-style: none; margin: .25rem 0; } nav ul { padding: 0; }
a { color: var(--main); } svg { width: 100%; height: auto; display: block; }
svg text { font-family: system-ui, sans-serif !important; }
code { font-size: .9em; overflow-wrap: anywhere; }
"""


def of(judged: Sequence[Diagnosis], skipped: Sequence[Skipped]) -> str:
    """The page on these files. Needs matplotlib; see `missing`."""
    parts = [
        START,
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>acr diagnose</title><style>{_STYLE}</style></head><body>",
        "<h1>acr diagnose</h1>",
    ]
    if len(judged) > 1:
        parts.append(_contents(judged))
    parts.extend(_section(index, one) for index, one in enumerate(judged))
    parts.append(_skipped(skipped))
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _contents(judged: Sequence[Diagnosis]) -> str:
    rows = "".join(
        f'<li>{_badge(one.worst)} <a href="#log-{index}">{escape(printable(one.path))}</a><br>'
        f"{escape(one.headline)}</li>"
        for index, one in enumerate(judged)
    )
    return f"<nav><h3>{len(judged)} logs</h3><ul>{rows}</ul></nav>"


def _badge(severity: str | None) -> str:
    return f'<span class="badge {severity or "ok"}">{severity or "ok"}</span>'


def _section(index: int, one: Diagnosis) -> str:
    parts = [
        f'<section id="log-{index}"><h2>{escape(printable(one.path))}</h2>',
        f'<p class="headline {one.worst or "ok"}">{escape(one.headline)}</p>',
    ]
    if one.standing:
        parts.append("<h3>Standing at the end</h3>")
        parts.extend(_verdict(episode) for episode in one.standing)
    if one.resolved:
        parts.append("<h3>Raised earlier, resolved</h3>")
        parts.extend(_verdict(episode) for episode in one.resolved)
    parts.append(f"<h3>Over the steps</h3>{plots.svg(one)}")
    parts.append(_table(one))
    for title, lines in (
        ("Forecast", forecast_lines(one)),
        ("Not judged", one.not_judged),
        ("Notes", one.caveats),
        ("Problems of the file", problem_lines(one)),
        ("What was read", read_lines(one)),
    ):
        parts.append(_list(title, lines))
    parts.append("</section>")
    return "\n".join(parts)


def _verdict(episode: Episode) -> str:
    verdict = episode.verdict
    severity = episode.worst
    span = (
        f"since step {verdict.since_step}, raised at {episode.raised}"
        if episode.resolved is None
        else f"steps {verdict.since_step} to {episode.resolved}, raised at {episode.raised}"
    )
    evidence = ", ".join(
        f"{name} {value if isinstance(value, str) else number(value)}"
        for name, value in verdict.evidence.items()
    )
    return (
        f'<div class="verdict {severity}"><b>{severity} · {escape(verdict.rule)}</b> · {span}'
        f"<p>{escape(verdict.cause)}</p>"
        f"<p>{escape(verdict.advice)}</p>"
        f'<p class="soft">{escape(evidence)}</p></div>'
    )


def _table(one: Diagnosis) -> str:
    rows = "".join(
        f"<tr><td>{escape(TITLES[name])}</td><td>{number(found.first)}</td>"
        f"<td>{number(found.last)}</td><td>{number(found.low)}</td><td>{found.low_step}</td>"
        f"<td>{number(found.high)}</td><td>{found.high_step}</td>"
        f"<td>{escape(one.replay.series.keys.get(name, ''))}</td></tr>"
        for name, found in one.ranges.items()
    )
    head = "<th>figure</th><th>first</th><th>last</th><th>lowest</th><th>at step</th>"
    about = f"<p>{escape(ABOUT_ACR)}</p>" if "acr" in one.ranges else ""
    return (
        f'<h3>Figures</h3>{about}<div class="wide"><table><tr>{head}<th>highest</th>'
        f"<th>at step</th><th>key</th></tr>{rows}</table></div>"
    )


def _list(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h3>{title}</h3><ul>{items}</ul>" if items else ""


def _skipped(skipped: Sequence[Skipped]) -> str:
    titles = {"unreadable": "Could not be read", "not_a_log": "Not a log"}
    parts = []
    for status, title in titles.items():
        lines = [f"{printable(one.place)}: {one.reason}" for one in skipped if one.status == status]
        parts.append(_list(title, lines))
    text = "".join(parts)
    return f"<section>{text}</section>" if text else ""
