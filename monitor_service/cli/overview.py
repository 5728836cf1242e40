"""`acr show`: what a person wants to know about a run, on one screen."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.text import Text

from monitor_service.cli import steering
from monitor_service.cli.client import monitor_at
from monitor_service.cli.knobs import table
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import (
    FINE,
    SEVERITY_STYLES,
    for_machines,
    labelled,
    out,
    parts,
    wrapped,
)
from monitor_service.diagnose.sentences import advice_of
from monitor_service.engine.health.alarms import Verdict
from monitor_service.engine.profiles import own_settings
from monitor_service.engine.settings import KNOBS, Settings
from monitor_service.formats import age, assignments, clock, plural, rate, span, value
from monitor_service.resources import Change, Requested, Run, StepRecord
from monitor_service.wire import Applied, Sampling

_NOT_OF_A_PROFILE = {"seed", *KNOBS}


def show(run: RunId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show a run on one screen: its state, its health, and what steers it."""
    with monitor_at(url) as monitor:
        about = monitor.run(run)
        diagnosis = monitor.diagnosis(run)
    if as_json:
        for_machines({"run": about, "diagnosis": diagnosis})
        return
    now_s = time.time()
    out.print(_title(about, now_s))
    for label, lines in _sections(about, diagnosis.knobs, now_s):
        labelled(label, lines)


def _title(run: Run, now_s: float) -> Text:
    if run.last is None:
        state = f"created {age(now_s - run.created_at_s)} ago, no report yet"
    else:
        state = f"last report {age(now_s - run.last.at_s)} ago"
    if run.ended is not None:
        state += f", ended: {run.ended}"
    is_locked = run.settings.acting_mode == "locked"
    return parts(
        (run.id, "bold"),
        f"  step {run.step}, attempt {run.attempt}, {state}",
        (", LOCKED" if is_locked else "", steering.LOCKED),
    )


def _sections(
    run: Run, knobs: Sequence[Requested], now_s: float
) -> Iterable[tuple[str, list[Text]]]:
    settings = run.settings
    acting = settings.in_force(step=run.step + 1, now_s=now_s)
    yield "in short", wrapped(run.headline, style="bold")
    yield "health", _health(run)
    if run.last is not None:
        yield "ACR", _rates(run.last)
    yield "threshold", steering.threshold(acting)
    yield "controller", steering.controller(run)
    yield "mode", steering.mode(run, acting)
    yield "held", steering.held(acting)
    if run.last is not None and run.last.applied is not None:
        yield "groups", wrapped(_decisions(run.last.applied))
        if run.last.applied.sampling is not None:
            yield "sampling", wrapped(_sampling(run.last.applied.sampling))
    if run.last is not None:
        yield "loop", wrapped(loop(run.last, settings))
    yield "settings", wrapped(_settings(settings))
    yield "overrides", overrides(run, now_s)
    if knobs:
        yield "knobs", table(knobs)
    if settings.command:
        given = settings.command
        who = f"({given.actor}: {given.reason})"
        yield "command", wrapped(f"{given.kind}, not taken up by the trainer yet {who}")
    if run.changed:
        yield "last order", wrapped(_order(run.changed, now_s))
    if run.tags:
        yield "tags", wrapped(" ".join(f"{name}={text}" for name, text in run.tags.items()))
    if run.notes:
        yield "notes", wrapped(run.notes)


def _health(run: Run) -> list[Text]:
    if run.verdicts:
        advice = advice_of(run.verdicts)
        return [
            line
            for verdict, advised in zip(run.verdicts, advice, strict=True)
            for line in _verdict(verdict, advised)
        ]
    return [parts(("nothing found", FINE)) if run.last else parts("nothing to judge yet")]


def _verdict(verdict: Verdict, advice: str) -> list[Text]:
    return [
        parts(
            (f"{verdict.severity} ", SEVERITY_STYLES[verdict.severity]),
            (verdict.rule, "bold"),
            f" since step {verdict.since_step}",
        ),
        *wrapped(verdict.cause, lead="  "),
        *wrapped(advice, lead="  -> "),
    ]


