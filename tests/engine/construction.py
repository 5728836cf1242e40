"""The published construction, done naively: the oracle that shares no code with the engine."""

from collections.abc import Sequence

import numpy as np

Rewards = Sequence[float] | np.ndarray


def stratified(num_virtual: int, *, correct: bool, anchor: float = 0.1) -> list[float]:
    """Virtual rewards of arXiv 2605.21125, equation 9, for rewards 0 and 1."""
    ks = range(1, num_virtual + 1)
    if correct:
        return [1 - k / (num_virtual + 1) for k in ks]
    return [anchor * (num_virtual - k + 1) / num_virtual for k in ks]


def advantages(real: Rewards, virtual: Rewards, *, eps: float = 0.0, ddof: int = 0) -> np.ndarray:
    """(r - mean) / (std + eps) of the real rewards, statistics over real and virtual ones."""
    everything = np.concatenate([np.asarray(real, float), np.asarray(virtual, float)])
    return (np.asarray(real) - np.mean(everything)) / (np.std(everything, ddof=ddof) + eps)


def acr_batch(num_groups: int, num_collapsed: int, mean_reward: float) -> np.ndarray:
    """`[N, 2]` rewards with this ACR and this mean over all completions.

    Mixed groups are (0, 1) with mean 0.5; collapsed ones hold the constant that makes up the rest.
    """
    num_mixed = num_groups - num_collapsed
    rewards = np.tile([0.0, 1.0], (num_groups, 1))
    rewards[:num_collapsed] = (mean_reward * num_groups - 0.5 * num_mixed) / num_collapsed
    return rewards
