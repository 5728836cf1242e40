"""`acr set` and `acr unset`: settings, for good or for a while."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from monitor_service.cli import completion, terminal, values
from monitor_service.cli.client import monitor_at
from monitor_service.cli.knobs import table
from monitor_service.cli.options import (
    DEFAULT_URL,
    AsJson,
    OptionalReason,
    Reason,
    RunId,
    Url,
    actor,
)
from monitor_service.engine.orders import MAX_OVERRIDE_S, MAX_OVERRIDE_STEPS, Override
from monitor_service.engine.settings import KNOBS, TUNABLE, Settings
from monitor_service.formats import assignments, clock, plural, span
from monitor_service.resources import SettingsView


def change(
    run: RunId,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="FIELD=VALUE",
            show_default=False,
            help="`null` gives a knob back to the trainer.",
            autocompletion=completion.assignments,
        ),
    ],
    reason: Reason,
    for_steps: Annotated[
        int | None,
        typer.Option(
            "--for-steps",
            metavar="N",
            min=1,
            max=MAX_OVERRIDE_STEPS,
            help="Return by itself after N steps.",
        ),
    ] = None,
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="TIME",
            parser=values.span_s,
            help="Return by itself after a time: 90s, 30m, 2h, up to 24h.",
        ),
    ] = None,
    if_revision: Annotated[
        int | None,
        typer.Option(
            "--if-revision",
            metavar="N",
            min=1,
            help="Only if nobody changed the settings since revision N, which `acr show` tells.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Change settings of a running trainer; in force from its next batch on.

    For good, or with --for-steps or --for as an override: then whichever end comes first counts.
    """
    assigned = values.assignments(changes)
    is_override = for_steps is not None or for_s is not None
    if is_override:
        if if_revision is not None:
            raise typer.BadParameter("--if-revision is for changes without an end")
        with monitor_at(url) as monitor:
            view = monitor.override(
                run,
                assigned,
                for_steps=for_steps or MAX_OVERRIDE_STEPS,
                for_s=for_s or MAX_OVERRIDE_S,
                reason=reason,
                actor=actor(),
            )
        _warn_of_lock(run, view.settings)
    else:
        with monitor_at(url) as monitor:
            view = monitor.change(
                run, assigned, reason=reason, actor=actor(), if_revision=if_revision
            )
        _warn(run, view, assigned)
    if as_json:
        terminal.for_machines(view)
        return
    if is_override:
        _tell_override(run, view, is_given=(for_steps is not None, for_s is not None))
    else:
        changed = {name: getattr(view.settings, name) for name in TUNABLE if name in assigned}
        _tell(run, assignments(changed), view.settings)
    if asked := [name for name in KNOBS if name in assigned]:
        _tell_knobs(run, url, asked)


def unset(
    run: RunId,
    number: Annotated[
        int,
        typer.Argument(
            metavar="NUMBER", min=1, show_default=False, help="Of the override; `acr show` has it."
        ),
    ],
    reason: OptionalReason = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """End an override before its time: the settings beneath it are in force again."""
    with monitor_at(url) as monitor:
        view = monitor.end_override(run, number, actor=actor(), reason=reason)
    if as_json:
        terminal.for_machines(view)
        return
    _tell(run, f"override {number} ended", view.settings)
    for one in _acting(view):
        print(terminal.printable(f"  still acting: {one.number}: {assignments(one.changes)}"))


def _acting(view: SettingsView) -> list[Override]:
    """Overrides that have not expired."""
    assert view.changed is not None, "who ordered something has changed something"
    next_step, now_s = view.settings.through_step + 1, view.changed.at_s
    return [one for one in view.settings.overrides if one.acts(next_step, now_s)]


def _tell(run: str, what: str, now: Settings) -> None:
    version = f"(version {now.version}, after step {now.through_step})"
    terminal.out.print(terminal.parts(f"{run}: {what}  ", (version, "dim")))


def _tell_override(run: str, view: SettingsView, *, is_given: tuple[bool, bool]) -> None:
    """What is in force, and until when; `is_given` says which of its ends, steps and time, were."""
    newest = view.settings.overrides[-1]
    assert view.changed is not None, "who ordered something has changed something"
    steps = plural(newest.until_step - view.settings.through_step, "step")
    left = span(newest.until_s - view.changed.at_s)
    _tell(run, f"override {newest.number}: {assignments(newest.changes)}", view.settings)
    print(
        f"  for {steps} (until step {newest.until_step}) or {left} (until {clock(newest.until_s)})"
    )
    if not is_given[0]:
        print(f"  without --for-steps it is {MAX_OVERRIDE_STEPS} steps, the most there is")
    if not is_given[1]:
        print(f"  without --for it is {span(MAX_OVERRIDE_S)}, the most there is")
    print(f"  end it earlier with: acr unset {run} {newest.number}")


def _tell_knobs(run: str, url: str, asked: list[str]) -> None:
    """What the trainer reported last about the knobs that were turned now."""
    with monitor_at(url) as monitor:
        found = monitor.diagnosis(run)
    known = [knob for knob in found.knobs if knob.name in asked]
    if not known:
        return
    at = f"what the trainer reported at step {found.step}" if found.step else "no report yet"
    print(f"  knobs: {at}; it turns them when it begins its next batch")
    for line in table(known):
        terminal.out.print(Text.assemble("    ", line))


def _warn(run: str, view: SettingsView, assigned: Mapping[str, Any]) -> None:
    """Say what keeps a change from meaning what it says."""
    now = view.settings
    is_inside = now.threshold_low <= now.threshold <= now.threshold_high
    if "threshold" in assigned and now.controller == "paper" and not is_inside:
        bounds = f"[{now.threshold_low:g}, {now.threshold_high:g}]"
        terminal.hint(f"the paper controller keeps it in {bounds}; add controller=fixed to pin it")
    for override in _acting(view):
        if hidden := {name: found for name, found in override.changes.items() if name in assigned}:
            until = f"keeps {assignments(hidden)} for now; end it with"
            terminal.hint(f"override {override.number} {until} acr unset {run} {override.number}")
    _warn_of_lock(run, now)


def _warn_of_lock(run: str, now: Settings) -> None:
    if now.acting_mode == "locked":
        how = "was killed" if now.kill else "is locked by its controller"
        terminal.hint(f"the run {how}: nothing is injected until acr rearm {run} -r REASON")
