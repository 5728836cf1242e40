"""RL-ZVP: tokens of a collapsed group get an advantage by their entropy (arXiv 2509.21880).

    all right:  A_it = +alpha * H_it
    all wrong:  A_it = -alpha * (max_k H_ik - H_it)

H is the entropy of the policy's next-token distribution in nats, a constant to the gradient, the
maximum is over the tokens of the completion. Groups that differ keep their advantages. So the
uncertain tokens of right answers are pushed up, the confident ones of wrong answers down; at
H = 0.3 nats and alpha = 0.1 the push is 0.03, some 25 times less than that of AVSPO.

alpha = 0.1 is that of both public re-implementations we read; we do not know the paper's tuned
values. Vectors: H = [1, 3]: [.1, .3] all right, [-.2, 0] all wrong.

n = completions of a micro-batch, C = tokens of the longest.
"""

import torch

SIDES = "zvp_sides"
"""Key in a batch: `[n]` +1 in groups that are all right, -1 in those all wrong, else 0."""


def advantages(
    advantages_n: torch.Tensor,
    sides_n: torch.Tensor,
    entropies_nC: torch.Tensor,
    mask_nC: torch.Tensor,
    alpha: float,
) -> torch.Tensor:
    """One advantage for every token.

    Args:
        advantages_n: `[n]` what TRL computed.
        sides_n: `[n]` as under `SIDES`.
        entropies_nC: `[n, C]` nats; not differentiated through.
        mask_nC: `[n, C]` 1 for the tokens of the loss.
        alpha: factor on the entropy, above 0.

    Returns:
        `[n, C]`; 0 at padded tokens of collapsed groups.
    """
    inside = mask_nC.bool()
    entropies = entropies_nC.detach().masked_fill(~inside, 0.0)
    highest = entropies.amax(dim=1, keepdim=True)
    sides = sides_n.unsqueeze(1)
    shaped = alpha * torch.where(sides > 0, entropies, entropies - highest)
    shaped = shaped.masked_fill(~inside, 0.0).to(advantages_n.dtype)
    return torch.where(sides == 0, advantages_n.unsqueeze(1).expand_as(shaped), shaped)
