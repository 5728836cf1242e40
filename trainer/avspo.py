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


def apply(plan: Plan, rewards: Matrix, advantages: torch.Tensor, first_row: int) -> torch.Tensor:
    """Advantages with the plan carried out.

    Args:
        plan: for the whole batch.
        rewards: `[N, G]` what the plan was made from; unscored completions get exactly 0.
        advantages: `[n]` of this rank's completions, or of all of them.
        first_row: row of the batch that `advantages` begins with.

    Returns:
        `[n]` of the same dtype and device. Rows of groups the plan leaves alone are the same bits.
    """
    rows = slice(first_row, first_row + len(advantages))
    width = rewards.shape[1]
    _, is_scored, _ = usable(rewards)
    values = np.where(is_scored, plan.advantages[:, None], 0.0).reshape(-1)[rows]
    is_rewritten = np.repeat(plan.is_rewritten, width)[rows]
    return torch.where(
        torch.from_numpy(is_rewritten).to(advantages.device),
        torch.from_numpy(values).to(advantages.device, advantages.dtype),
        advantages,
    )
