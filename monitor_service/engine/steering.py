"""What decides about interventions now, and why, in a sentence."""

from monitor_service.engine.controllers import ENTRY_ERRORS, watched
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import MIN_GROUPS
from monitor_service.engine.state import StepFigures

_SIDES = {"wrong": "all-wrong groups", "correct": "all-correct groups", "both": "collapsed groups"}
_LAWS = {"paper": "Paper's law", "fixed": "Fixed threshold"}
_RATES = {
    "batch": "the ACR of a batch",
    "window": "the ACR of the last groups",
    "ewma": "the smoothed ACR",
}


def controller(
    acting: Settings,
    newest: StepFigures | None,
    injected: int | None,
    *,
    was_shadow: bool = False,
) -> str:
    """What the controller does at the next step.

    Args:
        acting: the settings that act there.
        newest: figures of the newest step; None before the first of an attempt.
        injected: groups that the trainer injected at that step, or would have, had its mode not
            been shadow; None when it does not say.
        was_shadow: whether that was its mode there.
    """
    arming = acting.arming
    if kill := acting.kill:
        actor = " ".join(kill.actor.split())
        return f"Killed at step {kill.step} by {actor}: nothing is injected; re-arm to go on."
    if arming.stage == "locked":
        return f"Locked since step {arming.since_step}: {arming.reason}; re-arm to go on."
    if acting.mode == "off":
        return "Off: nothing is injected."
    if acting.strategy == "none":
        return "Strategy none: nothing is injected."
    is_guarded = acting.controller == "guarded"
    unknown = ""
    if newest is not None and injected is None:
        unknown = "; the trainer does not say what it applied"
    done = "" if injected is None else _done(injected, was_shadow=was_shadow)
    found = _stage(acting, unknown) if is_guarded else _law(acting, newest, done or unknown)
    if why := held(acting):
        found += f"; {why}"
    if acting.mode == "shadow":
        return f"Observing, nothing is injected (shadow): {found[:1].lower()}{found[1:]}."
    return f"{found}."


def held(acting: Settings) -> str:
    """What alarms forbid now; "" when there are none that are heeded."""
    if not acting.heed_alarms:
        return ""
    if acting.holds.everything:
        return f"nothing is injected while {acting.holds.everything} stands"
    if acting.holds.correct:
        return f"all-correct groups are not injected while {acting.holds.correct} stands"
    return ""


def _stage(acting: Settings, unknown: str) -> str:
    """The guarded controller's place, unless it is locked."""
    arming, memory, sides = acting.arming, acting.memory, _SIDES[acting.target]
    since = f"since step {arming.since_step}"
    if arming.stage == "active":
        injecting = "Would inject" if acting.mode == "shadow" else "Injecting"
        limit = f"{arming.steps} of at most {acting.max_active_steps} steps"
        return f"{injecting} into {sides} {since} ({limit}): {arming.reason}{unknown}"
    if arming.stage == "cooldown":
        rest = f"{arming.steps} of {acting.cooldown_steps} steps"
        return f"Resting {since} ({rest}): {arming.reason}"
    if arming.stage == "armed":
        found = f"Armed {since}: begins when the pooled rate of {sides}, less {ENTRY_ERRORS} "
        found += f"standard errors, is above {acting.threshold:g}"
        if (rates := memory.rates) is None:
            return found
        return f"{found}; the rate is {watched(rates, acting.target):.3f}"
    if memory.is_ready:
        return "Off until the next report, which arms it"
    return f"Waiting: {memory.num_groups} of the {MIN_GROUPS} groups it needs were seen"


def _law(acting: Settings, newest: StepFigures | None, done: str) -> str:
    """A law that compares each batch with the threshold."""
    source = newest.acr_source if newest else acting.acr_source
    side = "" if acting.target == "both" else f" into {_SIDES[acting.target]}"
    would = "would inject" if acting.mode == "shadow" else "injects"
    found = (
        f"{_LAWS[acting.controller]}: {would}{side} when {_RATES[source]} is above "
        f"{acting.threshold:.3g}"
    )
    if newest is None:
        return found
    if newest.acr_decision is None:
        return f"{found}; the newest step gave nothing to decide by"
    return f"{found}; it was {newest.acr_decision:.3g} in the newest step{done}"


def _done(injected: int, *, was_shadow: bool) -> str:
    count = {0: "none", 1: "1 group"}.get(injected, f"{injected} groups")
    return f", {count} {'would be ' if was_shadow else ''}injected"
