"""Plan -> advantages. Tensors only; every decision was made by the engine.

B = completions of the batch over all ranks, F = reward functions, N = groups, G = completions per
group; B = N * G. Completion b belongs to group b // G, and the rows of one rank may begin or end
inside a group.
"""

import numpy as np
import torch

from monitor_service.engine.collapse import Matrix, usable
from monitor_service.engine.plan import Plan


def total_rewards(
    rewards_BF: torch.Tensor, weights_F: torch.Tensor, num_generations: int
) -> Matrix:
    """The weighted sum of the reward functions, as TRL sums them but in float64.

    Returns:
        `[N, G]` float64; NaN where no function scored the completion.
    """
    rewards = rewards_BF.detach().to("cpu", torch.float64).numpy()
    weights = weights_F.detach().to("cpu", torch.float64).numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.nansum(rewards * weights, axis=1)
    total[np.isnan(rewards).all(axis=1)] = np.nan
    return np.asarray(total.reshape(-1, num_generations))


def primary_rewards(rewards_BF: torch.Tensor, index: int, num_generations: int) -> Matrix:
    """`[N, G]` float64, the rewards of one function; NaN where it did not score."""
    column = rewards_BF[:, index].detach().to("cpu", torch.float64).numpy()
    return np.asarray(column.reshape(-1, num_generations))


def values(plan: Plan, rewards: Matrix) -> Matrix:
    """The advantages that a plan sets.

    Args:
        plan: for the whole batch.
        rewards: `[N, G]` what the plan was made from; unscored completions get exactly 0.

    Returns:
        `[B]` float64; NaN in groups the plan leaves alone.
    """
    _, is_scored, _ = usable(rewards)
    found = np.where(is_scored, plan.advantages[:, None], 0.0)
    return np.where(plan.is_rewritten[:, None], found, np.nan).reshape(-1)


def replaced(advantages: torch.Tensor, values_B: Matrix, first_row: int) -> torch.Tensor:
    """Advantages with `values_B` in their place, where those are not NaN.

    Args:
        advantages: `[n]` of this rank's completions, or of all of them.
        values_B: `[B]` float64.
        first_row: row of the batch that `advantages` begins with.

    Returns:
        `[n]` of the same dtype and device. The others are the same bits.
    """
    mine = values_B[first_row : first_row + len(advantages)]
    is_replaced = torch.from_numpy(~np.isnan(mine)).to(advantages.device)
    wanted = torch.from_numpy(mine).to(advantages.device, advantages.dtype)
    return torch.where(is_replaced, wanted, advantages)


def apply(plan: Plan, rewards: Matrix, advantages: torch.Tensor, first_row: int) -> torch.Tensor:
    """Advantages with the plan carried out; `values` and `replaced` in one call.

    Args:
        plan: for the whole batch.
        rewards: `[N, G]` what the plan was made from; unscored completions get exactly 0.
        advantages: `[n]` of this rank's completions, or of all of them.
        first_row: row of the batch that `advantages` begins with.

    Returns:
        `[n]` of the same dtype and device. Rows of groups the plan leaves alone are the same bits.
    """
    return replaced(advantages, values(plan, rewards), first_row)
