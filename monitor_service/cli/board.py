"""The screen of `acr watch`: a run as lines that fit a terminal."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from rich.text import Text

from monitor_service.cli import steering
from monitor_service.cli.bars import Layer, sparkline, stacked
from monitor_service.cli.events import as_line
from monitor_service.cli.knobs import one_by_one
from monitor_service.cli.overview import loop, overrides
from monitor_service.cli.terminal import FINE, SEVERITY_STYLES, beside, parts, wrapped
from monitor_service.cli.watched import Line, Watched
from monitor_service.engine.state import StepFigures
from monitor_service.formats import NOTHING, age, rate, time_of_day
from monitor_service.resources import Run, StepRecord

FIGURES_WIDTH = 33
"""Columns of the newest figures, left of their past."""
NOTES_FROM = 70
"""Columns of a terminal from which the figures have their notes."""
CHART_HEIGHT = 6
LOW_CHART_HEIGHT = 3
LOW = 20
"""Lines of a terminal below which the chart is low."""
ROOMY = 32
"""Lines of a terminal from which alarms tell their cause in full."""
FEWEST_EVENTS = 3
MOST_VERDICTS = 4
RESUMED_S = 10.0
"""How long it is told that the connection is back."""
_LAYERS: Sequence[tuple[str, str, str, Callable[[StepFigures], float | None]]] = (
    ("all wrong", "█", "red", lambda one: one.acr_wrong),
    ("all correct", "▒", "bright_blue", lambda one: one.acr_correct),
    ("other", "░", "magenta", lambda one: one.acr_other),
)
"""Of the bars, from the bottom: name, fill, style, share of the groups."""
_FIGURES: Mapping[str, tuple[str, Callable[[StepRecord], float | None]]] = MappingProxyType(
    {
        "effective": (".2f", lambda one: one.applied.effective_acr if one.applied else None),
        "reward": (".3f", lambda one: one.collapse.reward_mean),
        "entropy": (".3f", lambda one: one.scalars.entropy),
        "KL": (".4g", lambda one: one.scalars.kl),
        "length": (".1f", lambda one: one.scalars.completion_length_mean),
        "truncated": (".1%", lambda one: one.scalars.truncated_fraction),
    }
)
"""Told beside their past, where the trainer has them: name -> how it is written, where it is."""
TAU = ("╌", "yellow")
INJECTED = ("▲", "bold cyan")


def board(seen: Watched, now_s: float, width: int, height: int) -> list[Text]:
    """At most `height` lines; what there is no room for is left out, the oldest events first."""
    run = seen.run
    acting = run.settings.in_force(step=run.step + 1, now_s=now_s)
    left = FIGURES_WIDTH if width >= NOTES_FROM else FIGURES_WIDTH - 13
    shown = seen.steps[-max(1, width - left) :]
    lines = [_title(run, seen.line, now_s, width)]
    lines += beside("in short", [parts((run.headline, "bold"))])
    lines += _health(run, is_roomy=height >= ROOMY)
    if shown:
        lines += _chart(shown, left, CHART_HEIGHT if height >= LOW else LOW_CHART_HEIGHT)
        lines += _figures(shown, seen.start_entropy, left)
    lines += beside("knobs", one_by_one(run.knobs))
    lines += beside("controller", steering.controller(run))
    lines += beside("mode", steering.mode(run, acting))
    lines += beside("held", steering.held(acting))
    lines += beside("overrides", overrides(run, now_s))
    if run.last is not None:
        lines += beside("loop", [parts(loop(run.last, run.settings))])
    newest = seen.events[-max(FEWEST_EVENTS, height - len(lines)) :]
    told = [as_line(one, time_of_day) for one in newest]
    lines = lines[: height - len(told)] + beside("events", told)
    for one in lines:
        one.no_wrap, one.overflow = True, "ellipsis"
    return lines[:height]


def _title(run: Run, line: Line, now_s: float, width: int) -> Text:
    ended = f"  ended: {run.ended}" if run.ended is not None else ""
    is_locked = run.settings.acting_mode == "locked"
    title = parts(
        (run.id, "bold"),
        f"  step {run.step}  attempt {run.attempt}  {run.settings.profile}",
        ("  LOCKED" if is_locked else "", steering.LOCKED),
        ended,
    )
    state = connection(line, now_s)
    title.append(" " * max(2, width - title.cell_len - state.cell_len))
    return title.append_text(state)


def connection(line: Line, now_s: float) -> Text:
    """How the line to the monitor is, in words."""
    since_s = now_s - line.since_s
    if line.state == "lost":
        return parts((f"lost {age(since_s)} ago, retrying", "bold red"))
    if line.note and since_s < RESUMED_S:
        return parts((line.note, FINE))
    return parts(("live", FINE))


def _health(run: Run, *, is_roomy: bool) -> list[Text]:
    if not run.verdicts:
        found = parts(("nothing found", FINE)) if run.last else parts("nothing to judge yet")
        return beside("health", [found])
    told: list[Text] = []
    for one in run.verdicts[:MOST_VERDICTS]:
        title = parts(
            (f"{one.severity} ", SEVERITY_STYLES[one.severity]),
            (one.rule, "bold"),
            f" since step {one.since_step}",
        )
        cause = wrapped(one.cause, lead="  ")
        told += [title, *cause] if is_roomy else [Text.assemble(title, parts(f": {one.cause}"))]
    if (more := len(run.verdicts) - MOST_VERDICTS) > 0:
        told.append(parts(f"and {more} more: acr show {run.id}"))
    return beside("health", told)


def _chart(shown: Sequence[StepRecord], left: int, height: int) -> list[Text]:
    """The split of the groups, a bar a step, with the threshold each was compared with."""
    newest = shown[-1].collapse
    legend = [parts((f"{'ACR':<14}{rate(newest.acr):>4}", "bold"))]
    layers = []
    for name, fill, style, share in _LAYERS:
        layers.append(Layer(fill=fill, style=style, shares=[share(one.collapse) for one in shown]))
        figure = rate(share(newest))
        legend.append(parts((fill, style), f" {name:<12}{figure:>4}"))
    mixed = None if newest.acr is None else 1 - newest.acr
    legend.append(parts(f"  {'mixed':<12}{rate(mixed):>4}"))
    legend.append(parts(TAU, f" {'threshold':<11}{newest.threshold:>5.3f}"))
    marks = [one.collapse.threshold for one in shown]
    bars = stacked(layers, height=height, marks=marks, mark=TAU)
    return [_row(named, bar, left) for named, bar in zip(legend, bars, strict=False)] + [
        _injections(shown, left)
    ]


def _injections(shown: Sequence[StepRecord], left: int) -> Text:
    counts = [injected(one) for one in shown]
    bar = Text("".join(INJECTED[0] if count else " " for count in counts), INJECTED[1])
    newest = counts[-1] if shown[-1].applied else NOTHING
    return _row(parts(INJECTED, f" {'injected':<12}{newest:>4}"), bar, left)


def injected(record: StepRecord) -> int:
    """Groups that the trainer injected at a step."""
    done = record.applied
    return done.injected_wrong + done.injected_correct if done else 0


def _figures(shown: Sequence[StepRecord], start_entropy: float | None, left: int) -> list[Text]:
    """What the trainer measured: the newest figure, and those of the steps before."""
    rows = []
    for name, (style, figure) in _FIGURES.items():
        values = [figure(one) for one in shown]
        if any(value is not None for value in values):
            newest = NOTHING if values[-1] is None else f"{values[-1]:{style}}"
            note = _note(name, shown[-1], start_entropy) if left == FIGURES_WIDTH else ""
            told = parts((f"{name:<10}", "dim"), f"{newest:>8}", (f" {note}", "dim"))
            rows.append(_row(told, Text(sparkline(values)), left))
    return rows


def _note(name: str, newest: StepRecord, start_entropy: float | None) -> str:
    scalars = newest.scalars
    if name == "entropy" and scalars.entropy is not None and start_entropy:
        return f"{100 * scalars.entropy / start_entropy:.0f}% of start"
    if name == "length" and scalars.completion_length_max is not None:
        return f"max {scalars.completion_length_max:.0f}"
    return ""


def _row(figures: Text, past: Text, left: int) -> Text:
    """The newest figures, cut or filled to a width, and the past beside them."""
    figures.truncate(left - 1, overflow="ellipsis", pad=True)
    return Text.assemble(figures, " ", past)
