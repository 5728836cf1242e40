"""Adaptive KL: beta grows while the policy is further from its reference than wanted.

    e = clip(KL / target - 1, -0.2, 0.2);   beta <- beta * (1 + e * n / horizon)

Ziegler et al., arXiv 1909.08593, section 2.2; `n` is the number of completions that the KL was
measured on, in nats per token. The bounds on beta are ours: the rule itself has none.

Vectors (target 6, n 256, horizon 10,000, beta 0.2): KL 9 -> 0.201024, 3 -> 0.198976,
6.3 -> 0.200256.
"""

import math
from collections.abc import Mapping
from typing import Any

from monitor_service.errors import InvalidInput

MAX_ERROR = 0.2
"""Relative error beyond which a larger one counts no more."""


class AdaptiveKL:
    """The controller of one run; every rank has its own, and sees the same KL."""

    def __init__(
        self, beta: float, *, target: float, horizon: float, beta_min: float, beta_max: float
    ) -> None:
        """Starts at `beta`.

        Raises:
            InvalidInput: `target` or `horizon` is not above 0, or the bounds do not hold `beta`.
        """
        for name, value in (("kl_target", target), ("kl_horizon", horizon)):
            if not 0 < value < float("inf"):
                raise InvalidInput(name, value, "a finite number above 0")
        if not 0 < beta_min <= beta_max < float("inf"):
            raise InvalidInput(
                "beta_min, beta_max", (beta_min, beta_max), "0 < beta_min <= beta_max"
            )
        if not beta_min <= beta <= beta_max:
            allowed = f"in [beta_min, beta_max] = [{beta_min:g}, {beta_max:g}] with kl_target"
            raise InvalidInput("beta", beta, allowed)
        self.beta = beta
        self._target, self._horizon = target, horizon
        self._low, self._high = beta_min, beta_max

    def update(self, kl: float, num_completions: int) -> float:
        """The beta after an optimizer step; a KL that is not finite changes nothing."""
        if math.isfinite(kl):
            error = min(max(kl / self._target - 1, -MAX_ERROR), MAX_ERROR)
            wanted = self.beta * (1 + error * num_completions / self._horizon)
            self.beta = min(max(wanted, self._low), self._high)
        return self.beta

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"beta": self.beta}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, within the bounds of now."""
        beta = state.get("beta")
        if isinstance(beta, int | float) and beta > 0:
            self.beta = min(max(float(beta), self._low), self._high)