def _rates(last: StepRecord) -> list[Text]:
    found, applied = last.collapse, last.applied
    raw = (
        f"wrong {rate(found.acr_wrong)}, correct {rate(found.acr_correct)}, "
        f"other {rate(found.acr_other)}; of {plural(found.num_groups, 'group')}"
    )
    lines = [_rate("raw", found.acr, raw)]
    if found.acr_smoothed is not None:
        wrong, correct = rate(found.acr_wrong_smoothed), rate(found.acr_correct_smoothed)
        lines.append(_rate("smoothed", found.acr_smoothed, f"wrong {wrong}, correct {correct}"))
    if applied is not None:
        note = "without a signal after injection"
        if applied.shadow is not None:
            note = f"shadow injects nothing; it would be {rate(applied.shadow.effective_acr)}"
        lines.append(_rate("effective", applied.effective_acr, note))
    return lines


def _rate(name: str, figure: float | None, note: str) -> Text:
    return parts(f"{name:<9}  ", (rate(figure), "bold"), f"  {note}")


def loop(last: StepRecord, settings: Settings) -> str:
    """What the trainer says it followed."""
    applied = last.applied
    if applied is None:
        return "the trainer does not say which settings it applied"
    lag = max(0, last.step - 1 - applied.through_step)
    late = f", {plural(lag, 'step')} late" if lag else ""
    note = f": {applied.note}" if applied.note else ""
    return (
        f"version {applied.settings_version} ({applied.mode}) was applied at step "
        f"{last.step}{late}{note}; the newest is {settings.version}"
    )


def _decisions(applied: Applied) -> str:
    """Groups by what was decided about them, the most frequent first."""
    words = {"has_signal": "with a signal"}
    if applied.shadow is not None:
        words["injected"] = "would be injected"
    ordered = sorted(applied.decisions.items(), key=lambda one: (-one[1], one[0]))
    shown = ((count, words.get(name, name.replace("_", " "))) for name, count in ordered)
    return ", ".join(f"{count} {what}" for count, what in shown)


def _sampling(found: Sampling) -> str:
    """How dynamic sampling filled the newest batch."""
    fill = f" and {found.filled} that collapsed" if found.filled else ""
    limit = f", ended by {found.stopped_by}" if found.stopped_by else ""
    left = f"; {found.surplus} that differ were left over" if found.surplus else ""
    tries = "1 try" if found.tries == 1 else f"{found.tries} tries"
    return (
        f"{plural(found.sampled, 'group')} ({found.tokens} tokens) in {tries}{limit}: "
        f"{found.kept} that differ{fill} were trained on{left}"
    )


def _settings(settings: Settings) -> str:
    """What differs from the profile."""
    different = [
        f"{name}={value(getattr(settings, name))} (profile: {value(usual)})"
        for name, usual in own_settings(settings).items()
        if name not in _NOT_OF_A_PROFILE
    ]
    about = f"profile {settings.profile}, revision {settings.revision}"
    return f"{about}: {', '.join(different)}" if different else f"{about}, as the profile has them"


def overrides(run: Run, now_s: float) -> list[Text]:
    """Those that have not expired, and what is left of them."""
    rests = ", resting while the run is killed" if run.settings.kill else ""
    return [
        line
        for one in run.settings.overrides
        if one.acts(run.step + 1, now_s)
        for line in wrapped(
            f"{assignments(one.changes)}, {plural(one.until_step - run.step, 'step')} or "
            f"{span(one.until_s - now_s)} left (until step {one.until_step}, {clock(one.until_s)})"
            f"{rests}; {one.actor}: {one.reason}",
            lead=f"{one.number}: ",
        )
    ]


def _order(changed: Change, now_s: float) -> str:
    why = f" ({changed.reason})" if changed.reason else ""
    return f"{changed.actor}, {age(now_s - changed.at_s)} ago: {_ordered(changed.changes)}{why}"


def _ordered(changes: Mapping[str, Any]) -> str:
    """What was ordered, by the name of the command that orders it."""
    match changes:
        case {"kill": bool(is_killed)}:
            return "kill" if is_killed else "rearm"
        case {"command": str(command)}:
            return command
        case {"override": int(number)}:
            return f"unset {number}"
        case {"override": Mapping() as override}:
            return f"override {assignments(override)}"
        case _:
            return f"set {assignments(changes)}"
