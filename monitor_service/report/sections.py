"""A run of a monitor as HTML, section by section."""

from collections.abc import Iterator, Mapping

from monitor_service.diagnose.episodes import cards
from monitor_service.diagnose.markup import Cell, facts, listed, paragraph, table, text
from monitor_service.diagnose.sentences import ABOUT_ACR
from monitor_service.engine.profiles import own_settings
from monitor_service.engine.settings import Settings
from monitor_service.formats import moment, percent, plural, span, value
from monitor_service.report import charts, injection, orders
from monitor_service.report.doubts import doubts
from monitor_service.report.story import MOST_EVENTS, MOST_ORDERS, Story
from monitor_service.resources import Requested

MOST_RESOLVED = 30
"""Alarms that are over, of which each is told."""

TITLES: Mapping[str, str] = {
    "reward_mean": "reward",
    "acr": "ACR",
    "acr_wrong": "all wrong",
    "acr_correct": "all correct",
    "acr_other": "all of another value",
    "acr_smoothed": "ACR, pooled",
    "acr_primary": "ACR of the accuracy alone",
    "acr_effective": "effective ACR",
    "threshold": "threshold",
    "entropy": "entropy, nats per token",
    "kl": "KL, nats per token",
    "grad_norm": "gradient norm",
    "loss": "loss",
    "clip_fraction": "clipped updates",
    "completion_length_mean": "completion length, tokens",
    "completion_length_max": "longest completion, tokens",
    "truncated_fraction": "completions cut at the limit",
    "learning_rate": "learning rate",
    "temperature": "temperature",
    "step_s": "seconds a step",
}
"""Columns of the table of figures."""


def of(story: Story) -> Iterator[str]:
    """Everything there is to tell of a run."""
    run, alarms = story.run, story.alarms
    worst = next((one.severity for one in run.verdicts if one.severity != "info"), "")
    over = alarms.resolved
    yield f"<h2>{text(run.id)}</h2>"
    yield paragraph(run.headline, f"headline {worst}")
    yield paragraph(run.controller)
    yield facts(_facts(story))
    yield cards("Standing alarms", alarms.standing)
    yield cards("Alarms that are over", over[:MOST_RESOLVED])
    if len(over) > MOST_RESOLVED:
        yield paragraph(f"And {len(over) - MOST_RESOLVED} earlier ones, in the chart below.")
    yield "<h3>Over the steps</h3>"
    yield charts.drawn(story) if story.bins.total else paragraph("No step was reported yet.")
    yield _figures(story)
    yield listed("Interventions", injection.sentences(story))
    yield _controller(story)
    yield _orders(story)
    yield _knobs(story.run.knobs)
    yield listed("Forecast and result", _forecast(story))
    yield listed("The loop", _loop(story))
    yield _events(story)
    yield listed("What this page does not know", doubts(story))


def _facts(story: Story) -> Iterator[tuple[str, str]]:
    run, count = story.run, story.run.counters
    yield "State", _state(story)
    attempts = f", in {run.attempt} attempts" if run.attempt > 1 else ""
    yield "Steps", f"{run.step}{attempts}; {plural(count.completions, 'completion')} scored"
    yield "Created", f"{moment(run.created_at_s)} UTC"
    if run.last_report_at_s is not None:
        lasted = span(run.last_report_at_s - run.created_at_s)
        yield "Last report", f"{moment(run.last_report_at_s)} UTC, {lasted} later"
    yield "Settings", _settings(run.settings)
    yield "Trainer", ", ".join(f"{name} {value(at)}" for name, at in run.config.items())
    yield "Tags", ", ".join(f"{name}: {at}" for name, at in run.tags.items())
    yield "Notes", run.notes


def _settings(settings: Settings) -> str:
    moved = [f"{name} {value(getattr(settings, name))}" for name in own_settings(settings)]
    return f"profile {settings.profile}" + (f", but {', '.join(moved)}" if moved else "")


def _state(story: Story) -> str:
    run = story.run
    if run.ended is not None:
        return f"ended: {run.ended}"
    if any(one.rule == "reports_stopped" for one in run.verdicts):
        return "silent: its reports have stopped"
    return "training" if story.bins.total else "waits for its first report"


