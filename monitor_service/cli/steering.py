"""What decides about interventions, in words: threshold, controller, mode, and what holds them."""

from rich.text import Text

from monitor_service.cli.terminal import parts, wrapped
from monitor_service.engine import steering
from monitor_service.engine.advance import KILL_FILE_ACTOR
from monitor_service.engine.settings import Settings
from monitor_service.formats import clock, plural
from monitor_service.resources import Run
from monitor_service.wire import Injection

LOCKED = "bold red"


def threshold(acting: Settings) -> list[Text]:
    """Where injection begins, and what moves it."""
    tau = (f"{acting.threshold:.3f}", "bold")
    if acting.controller == "paper":
        bounds = f"[{acting.threshold_low:g}, {acting.threshold_high:g}]"
        return [parts(tau, f", moved by the paper's controller within {bounds}")]
    if acting.controller == "fixed":
        return [parts(tau, ", where it was set")]
    return [parts(tau, f" to begin, {acting.exit_threshold:g} to end")]


def controller(run: Run) -> list[Text]:
    """What the controller does, and why; nothing once a person killed the run: `mode` says so."""
    if run.settings.kill:
        return []
    if run.acting_mode == "locked":
        return [*wrapped(run.controller, style=LOCKED), *_how_to_rearm(run.id)]
    return wrapped(run.controller)


def mode(run: Run, acting: Settings) -> list[Text]:
    """What is done to groups without a signal."""
    kill = acting.kill
    if kill is not None:
        by = f"{kill.actor} at step {kill.step}, {clock(kill.at_s)}"
        first = "remove the kill file, then " if kill.actor == KILL_FILE_ACTOR else ""
        return [
            parts(("LOCKED", LOCKED), ": killed, plain GRPO"),
            *wrapped(f"{by}: {kill.reason}", lead="  "),
            *_how_to_rearm(run.id, first),
        ]
    if acting.acting_mode == "locked":
        return [parts(("LOCKED", LOCKED), ": by the controller, nothing is injected")]
    if acting.mode == "off":
        return wrapped("off: plain GRPO")
    count = run.counters
    applied = run.last.applied if run.last else None
    if acting.mode == "shadow":
        done = applied.shadow if applied else None
        totals = (count.shadow_wrong, count.shadow_correct)
        return wrapped(f"shadow, nothing is touched; injected would be {_done(done, *totals)}")
    return wrapped(
        f"active: injected {_done(applied, count.injected_wrong, count.injected_correct)}"
    )


def _done(newest: Injection | None, wrong: int, correct: int) -> str:
    """Groups of the newest step, and of all of them."""
    total = f"{wrong} all-wrong and {correct} all-correct so far"
    if newest is None:
        return total
    num_injected = newest.injected_wrong + newest.injected_correct
    how = f" (K {newest.num_virtual}, |A| up to {newest.advantage_abs_max:.2f})"
    return (
        f"{plural(num_injected, 'group')}{how if num_injected else ''} at the newest step; {total}"
    )


def held(acting: Settings) -> list[Text]:
    """Alarms that forbid injection now; nothing when there are none that are heeded."""
    return wrapped(steering.held(acting))


def _how_to_rearm(run_id: str, first: str = "") -> list[Text]:
    return [Text(f"  -> {first}acr rearm {run_id} -r REASON")]
