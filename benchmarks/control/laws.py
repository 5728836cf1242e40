"""The laws that are compared, as settings of the real engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """One control law.

    Attributes:
        name: as it is printed.
        profile: what it starts from.
        changes: on top of it.
        below_groups: steps of this many groups or more would only repeat another law; None: never.
        is_planned: what reaches the optimizer is worked out too, with caps and their account.
    """

    name: str
    profile: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    below_groups: int | None = None
    is_planned: bool = False

    @property
    def settings(self) -> Settings:
        """Before the first step."""
        return from_profile(self.profile, self.changes)

    @property
    def is_checked(self) -> bool:
        """Whether an activation that brings no benefit locks it."""
        settings = self.settings
        is_guarded = settings.controller == "guarded" and settings.mode == "active"
        return is_guarded and settings.benefit_check

    def differs_at(self, groups: int) -> bool:
        """Whether it is worth running with this many groups a step."""
        return self.below_groups is None or groups < self.below_groups


PAPER = Law(name="paper", profile="paper", changes={"min_groups_per_unit": 1}, is_planned=True)
"""The published law at every N: the ACR of the batch decides, however few its groups."""
SHIPPED = Law(
    name="paper, as shipped",
    profile="paper",
    below_groups=from_profile("paper", {}).min_groups_per_unit,
)
"""The profile as it ships. From 16 groups on it is `PAPER`."""
FIXED = Law(
    name="fixed 0.5", profile="paper", changes={"controller": "fixed", "min_groups_per_unit": 1}
)
GUARDED = Law(name="guarded", profile="guarded")
"""As it ships. Nothing helps here, so the benefit check ends it, unless chance looks like help."""
OBSERVE = Law(name="guarded, unchecked", profile="observe", is_planned=True)
"""The state machine itself. In shadow there is no benefit to look for, so none is asked for."""

LAWS = (PAPER, SHIPPED, FIXED, OBSERVE, GUARDED)