def _figures(story: Story) -> str:
    start, end, bins = story.start, story.end, story.bins
    if start is None or end is None:
        return ""
    shown = [
        (
            title,
            start.columns[name][0],
            end.columns[name][0],
            min(low for low in bins.low[name] if low is not None),
            max(high for high in bins.high[name] if high is not None),
        )
        for name, title in TITLES.items()
        if any(found is not None for found in bins.columns[name])
    ]
    about = (
        f"First and last: means of the steps {start.steps_from} to {start.steps_to} and "
        f"{end.steps_from} to {end.steps_to}. {ABOUT_ACR}; effective: after injection, which says "
        "nothing about health."
    )
    head = ("figure", "first", "last", "lowest", "highest")
    return f"<h3>Figures</h3>{paragraph(about, 'soft')}{table('Figures', head, shown)}"


def _controller(story: Story) -> str:
    moves: list[tuple[Cell, ...]] = [
        (view.event.step, view.event.message)
        for view in story.events
        if view.event.kind == "arming"
    ]
    return table("Controller", ("at step", "the guarded controller"), moves)


def _orders(story: Story) -> str:
    if not story.orders:
        return listed("Settings, and who changed them", ["Nobody has ordered anything."])
    about = f"The newest {MOST_ORDERS}." if len(story.orders) == MOST_ORDERS else ""
    return (
        f"<h3>Settings, and who changed them</h3>{paragraph(about, 'soft')}"
        f"{table('Orders', orders.HEAD, orders.rows(story.orders))}"
    )


def _knobs(knobs: list[Requested]) -> str:
    shown: list[tuple[Cell, ...]] = [
        (
            one.name,
            "left as it was" if one.requested is None else value(one.requested),
            "not reported" if one.applied is None else value(one.applied.value),
            "" if one.applied is None else one.applied.status,
            (one.applied.reason if one.applied else None) or "",
        )
        for one in knobs
    ]
    head = ("the trainer's parameter", "asked for", "in force", "status", "because")
    return f"<h3>Knobs</h3>{table('Knobs', head, shown)}" if shown else ""


def _forecast(story: Story) -> Iterator[str]:
    found, result = story.forecast.forecast, story.forecast.result
    if found.expected is None or found.low is None or found.high is None:
        yield found.why
    else:
        yield (
            f"Expected on {found.benchmark}: {percent(found.expected)}, {percent(found.low)} to "
            f"{percent(found.high)} for nine of ten such runs; ACR_100, the mean ACR of the first "
            f"100 steps, was {found.acr_100:.3f}."
        )
        yield f"It holds for: {found.scope}. {found.caveat}."
    if result is None:
        yield "No result was posted."
        return
    measured = f"Measured: {percent(result.accuracy)} on {result.benchmark}"
    if found.low is None or found.high is None:
        yield f"{measured}."
    elif result.benchmark != found.benchmark:
        yield f"{measured}: another benchmark than the forecast's, so the two cannot be compared."
    else:
        below, above = result.accuracy < found.low, result.accuracy > found.high
        yield f"{measured}: {'below' if below else 'above' if above else 'within'} the interval."


def _loop(story: Story) -> Iterator[str]:
    run, bins = story.run, story.bins
    if run.counters.missing_steps:
        yield f"Never reported: {plural(run.counters.missing_steps, 'step')}."
    applied = [(one, one.applied) for one in story.samples if one.applied is not None]
    if not applied:
        if bins.total:
            yield "The trainer does not say which settings it applied."
        return
    versions = [found for found in bins.low["applied_version"] if found is not None]
    newest = run.last.applied if run.last else None
    if newest is not None and versions:
        yield (
            f"Applied were versions {min(versions):.0f} to {newest.settings_version} of the "
            f"settings; the newest is {run.settings.version}."
        )
    lags = [max(0, one.step - 1 - its.through_step) for one, its in applied]
    yield (
        f"Lag of the settings, at {plural(len(lags), 'sampled step')}: at most "
        f"{plural(max(lags), 'step')}, median {sorted(lags)[len(lags) // 2]}; 0 is lockstep."
    )
    if notes := sorted({its.note for _, its in applied if its.note}):
        yield f"Not followed at some of them: {'; '.join(notes)}."


def _events(story: Story) -> str:
    shown: list[tuple[Cell, ...]] = [
        (moment(view.at_s), view.event.step, view.event.kind, view.event.message)
        for view in story.events
        if view.event.kind != "arming"
    ]
    about = f"The newest {MOST_EVENTS}." if len(story.events) == MOST_EVENTS else ""
    if not shown:
        return ""
    return (
        f"<h3>Other events</h3>{paragraph(about, 'soft')}"
        f"{table('Events', ('when, UTC', 'at step', 'event', 'what'), shown)}"
    )
