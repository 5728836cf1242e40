"""NGRPO: one virtual right answer in every group, so that an all-wrong group learns (2509.18851).

    A_i = (r_i - mean(R u {r_max})) / (std(R u {r_max}) + 1e-6),    std with ddof 1

arXiv 2509.18851 and its authors' code. With G completions an all-wrong group gets the constant
-1/sqrt(G + 1). In mixed groups the virtual answer raises the mean: right answers count less, wrong
ones more. All-right groups get 0, and leave the loss where it can be masked. Beside it stands the
asymmetric clipping, 0.16 below and 0.24 above, which are TRL's options.

Vectors for G = 8, right answers: 0: -0.333332; 1: 1.763830, -0.503951; 4: 0.843272, -1.054091;
7: 0.333332, -2.666659; 8: 0.
"""

import numpy as np

from monitor_service.engine.collapse import COLLAPSE_STD, Matrix

EPS = 1e-6
"""Reward units added to the std, as in the authors' code."""


def advantages(rewards_NG: Matrix, reward_high: float) -> Matrix:
    """The advantage of every completion.

    Args:
        rewards_NG: `[N, G]` float64; NaN where a completion was not scored.
        reward_high: the reward of a right answer, `r_max`.

    Returns:
        `[N, G]` float64: 0 where unscored, in groups with fewer than two scored completions, and
        in those whose rewards all are `reward_high`. NaN throughout a group with a reward above
        `reward_high`, for which the method is not defined.
    """
    scored = np.isfinite(rewards_NG)
    sizes = scored.sum(axis=1, keepdims=True) + 1
    known = np.where(scored, rewards_NG, 0.0)
    means = (known.sum(axis=1, keepdims=True) + reward_high) / sizes
    centred = np.where(scored, known - means, 0.0)
    squares = (centred**2).sum(axis=1, keepdims=True) + (reward_high - means) ** 2
    stds = np.sqrt(squares / (sizes - 1).clip(min=1))
    found = centred / (stds + EPS)
    found[np.broadcast_to((stds < COLLAPSE_STD) | (sizes < 3), found.shape)] = 0.0
    is_beyond = (scored & (known > reward_high + COLLAPSE_STD)).any(axis=1)
    found[is_beyond] = np.nan
    return np.asarray(found)
