"""AVSPO's virtual rewards, and the advantage they give to a collapsed group.

K virtual rewards join the normalisation statistics of a collapsed group; they never enter the
loss (arXiv 2605.21125, section 4, equations 8 and 9):

    K    = max(1, min(G, ceil(G * ACR^alpha)))
    v_k  = r_obs * (1 - k/(K+1))             all-correct group, k = 1..K
    v_k  = r_anchor * (K - k + 1)/K          all-wrong group
    A    = (r - mean(R u V)) / (std_pop(R u V) + eps)

Every real completion of a collapsed group has the same reward, so the construction is one scalar
per group. For the paper's values and eps -> 0 it has the closed form of `closed_form`, in which
r_obs and r_anchor cancel. Rewards are mapped to [0, 1] first (wrong 0, correct 1), so that any
affine reward gives the same advantage.

`constant` invents no rewards: the advantage itself is given, +1 for all-correct and -1 for
all-wrong (positive and negative sample reinforcement, arXiv 2506.01347; the +-1 of AGPO's first
version, arXiv 2503.15952). K, G, the anchor, eps and the divisor do not matter to it.

Left out: the per-side budget and the caps on injected mass.
"""

import math
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from msgspec import Struct

from monitor_service.engine.collapse import COLLAPSE_STD, Matrix, Outcome

_CEIL_NOISE = 1e-12
"""Completions. Float noise below this must not add a virtual reward."""


def num_virtual(size: int, acr: float, alpha: float) -> int:
    """K, the number of virtual rewards for a group of `size` completions.

    >>> num_virtual(8, 0.4, 0.5), num_virtual(8, 0.0, 0.5), num_virtual(8, 1.0, 0.5)
    (6, 1, 8)
    """
    wanted: int = math.ceil(size * acr**alpha - _CEIL_NOISE)
    return max(1, min(size, wanted))


def closed_form(size: int, k: int) -> float:
    """|A| of a collapsed group under `stratified`, eps -> 0: the same for both sides.

    >>> round(closed_form(8, 6), 6)
    0.727607
    """
    return 1.0 / math.sqrt(2 * (2 * k + 1) * (size + k) / (3 * k * (k + 1)) - 1)


class Strategy(Struct, frozen=True, kw_only=True):
    """How the virtual rewards of a collapsed group are chosen, on the unit reward scale.

    Attributes:
        correct: (K, rng) -> virtual rewards `[<=K]` for a group of ones.
        wrong: (K, anchor, rng) -> virtual rewards for a group of zeros.
        always_k: how many virtual rewards it uses whatever K is; None follows K.
        magnitude: |A| itself, whatever rewards and normalisation are; None follows from them.
        ddof: 0 for the population std of the paper, 1 for the sample std.
        is_random: whether it draws from rng.
        uniform_batch_only: acts only when every group of the batch collapsed to the same side.
        source: where the values come from.
    """

    correct: Callable[[int, np.random.Generator | None], Matrix]
    wrong: Callable[[int, float, np.random.Generator | None], Matrix]
    always_k: int | None = None
    magnitude: float | None = None
    ddof: int = 0
    is_random: bool = False
    uniform_batch_only: bool = False
    source: str


def _ranks(k: int) -> Matrix:
    return np.arange(1, k + 1, dtype=np.float64)


def _drawn(k: int, rng: np.random.Generator | None) -> Matrix:
    assert rng is not None, "a random strategy is called with its generator"
    return 1.0 - rng.random(k)


STRATEGIES = MappingProxyType(
    {
        "none": Strategy(
            correct=lambda k, rng: np.empty(0),
            wrong=lambda k, anchor, rng: np.empty(0),
            source="plain GRPO",
        ),
        "stratified": Strategy(
            correct=lambda k, rng: 1 - _ranks(k) / (k + 1),
            wrong=lambda k, anchor, rng: anchor * (k - _ranks(k) + 1) / k,
            source="the paper, equation 9",
        ),
        "stratified_draft": Strategy(
            correct=lambda k, rng: 1 - (_ranks(k) - 1) / k,
            wrong=lambda k, anchor, rng: np.zeros(k),
            source="an earlier draft of the paper; inert on all-wrong groups",
        ),
        "random_uniform": Strategy(
            correct=lambda k, rng: _drawn(k, rng),
            wrong=lambda k, anchor, rng: anchor * _drawn(k, rng),
            is_random=True,
            source="the draft's ablation; on all-wrong groups (0, anchor] is ours, the draft's "
            "[0, r_max] would be inert",
        ),
        "fixed_partial": Strategy(
            correct=lambda k, rng: np.full(k, 0.5),
            wrong=lambda k, anchor, rng: np.full(k, 0.5),
            source="the draft's ablation, read as in the authors' README",
        ),
        "exp_decay": Strategy(
            correct=lambda k, rng: 2.0 ** -_ranks(k),
            wrong=lambda k, anchor, rng: anchor * 2.0 ** (1 - _ranks(k)),
            source="named by the authors' README without a formula; this one is ours",
        ),
        "ngrpo_max": Strategy(
            correct=lambda k, rng: np.ones(1),
            wrong=lambda k, anchor, rng: np.ones(1),
            always_k=1,
            ddof=1,
            source="NGRPO (arXiv 2509.18851), for collapsed groups only",
        ),
        "official_code": Strategy(
            correct=lambda k, rng: np.zeros(1),
            wrong=lambda k, anchor, rng: np.ones(1),
            always_k=1,
            ddof=1,
            uniform_batch_only=True,
            source="the authors' repository, which differs from their paper",
        ),
        "constant": Strategy(
            correct=lambda k, rng: np.empty(0),
            wrong=lambda k, anchor, rng: np.empty(0),
            always_k=0,
            magnitude=1.0,
            source="PSR and NSR (arXiv 2506.01347); AGPO's first version (arXiv 2503.15952)",
        ),
    }
)


def advantage(
    strategy: Strategy,
    outcome: Outcome,
    *,
    size: int,
    k: int,
    anchor: float,
    eps: float,
    divisor: float | None = None,
    rng: np.random.Generator | None = None,
) -> float:
    """The advantage of every real completion of one collapsed group, on the unit reward scale.

    Args:
        strategy: one of `STRATEGIES`.
        outcome: ALL_CORRECT or ALL_WRONG.
        size: scored completions of the group, at least 2.
        k: number of virtual rewards.
        anchor: largest virtual reward of an all-wrong group, a fraction of the reward range.
        eps: added to the std; the host trainer's.
        divisor: divide by this instead of the group's own std plus eps.
        rng: needed by random strategies only.

    Returns:
        Positive for ALL_CORRECT, negative for ALL_WRONG, 0 where the strategy is inert.
    """
    is_correct = outcome == Outcome.ALL_CORRECT
    if strategy.magnitude is not None:
        return strategy.magnitude if is_correct else -strategy.magnitude
    virtual = strategy.correct(k, rng) if is_correct else strategy.wrong(k, anchor, rng)
    real = 1.0 if is_correct else 0.0
    deviations = virtual - real
    total = size + len(virtual)
    shift = deviations.sum() / total
    spread = np.square(deviations - shift).sum() + size * shift * shift
    std = math.sqrt(spread / (total - strategy.ddof))
    if std < COLLAPSE_STD:
        return 0.0
    return float(-shift / (std + eps if divisor is None else divisor))
