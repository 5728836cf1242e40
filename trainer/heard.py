"""What is overheard of a batch while TRL scores it, and gathered over the ranks.

B = completions of the batch over all ranks, F = reward functions, N = groups, G = completions per
group; completion b belongs to group b // G.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A scored batch.

    Attributes:
        rewards_BF: `[B, F]` of each reward function; NaN where it did not score.
        facts_BK: `[B, 3]` int64: whether the completion was cut at the length limit, the number of
            its prompt, and its length in tokens.
    """

    rewards_BF: torch.Tensor
    facts_BK: torch.Tensor

    def truncated(self, num_generations: int) -> npt.NDArray[np.bool_]:
        """`[N, G]` completions cut at the length limit."""
        cut = self.facts_BK[:, 0].cpu().numpy().astype(np.bool_)
        return np.asarray(cut.reshape(-1, num_generations))

    def lengths(self, num_generations: int) -> npt.NDArray[np.int64]:
        """`[N, G]` tokens of each completion."""
        return np.asarray(self.facts_BK[:, 2].cpu().numpy().reshape(-1, num_generations))

    def prompts(self, num_generations: int) -> list[str]:
        """`[N]` a name for the prompt of each group."""
        return [str(number) for number in self.facts_BK[::num_generations, 1].tolist()]

    def joined(self, other: "Heard") -> "Heard":
        """This batch and another, as one."""
        return Heard(
            rewards_BF=torch.cat([self.rewards_BF, other.rewards_BF]),
            facts_BK=torch.cat([self.facts_BK, other.facts_BK]),
        )

    def at(self, rows: torch.Tensor) -> "Heard":
        """The batch of these rows, in their order."""
        rows = rows.to(self.rewards_BF.device)
        return Heard(rewards_BF=self.rewards_BF[rows], facts_BK=self.facts_BK[rows])


def facts(completion_ids: Sequence[Sequence[int]], prompts: Sequence[Any], ends: set[int]) -> Any:
    """`[n, 3]` of this rank's completions, as `Heard` keeps them.

    Args:
        completion_ids: tokens of each completion.
        prompts: the prompt of each, text or messages.
        ends: tokens that end or pad; a completion whose last token is none of them was cut.
    """
    found: list[tuple[bool, int, int]] = []
    last, number = None, 0
    for ids, prompt in zip(completion_ids, prompts, strict=True):
        if not _is_same(prompt, last):  # The rows of a group follow one another.
            last, number = prompt, prompt_number(prompt)
        found.append((not ids or ids[-1] not in ends, number, len(ids)))
    return found


def _is_same(prompt: Any, last: Any) -> bool:
    try:
        return bool(prompt == last)
    except ValueError:  # Arrays do not say.
        return False


def prompt_number(prompt: Any) -> int:
    """The same for the same prompt, in any process; a 63-bit hash of its text or messages.

    Of an image, or whatever else is no text, only its type counts: prompts that differ in nothing
    else share a budget.
    """
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True, default=_kind)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _kind(part: Any) -> str:
    return type(part).__name__
