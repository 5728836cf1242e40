"""What people order and what trainers say beside their reports: the bodies of requests."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from monitor_service.wire import Name, Rate, StepNumber


class Description(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people write next to a run."""

    tags: dict[Name, str | None] = {}
    """Merged with those it has; null deletes one."""
    notes: str | None = None
    """A text of up to 10,000 characters; "" deletes it, null leaves it."""
    reason: Any = None
    actor: Any = None


class DefaultsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Other defaults; what is left out stays."""

    profile: str | None = None
    settings: dict[str, Any] | None = None
    """All of them: the ones before are replaced."""
    reason: Any = None
    actor: Any = None


class OverrideRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that return by themselves; both ends are required, the first one counts."""

    settings: dict[str, Any]
    reason: Any = None
    actor: Any = None
    """Who; without one the name of the token, or `api`."""
    expires_in_steps: Any = None
    expires_in_s: Any = None


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who orders a kill or a re-arming, and why."""

    reason: Any = None
    actor: Any = None
    """Who; without one the name of the token, or `api`."""


class CommandRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something for the trainer to do once, at the end of its optimizer step."""

    command: Literal["save", "stop"]
    reason: Any = None
    actor: Any = None
    """Who; without one the name of the token, or `api`."""


class EndOfRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The trainer says that its training is over."""

    attempt: StepNumber
    how: Annotated[str, Meta(min_length=1, max_length=64)] = "finished"


class ResultRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The final accuracy of a run, measured elsewhere."""

    accuracy: Rate
    benchmark: Name
    """What it was measured on; only results on the same one are compared."""
