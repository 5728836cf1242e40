"""What new runs start with: a profile for those that name none, and settings for all.

The strongest first: settings that the run asks for, settings of the defaults, the profile that the
run names, the profile of the defaults. But a run that names its profile has said whether it may be
touched, so `mode` among the defaults is for the others.
"""

from collections.abc import Callable

import msgspec

from monitor_service.control import MAX_TRIES, checked_order
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.errors import Contention, InvalidInput, RevisionConflict
from monitor_service.requests import DefaultsRequest, Order
from monitor_service.resources import Defaults, DefaultsChange, Origin
from monitor_service.store.defaults import DefaultsStore
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun


class StartingPoint:
    """The defaults; all methods raise StoreUnavailable when Redis does not answer."""

    def __init__(
        self, store: RedisStore, clock: Callable[[], float], origin: Origin = Origin()
    ) -> None:
        """`clock` tells Unix time in seconds."""
        self._store = store
        self._defaults = DefaultsStore(store.redis)
        self._clock = clock
        self._origin = origin

    def by(self, origin: Origin) -> "StartingPoint":
        """The same, for orders that come from there."""
        return StartingPoint(self._store, self._clock, origin)

    async def now(self) -> Defaults:
        """What new runs start with."""
        defaults, _ = await self._defaults.load()
        return defaults

    async def change(self, wanted: DefaultsRequest, *, if_revision: int | None = None) -> Defaults:
        """Change what new runs start with; runs that exist stay as they are.

        Raises:
            InvalidInput: no reason, nothing to change, or no valid settings.
            RevisionConflict: the revision is not `if_revision` any more.
        """
        if wanted.reason is None:
            raise InvalidInput("reason", None, "is required")
        actor, reason = checked_order(Order(actor=wanted.actor, reason=wanted.reason), self._origin)
        new = {
            name: value
            for name in ("profile", "settings")
            if (value := getattr(wanted, name)) is not None
        }
        if not new:
            raise InvalidInput("defaults", {}, "at least one of profile, settings")
        for _ in range(MAX_TRIES):
            before, stored = await self._defaults.load()
            if if_revision is not None and if_revision != before.revision:
                raise RevisionConflict(_since(before, if_revision), settings=None)
            after = msgspec.structs.replace(
                before,
                **new,
                revision=before.revision + 1,
                changed=DefaultsChange(
                    at_s=self._clock(),
                    actor=actor,
                    reason=reason,
                    old={name: getattr(before, name) for name in new},
                    new=new,
                    origin=self._origin,
                ),
            )
            _check(after)
            if await self._defaults.replace(stored, after):
                return after
        raise Contention("the defaults are being changed by too many writers")

    async def settings_of(self, wanted: CreateRun) -> Settings:
        """The settings that a new run starts with.

        Raises:
            InvalidInput: what it asks for is not valid, in itself or together with the defaults.
        """
        defaults = await self.now()
        profile = wanted.profile or defaults.profile
        ours = {
            name: value
            for name, value in defaults.settings.items()
            if name != "mode" or wanted.profile is None
        }
        try:
            return from_profile(profile, {**ours, **wanted.settings})
        except InvalidInput:
            # Raises the same where the run alone is to blame.
            from_profile(profile, wanted.settings)
            names = ", ".join(name for name in ours if name not in wanted.settings)
            allowed = (
                f"valid together with what new runs start with (GET /v1/defaults): {names}; "
                "set these yourself, or have the defaults changed"
            )
            raise InvalidInput("settings", wanted.settings, allowed) from None


def _check(defaults: Defaults) -> None:
    if "profile" in defaults.settings:
        allowed = "beside the settings, not one of them"
        raise InvalidInput("settings.profile", defaults.settings["profile"], allowed)
    from_profile(defaults.profile, defaults.settings)


def _since(defaults: Defaults, revision: int) -> str:
    text = f"you saw revision {revision}, the defaults are at {defaults.revision}"
    if change := defaults.changed:
        text += f"; {change.actor} changed {', '.join(change.new)}: {change.reason}"
    return text
