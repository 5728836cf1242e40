"""`acr kill`, `rearm`, `save`, `stop`: what a run is ordered to do."""

from typing import Literal

from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import (
    DEFAULT_URL,
    AsJson,
    OptionalReason,
    Reason,
    RunId,
    Url,
    actor,
)
from monitor_service.cli.steering import LOCKED
from monitor_service.cli.terminal import for_machines, hint, out, parts
from monitor_service.formats import clock

WHEN = "the trainer does it at the end of its optimizer step"


def kill(
    run: RunId, reason: OptionalReason = None, url: Url = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Stop every intervention, knobs included, until somebody re-arms the run."""
    with monitor_at(url) as monitor:
        view = monitor.kill(run, actor=actor(), reason=reason)
    if as_json:
        for_machines(view)
        return
    found = view.settings.kill
    assert found is not None, "a run that was just killed says so"
    out.print(parts(f"{run}: ", ("killed", LOCKED), "; plain GRPO from its next batch on"))
    # Not always by this order: of several kills the first one is kept.
    by = f"by {found.actor} at step {found.step}, {clock(found.at_s)}: {found.reason}"
    out.print(parts(f"  {by}"))
    print(f"  allow interventions again with: acr rearm {run} -r REASON")


def rearm(run: RunId, reason: Reason, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Allow interventions again, after a kill or after the controller locked itself."""
    with monitor_at(url) as monitor:
        view = monitor.rearm(run, actor=actor(), reason=reason)
    if as_json:
        for_machines(view)
        return
    now = view.settings
    print(f"{run}: re-armed; mode {now.mode}, from its next batch on")
    if now.controller == "guarded" and now.mode != "off":
        print("  the guarded controller starts from off: it arms once enough groups were seen")


def save(
    run: RunId, reason: OptionalReason = None, url: Url = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Have the trainer save a checkpoint."""
    _command("save", "to save a checkpoint", run, reason, url, as_json)


def stop(
    run: RunId, reason: OptionalReason = None, url: Url = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Have the trainer save a checkpoint and end the training."""
    _command("stop", "to save a checkpoint, then stop", run, reason, url, as_json)


def _command(
    kind: Literal["save", "stop"],
    what: str,
    run: str,
    reason: str | None,
    url: str,
    as_json: bool,
) -> None:
    with monitor_at(url) as monitor:
        view = monitor.command(run, kind, actor=actor(), reason=reason)
        about = monitor.run(run)
    given = view.settings.command
    assert given is not None, "a command that was just given is there"
    if about.ended is not None:
        hint(f"the training has ended ({about.ended}): nobody is there to do it")
    if as_json:
        for_machines(view)
        return
    print(f"{run}: asked {what} (command {given.number}); {WHEN}")
