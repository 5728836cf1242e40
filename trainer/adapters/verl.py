"""GRPO in verl with the control loop around it: an advantage estimator for verl's registry.

verl calls the estimator in one process, its driver, once for each batch, with all completions of
the batch. It names the group of each completion in `index` (the prompt's uid), in any order, and
groups may differ in size. The advantages are verl's own (`compute_grpo_outcome_advantage`), and
those of collapsed groups are replaced as the settings say.

Read and run with verl 0.9.1: `verl/trainer/ppo/core_algos.py` for the estimators,
`compute_advantage` in `ray_trainer.py` for what they are given, `padding_utils.py` for the rows
that only fill up a batch. Left out, because an estimator does not get it: entropy, KL, gradient
norm, the step's number, and every knob.

B = completions of the batch, T = tokens of the longest, N = groups, G = completions of the largest.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from monitor_service.engine.collapse import Matrix
from monitor_service.engine.injection import Host
from monitor_service.errors import InvalidInput
from trainer.adapters.session import Session
from trainer.link import MonitorLink

VERL_EPS = 1e-6
"""What verl adds to the std of a group, in reward units."""

_UNSCALED = (
    "norm_adv_by_std_in_grpo=False leaves advantages in reward units, where an injected one has no "
    "size of its own"
)


def register(
    link: MonitorLink, *, name: str = "acr_grpo", after_step: int = 0, wait_s: float = 0.0
) -> None:
    """Make `algorithm.adv_estimator=acr_grpo` known to verl, in this process.

    The monitor hears of the run when verl first calls the estimator, so this may be called in every
    process that imports verl.

    Args:
        link: the run's monitor, such as a `MonitorClient`; not started yet.
        name: of the estimator.
        after_step: batches that lie behind a training that resumes.
        wait_s: bound of the wait for the newest settings at each step.
    """
    from verl.trainer.ppo.core_algos import (  # type: ignore[import-not-found]
        register_adv_est,
    )

    register_adv_est(name)(Estimator(link, after_step=after_step, wait_s=wait_s))


class Estimator:
    """An advantage estimator with verl's signature."""

    def __init__(self, link: MonitorLink, *, after_step: int = 0, wait_s: float = 0.0) -> None:
        """As `register`."""
        self._link = link
        self._after_step = after_step
        self._wait_s = wait_s
        self._session: Session | None = None

    def __call__(
        self,
        token_level_rewards: torch.Tensor,
        response_mask: torch.Tensor,
        index: npt.NDArray[Any] | None = None,
        config: Any = None,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Advantages and returns, which are the same.

        Args:
            token_level_rewards: `[B, T]`; a completion's reward is the sum over its tokens.
            response_mask: `[B, T]` 1 for the policy's tokens, 0 for others.
            index: `[B]` the prompt's uid of each completion.
            config: verl's section `algorithm`; None: its defaults.

        Returns:
            Twice `[B, T]`, 0 outside of the mask.

        Raises:
            InvalidInput: no uids, or rewards that contain a KL penalty.
        """
        from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

        options = {} if config is None else config
        if index is None:
            raise InvalidInput("index", None, "the uid of each completion's prompt")
        if options.get("use_kl_in_reward", False):
            raise InvalidInput(
                "algorithm.use_kl_in_reward",
                True,
                "false: a penalty on every token keeps groups of one reward from being seen as "
                "such; use actor.use_kl_loss",
            )
        is_scaled = bool(options.get("norm_adv_by_std_in_grpo", True))
        # With a mask of ones a completion's advantage stands at its only token.
        scalars_B: torch.Tensor = compute_grpo_outcome_advantage(
            token_level_rewards=token_level_rewards,
            response_mask=torch.ones_like(token_level_rewards[:, :1]),
            index=index,
            norm_adv_by_std_in_grpo=is_scaled,
        )[0][:, 0]
        lengths_B = response_mask.sum(dim=-1)
        real = _real_rows(index, lengths_B.cpu().numpy() > 0)
        if real.any():
            kept = torch.from_numpy(real).to(scalars_B.device)
            scalars_B = scalars_B.clone()
            scalars_B[kept] = self._close_the_loop(
                token_level_rewards[kept].sum(dim=-1, dtype=torch.float64).cpu().numpy(),
                scalars_B[kept],
                index[real],
                lengths_B[kept].double(),
                is_scaled,
            )
        advantages_BT = scalars_B.unsqueeze(-1) * response_mask
        return advantages_BT, advantages_BT

    def _close_the_loop(
        self,
        rewards_B: Matrix,
        advantages_B: torch.Tensor,
        index: npt.NDArray[Any],
        lengths_B: torch.Tensor,
        is_scaled: bool,
    ) -> torch.Tensor:
        """`[B]` the advantages, corrected; the batch is reported."""
        if self._session is None:
            self._session = Session(
                self._link,
                host=Host(scale="group" if is_scaled else "none", eps=VERL_EPS),
                wait_s=self._wait_s,
                saved={"step": self._after_step},
                refusal=None if is_scaled else _UNSCALED,
            )
            self._session.open()
        group_B, place_B = _places(index)
        rewards_NG = np.full((group_B.max() + 1, place_B.max() + 1), np.nan)
        rewards_NG[group_B, place_B] = rewards_B
        advantages_NG = advantages_B.new_zeros(rewards_NG.shape)
        rows, places = (torch.from_numpy(at).to(advantages_B.device) for at in (group_B, place_B))
        advantages_NG[rows, places] = advantages_B
        corrected_NG = self._session.step(
            rewards_NG,
            advantages_NG,
            completion_length_mean=lengths_B.mean(),
            completion_length_max=lengths_B.max(),
        )
        return corrected_NG[rows, places]


def _places(index: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """`[B]` the group of each completion, and its place within it, both from 0."""
    _, group_B, sizes_N = np.unique(index.astype(str), return_inverse=True, return_counts=True)
    by_group = np.argsort(group_B, kind="stable")
    place_B = np.empty_like(group_B)
    place_B[by_group] = np.arange(len(index)) - np.repeat(np.cumsum(sizes_N) - sizes_N, sizes_N)
    return group_B, place_B


def _real_rows(
    index: npt.NDArray[Any], has_tokens_B: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """`[B]` rows of groups in which some completion has a token.

    verl fills a batch up to the size its workers need with rows that have a reward of 0, no token,
    and one uid of their own: counted, they would be a group that is all wrong.
    """
    return np.asarray(np.isin(index.astype(str), np.unique(index[has_tokens_B].astype(str))))
