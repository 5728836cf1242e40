"""How people move a run: changes, overrides, kill and re-arm, commands, a new start.

Each is a new revision of the settings, published as a new version.
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec.structs import replace

from monitor_service.engine.arming import DISARMED
from monitor_service.engine.orders import (
    MAX_OVERRIDE_S,
    MAX_OVERRIDE_STEPS,
    MAX_OVERRIDES,
    Command,
    Kill,
    Override,
)
from monitor_service.engine.profiles import changed, check_names
from monitor_service.engine.settings import OVERRIDABLE, Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import InvalidInput

MAX_UNAPPLIED = 64
"""Orders without an effect beyond which the oldest are no longer waited for."""


def with_changes(state: RunState, changes: Mapping[str, Any]) -> RunState:
    """With these settings, for good.

    Raises:
        InvalidInput: an unknown field, a bad value, or one that an override contradicts.
    """
    settings = changed(state.settings, changes)
    _check_overrides(settings)
    moved = _revised(state, settings)
    if "threshold" in changes or "profile" in changes:
        moved = replace(moved, threshold_revision=moved.settings.revision)
    return moved


def with_override(
    state: RunState,
    changes: Mapping[str, Any],
    *,
    actor: str,
    reason: str,
    expires_in_steps: int | None,
    expires_in_s: float | None,
    now_s: float,
) -> RunState:
    """With these settings for a while, whichever end comes first.

    Raises:
        InvalidInput: a missing or too distant end, or values that cannot act together.
    """
    check_names(changes)
    if not changes or "profile" in changes:
        allowed = f"at least one of {', '.join(OVERRIDABLE)}"
        raise InvalidInput("settings", dict(changes), allowed)
    if not _is_within(expires_in_steps, MAX_OVERRIDE_STEPS) or isinstance(expires_in_steps, float):
        allowed = f"required: a number of steps in [1, {MAX_OVERRIDE_STEPS}]"
        raise InvalidInput("expires_in_steps", expires_in_steps, allowed)
    if not _is_within(expires_in_s, MAX_OVERRIDE_S):
        allowed = f"required: a number of seconds in [1, {MAX_OVERRIDE_S}]"
        raise InvalidInput("expires_in_s", expires_in_s, allowed)
    assert expires_in_steps is not None
    assert expires_in_s is not None
    number = state.num_overrides + 1
    override = Override(
        number=number,
        changes=dict(changes),
        actor=actor,
        reason=reason,
        until_step=state.step + expires_in_steps,
        until_s=now_s + expires_in_s,
    )
    alive = tuple(one for one in state.settings.overrides if one.acts(state.step + 1, now_s))
    if len(alive) >= MAX_OVERRIDES:
        allowed = f"fewer than {MAX_OVERRIDES} that act; end one of them first"
        raise InvalidInput("overrides", len(alive), allowed)
    settings = replace(state.settings, overrides=(*alive, override))
    _check_overrides(settings)
    return replace(_revised(state, settings), num_overrides=number)


def without_override(state: RunState, number: int) -> RunState:
    """With one override ended before its time.

    Raises:
        InvalidInput: there is none of this number any more.
    """
    kept = tuple(one for one in state.settings.overrides if one.number != number)
    if len(kept) == len(state.settings.overrides):
        numbers = [one.number for one in state.settings.overrides]
        raise InvalidInput("override", number, f"one that acts: {numbers or 'there is none'}")
    return _revised(state, replace(state.settings, overrides=kept))


def killed(state: RunState, *, actor: str, reason: str, now_s: float) -> RunState:
    """With every intervention off until `rearmed`; of a killed run, the state itself."""
    if state.settings.kill:
        return state
    kill = Kill(actor=actor, reason=reason, step=state.step, at_s=now_s)
    return _revised(state, replace(state.settings, kill=kill))


def rearmed(state: RunState) -> RunState:
    """With interventions allowed again; a guarded controller starts from off."""
    settings = replace(state.settings, kill=None, arming=DISARMED, rearms=state.settings.rearms + 1)
    return _revised(state, settings)


def commanded(
    state: RunState, kind: Literal["save", "stop"], *, actor: str, reason: str
) -> RunState:
    """With something for the trainer to do; it replaces a command not yet carried out."""
    number = state.num_commands + 1
    command = Command(number=number, kind=kind, actor=actor, reason=reason)
    moved = _revised(state, replace(state.settings, command=command))
    return replace(moved, num_commands=number)


def resumed(newest: RunState, earlier: RunState, start_id: str = "") -> RunState:
    """The run continued after an earlier step, as a new attempt that `start_id` opened.

    Statistics are those of the earlier step. What people set stays as it is now: a crash must not
    undo a person's decision. The threshold is a decision when it is fixed, or when a person has
    set it since; else it is a statistic. A command was for the attempt that is over. An override
    acts for as many more steps as it had left.
    """
    now, then = newest.settings, earlier.settings
    attempt = newest.attempt + 1
    is_decided = now.controller != "paper" or newest.threshold_revision > earlier.threshold_revision
    repeated = newest.step - earlier.step
    return replace(
        earlier,
        attempt=attempt,
        attempts=(*newest.attempts, (attempt, earlier.step)),
        start_ids=(*newest.start_ids, start_id),
        ended=None,
        is_silent=False,
        threshold_revision=newest.threshold_revision,
        num_commands=newest.num_commands,
        num_overrides=newest.num_overrides,
        unapplied=newest.unapplied,
        counters=newest.counters,
        settings=replace(
            now,
            version=now.version + 1,
            through_step=earlier.step,
            threshold=now.threshold if is_decided else then.threshold,
            memory=then.memory,
            # Re-armed since: what was locked then is not any more.
            arming=DISARMED if now.rearms > then.rearms else then.arming,
            holds=then.holds,
            command=None,
            overrides=tuple(
                replace(one, until_step=one.until_step - repeated) for one in now.overrides
            ),
        ),
    )


def _revised(state: RunState, settings: Settings) -> RunState:
    version = settings.version + 1
    return replace(
        state,
        settings=replace(settings, version=version, revision=settings.revision + 1),
        unapplied=(*state.unapplied, version)[-MAX_UNAPPLIED:],
    )


def _is_within(value: Any, most: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 1 <= value <= most


def _check_overrides(settings: Settings) -> None:
    """Refuse what cannot act together now, or once the oldest or the newest overrides have ended.

    Ends in another order, and later changes, can still bring a contradiction about: then
    `Settings.in_force` lets nothing act.
    """
    for first in range(len(settings.overrides)):
        for chosen in (settings.overrides[: first + 1], settings.overrides[first:]):
            together: dict[str, Any] = {}
            for override in chosen:
                together.update(override.changes)
            replace(settings, **together)
