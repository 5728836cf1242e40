"""What was injected so far: the account that caps and prompt budgets are kept by.

In a batch of few groups a share of the batch means nothing: with one group it is 0 or 1. There the
caps hold for group-weighted EWMAs instead (half-life 64 groups, as for ACR). With a cap f,

    g <- lam*g + (1-lam)*injected/N,   w <- lam*w + (1-lam)              keeps   g <= f_group * w
    v <- lam*v + (1-lam)*V/N,          h <- lam*h + (1-lam)*H/N          keeps   v <= f_mass * (v+h)

where V and H are the sums of |A| over injected groups and over all others. Both hold at every step
once they hold at the start, so a batch may inject what keeps them: nothing at first, and more
after batches that learnt by themselves. While the account is above a cap, because a person lowered
it, nothing may be injected: the share of groups falls with every batch, the share of mass with
those that learn by themselves. A lost account starts again from nothing injected.

The account lives with the trainer and its checkpoints: prompts are too many to travel with the
settings, and a batch is decided there.
"""

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from monitor_service.engine.smoothing import HALF_LIFE_GROUPS

_ROUNDING = 1e-9
"""Groups. Float noise below this must not cost a group its injection."""


class Ledger(Struct, frozen=True, kw_only=True):
    """The account of one run.

    Attributes:
        injected: g above.
        weight: w above.
        virtual: v above.
        healthy: h above.
        epoch: the epoch that `spent` is of.
        spent: injections of each prompt in this epoch, by the prompt's name.
    """

    injected: float = 0.0
    weight: float = 0.0
    virtual: float = 0.0
    healthy: float = 0.0
    epoch: int = 0
    spent: Mapping[str, int] = {}

    def groups_left(self, num_groups: int, max_fraction: float) -> int:
        """How many groups of a batch of `num_groups` may be injected."""
        decay = _decay(num_groups)
        weight = decay * self.weight + (1 - decay)
        share = (max_fraction * weight - decay * self.injected) / (1 - decay)
        return max(0, math.floor(min(1.0, share) * num_groups + _ROUNDING))

    def mass_left(self, num_groups: int, healthy_mass: float, max_fraction: float) -> float:
        """How much sum of |A| may be injected beside `healthy_mass`; infinite without a cap."""
        if max_fraction >= 1:
            return math.inf
        decay = _decay(num_groups)
        healthy = decay * self.healthy + (1 - decay) * healthy_mass / num_groups
        allowed = max_fraction / (1 - max_fraction) * healthy - decay * self.virtual
        return max(0.0, allowed / (1 - decay) * num_groups)

    def after(
        self,
        *,
        num_groups: int,
        num_injected: int,
        healthy_mass: float,
        virtual_mass: float,
        epoch: int = 0,
        prompts: Sequence[str] = (),
    ) -> "Ledger":
        """The account once a batch of `num_groups` (above 0) is booked.

        `prompts` are those of the injected groups, where they are known.
        """
        decay = _decay(num_groups)
        spent = self.spent if epoch == self.epoch else {}
        if prompts:
            spent = dict(spent)
            for prompt in prompts:
                spent[prompt] = spent.get(prompt, 0) + 1
        return Ledger(
            # In this order a share cannot be rounded above 1, which no report may say.
            injected=decay * self.injected + (1 - decay) * (num_injected / num_groups),
            weight=decay * self.weight + (1 - decay),
            virtual=decay * self.virtual + (1 - decay) * virtual_mass / num_groups,
            healthy=decay * self.healthy + (1 - decay) * healthy_mass / num_groups,
            epoch=epoch,
            spent=spent,
        )

    @property
    def mass_fraction(self) -> float:
        """Pooled share of the sum of |A| that was injected, in [0, 1]."""
        total = self.virtual + self.healthy
        return self.virtual / total if total else 0.0

    @property
    def group_fraction(self) -> float:
        """Pooled share of the groups that were injected, in [0, 1]."""
        return self.injected / self.weight if self.weight else 0.0


NOTHING_INJECTED = Ledger()
"""The account of a run before its first batch."""


def _decay(num_groups: int) -> float:
    return math.exp2(-num_groups / HALF_LIFE_GROUPS)
