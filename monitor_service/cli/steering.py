"""What decides about interventions, in words: threshold, controller, mode, and what holds them."""

from rich.text import Text

from monitor_service.cli.formats import clock, plural, rate
from monitor_service.cli.terminal import parts, wrapped
from monitor_service.engine.advance import KILL_FILE_ACTOR
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import MIN_GROUPS
from monitor_service.resources import Run, StepRecord
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


def controller(run: Run, acting: Settings) -> list[Text]:
    """Where the controller stands, and why."""
    arming = acting.arming
    if arming.stage == "locked":
        return [
            parts("guarded: ", ("LOCKED", LOCKED), f" since step {arming.since_step}"),
            *wrapped(arming.reason, lead="  "),
            *_how_to_rearm(run.id),
        ]
    if acting.controller == "guarded":
        return _stage(acting)
    if run.last is None:
        return wrapped(f"{acting.controller}: injects when ACR is above the threshold")
    return wrapped(f"{acting.controller}: {_trigger(run.last)}")


def _stage(acting: Settings) -> list[Text]:
    """The guarded controller's place, unless it is locked."""
    arming = acting.arming
    since = f" since step {arming.since_step}"
    why = f": {arming.reason}" if arming.reason else ""
    steps = f", {arming.steps} of at most {acting.max_active_steps} steps"
    if arming.stage == "active":
        return [
            parts("guarded: ", ("active", "bold yellow"), f"{since}{steps}"),
            *wrapped(f"it began when {arming.reason}", lead="  "),
        ]
    if arming.stage == "cooldown":
        rest = f"{since}, {arming.steps} of {acting.cooldown_steps} steps{why}"
        return wrapped(f"guarded: cooldown{rest}")
    if arming.stage == "armed":
        which = {"wrong": "all-wrong ", "correct": "all-correct ", "both": ""}[acting.target]
        when = f"the pooled rate of {which}groups, less 1.64 standard errors, is above"
        return wrapped(f"guarded: armed{since}{why}; active when {when} {acting.threshold:g}")
    if acting.mode == "off":
        return wrapped("guarded: off, as the mode is")
    if acting.memory.is_ready:
        return wrapped("guarded: off; it arms with the next report")
    seen = f"{acting.memory.num_groups} of the {MIN_GROUPS} groups it needs were seen"
    return wrapped(f"guarded: off; {seen}")


def _trigger(last: StepRecord) -> str:
    found = last.collapse
    if found.acr_decision is None:
        return f"nothing to decide by at step {last.step}"
    source = {"batch": "of the batch", "window": "of the last groups", "ewma": "smoothed"}
    side = "above" if found.triggered else "not above"
    return (
        f"ACR {rate(found.acr_decision)} ({source[found.acr_source]}) at step {last.step} was "
        f"{side} {found.threshold:.3f}"
    )


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
    if not acting.heed_alarms:
        return []
    if acting.holds.everything:
        return wrapped(f"nothing is injected while {acting.holds.everything} stands")
    if acting.holds.correct:
        return wrapped(f"all-correct groups are not injected while {acting.holds.correct} stands")
    return []


def _how_to_rearm(run_id: str, first: str = "") -> list[Text]:
    return [Text(f"  -> {first}acr rearm {run_id} -r REASON")]
