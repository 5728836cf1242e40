"""What people order a run to do. Every order names who gave it and why, and is an event."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from monitor_service.engine.advance import expiries
from monitor_service.engine.changes import (
    commanded,
    killed,
    rearmed,
    with_changes,
    with_override,
    without_override,
)
from monitor_service.engine.events import Event
from monitor_service.engine.settings import TUNABLE
from monitor_service.engine.state import RunState
from monitor_service.errors import Contention, InvalidInput, RevisionConflict
from monitor_service.requests import CommandRequest, Order, OverrideRequest
from monitor_service.resources import Change, Origin, SettingsView
from monitor_service.store.redis import RedisStore, StoredRun
from monitor_service.views import stored_run
from monitor_service.wire import MAX_REASON_CHARS

MAX_TRIES = 50
"""Lost races after which a writer gives up; each loss means that another writer won."""
MAX_ACTOR_CHARS = 128
NO_REASON = "no reason given"
NO_ACTOR = "api"
"""Who ordered it, when neither the order nor a token says so."""

Move = Callable[[RunState, float], RunState]
"""(state, Unix time) -> what the order makes of it."""
Difference = Callable[[RunState, RunState], Mapping[str, Any]]
"""(before, after) -> `old` and `new` of the event, and what else it says."""


class Control:
    """Every order of a person; all of them raise StoreUnavailable when Redis does not answer."""

    def __init__(
        self, store: RedisStore, clock: Callable[[], float], origin: Origin = Origin()
    ) -> None:
        """`clock` tells Unix time in seconds."""
        self._store = store
        self._clock = clock
        self._origin = origin

    def by(self, origin: Origin) -> "Control":
        """The same, for orders that come from there."""
        return Control(self._store, self._clock, origin)

    async def change(
        self,
        run_id: str,
        changes: Mapping[str, Any],
        *,
        reason: str,
        actor: str | None = None,
        if_revision: int | None = None,
    ) -> SettingsView:
        """Change settings on behalf of a person; in force from the trainer's next batch on.

        Raises:
            InvalidInput: an unknown field, a value out of range, no reason, nothing to change.
            RevisionConflict: the revision is not `if_revision` any more.
        """
        if not changes:
            raise InvalidInput("settings", {}, f"at least one of {', '.join(TUNABLE)}")

        def difference(before: RunState, after: RunState) -> Mapping[str, Any]:
            # A profile among the changes moves more than it names.
            old, new = before.settings, after.settings
            names = [
                name
                for name in TUNABLE
                if name in changes or getattr(old, name) != getattr(new, name)
            ]
            return {
                "old": {name: getattr(old, name) for name in names},
                "new": {name: getattr(new, name) for name in names},
            }

        return await self._ordered(
            run_id,
            "settings_changed",
            lambda state, now_s: with_changes(state, changes),
            difference,
            actor=self._actor(actor),
            reason=reason,
            changes=changes,
            if_revision=if_revision,
        )

    async def override(self, run_id: str, wanted: OverrideRequest) -> SettingsView:
        """Change settings for a while; they return by themselves.

        Raises:
            InvalidInput: as `change`, and when an end is missing or too far away.
        """
        actor = self._actor(wanted.actor)

        def move(state: RunState, now_s: float) -> RunState:
            return with_override(
                state,
                wanted.settings,
                actor=actor,
                reason=wanted.reason,
                expires_in_steps=wanted.expires_in_steps,
                expires_in_s=wanted.expires_in_s,
                now_s=now_s,
            )

        def difference(before: RunState, after: RunState) -> Mapping[str, Any]:
            newest = after.settings.overrides[-1]
            return {
                "old": _configured(before, newest.changes),
                "new": newest.changes,
                "number": newest.number,
                "until_step": newest.until_step,
                "until_s": newest.until_s,
            }

        return await self._ordered(
            run_id,
            "override_added",
            move,
            difference,
            actor=actor,
            reason=wanted.reason,
            changes={"override": wanted.settings},
        )

    async def end_override(self, run_id: str, number: int, order: Order) -> SettingsView:
        """End an override before its time.

        Raises:
            InvalidInput: there is none of this number any more.
        """

        def difference(before: RunState, after: RunState) -> Mapping[str, Any]:
            (ended,) = [one for one in before.settings.overrides if one.number == number]
            new = _configured(after, ended.changes)
            return {"old": ended.changes, "new": new, "number": number}

        return await self._ordered(
            run_id,
            "override_ended",
            lambda state, now_s: without_override(state, number),
            difference,
            actor=self._actor(order.actor),
            reason=_or_none_given(order.reason),
            changes={"override": number},
        )

    async def kill(self, run_id: str, order: Order) -> SettingsView:
        """Stop every intervention until somebody re-arms; a reason is welcome, not required.

        One that is too long is cut: what is said of it must not keep a run from being stopped.
        """
        reason = order.reason
        if isinstance(reason, str):
            reason = reason.strip()[:MAX_REASON_CHARS]
        reason = _or_none_given(reason)
        actor = self._actor(order.actor)
        return await self._ordered(
            run_id,
            "killed",
            lambda state, now_s: killed(state, actor=actor, reason=reason, now_s=now_s),
            lambda before, after: {
                "old": {"kill": before.settings.kill},
                "new": {"kill": after.settings.kill},
            },
            actor=actor,
            reason=reason,
            changes={"kill": True},
        )

    async def rearm(self, run_id: str, order: Order) -> SettingsView:
        """Allow interventions again, after a kill or a lock."""
        return await self._ordered(
            run_id,
            "rearmed",
            lambda state, now_s: rearmed(state),
            lambda before, after: {
                "old": {"kill": before.settings.kill, "stage": before.settings.arming.stage},
                "new": {"kill": None, "stage": after.settings.arming.stage},
            },
            actor=self._actor(order.actor),
            reason=order.reason,
            changes={"kill": False},
        )

    async def command(self, run_id: str, wanted: CommandRequest) -> SettingsView:
        """Have the trainer save a checkpoint, or save one and stop."""
        actor, reason = self._actor(wanted.actor), _or_none_given(wanted.reason)
        return await self._ordered(
            run_id,
            "command_given",
            lambda state, now_s: commanded(state, wanted.command, actor=actor, reason=reason),
            lambda before, after: {
                "old": {"command": before.settings.command},
                "new": {"command": after.settings.command},
            },
            actor=actor,
            reason=reason,
            changes={"command": wanted.command},
        )

    async def _ordered(
        self,
        run_id: str,
        kind: str,
        move: Move,
        difference: Difference,
        *,
        actor: str,
        reason: str,
        changes: Mapping[str, Any],
        if_revision: int | None = None,
    ) -> SettingsView:
        """A person's move, written together with who ordered it and why."""
        _check_text("reason", reason, MAX_REASON_CHARS)
        _check_text("actor", actor, MAX_ACTOR_CHARS)
        for _ in range(MAX_TRIES):
            stored = await stored_run(self._store, run_id)
            current = stored.state.settings
            if if_revision is not None and if_revision != current.revision:
                raise RevisionConflict(_since(stored, if_revision), settings=current)
            now_s = self._clock()
            moved = move(stored.state, now_s)
            version = moved.settings.version
            after = replace(stored, state=moved)
            # An order that is carried out already is told, and changes nothing.
            if moved is not stored.state:
                after = replace(
                    after,
                    changed=Change(
                        at_s=now_s,
                        actor=actor,
                        reason=reason,
                        changes=dict(changes),
                        version=version,
                        origin=self._origin,
                    ),
                )
            event = Event(
                kind=kind,
                step=moved.step,
                message=f"{actor}: {reason}",
                data={
                    "actor": actor,
                    "reason": reason,
                    "version": version,
                    "origin": self._origin,
                    **difference(stored.state, moved),
                },
            )
            events = [event]
            if kind == "override_added":  # It takes the place of those that ended unnoticed.
                events = [*expiries(current, moved.settings, moved.step), event]
            if await self._store.commit(stored, after, at_s=now_s, events=events) is not None:
                return SettingsView(settings=moved.settings, changed=after.changed)
        raise Contention(f"run {run_id!r} is being changed by too many writers")

    def _actor(self, given: Any) -> Any:
        return _named(given, self._origin)


def checked_order(order: Order, origin: Origin) -> tuple[str, str]:
    """(actor, reason) of an order that needs neither; raises InvalidInput."""
    actor, reason = _named(order.actor, origin), _or_none_given(order.reason)
    _check_text("reason", reason, MAX_REASON_CHARS)
    _check_text("actor", actor, MAX_ACTOR_CHARS)
    return actor, reason


def _named(given: Any, origin: Origin) -> Any:
    return (origin.token or NO_ACTOR) if given is None else given


def _configured(state: RunState, names: Mapping[str, Any]) -> dict[str, Any]:
    """What these fields are without any override."""
    return {name: getattr(state.settings, name) for name in names}


def _or_none_given(reason: Any) -> Any:
    return NO_REASON if reason is None or reason == "" else reason


def _since(stored: StoredRun, revision: int) -> str:
    text = f"you saw revision {revision}, the settings are at {stored.state.settings.revision}"
    if change := stored.changed:
        text += f"; {change.actor} changed {', '.join(change.changes)}: {change.reason}"
    return text


def _check_text(field: str, text: Any, most: int) -> None:
    if not isinstance(text, str) or not text.strip() or len(text) > most:
        raise InvalidInput(field, text, f"must be a text of 1 to {most} characters")
