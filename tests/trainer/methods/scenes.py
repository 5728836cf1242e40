"""One batch through the real trainer, with rewards we choose, under each method.

Run by torchrun it is one rank of two, and writes what that rank saw of every scene.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from tests.ranks import leave
from tests.trainer.toys import arguments, config
from trainer import GRPOTrainer

Rewards = list[list[float | None]]
"""Of each group."""


def right(number: int, size: int = 8) -> list[float | None]:
    """A group with so many right answers."""
    return [*(1.0,) * number, *(0.0,) * (size - number)]


@dataclass(frozen=True, kw_only=True)
class Scene:
    rewards: Rewards
    options: dict[str, Any] = field(default_factory=dict)
    """Of `GRPOConfig`."""
    advantages: dict[int, tuple[float, ...]]
    """Group -> the advantages it must have: one for all, or one each."""
    tolerance: float = 1e-6


AT_ONCE = {"min_groups_per_unit": 1, "threshold": 0.3}
FIVE = [right(8), right(0), right(4), right(4), right(4)]
"""An ACR of 0.4, so K = 6 of G = 8."""


TINY_STD = 4e-3
"""The vectors are for eps = 0; TRL's is 1e-4, which counts beside rewards of up to 0.1."""


def _avspo(correct: float, wrong: float, tolerance: float = 1e-6, **changes: Any) -> Scene:
    settings = {**AT_ONCE, **changes.pop("settings", {})}
    return Scene(
        rewards=FIVE,
        options={"method": "avspo", "avspo_settings": settings, **changes},
        advantages={0: (correct,), 1: (wrong,)},
        tolerance=tolerance,
    )


SCENES = {
    "avspo": _avspo(0.72735990, -0.72549537),
    "avspo, all wrong only": _avspo(0.0, -0.72549537, settings={"target": "wrong"}),
    "avspo, draft": _avspo(0.642529, 0.0, TINY_STD, settings={"strategy": "stratified_draft"}),
    "avspo, fixed partial": _avspo(
        0.866025, -0.866025, TINY_STD, settings={"strategy": "fixed_partial"}
    ),
    "avspo, exponential decay": _avspo(
        0.836559, -0.511992, TINY_STD, settings={"strategy": "exp_decay"}
    ),
    "avspo, not divided": _avspo(0.21428571, -0.025, scale_rewards="none", r_anchor=0.1),
    "avspo, unscored": Scene(
        rewards=[[1.0, None, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]],
        options={"method": "avspo", "avspo_settings": AT_ONCE},
        advantages={0: (0.866025, 0.0, 0.866025, 0.866025), 1: (-0.845154,)},
        tolerance=TINY_STD,
    ),
    "avspo, the authors' code": Scene(
        rewards=[right(0), right(0)],
        options={"method": "avspo", "avspo_settings": {**AT_ONCE, "strategy": "official_code"}},
        advantages={0: (-0.333233,), 1: (-0.333233,)},
    ),
    "constant": Scene(
        rewards=FIVE, options={"method": "constant"}, advantages={0: (1.0,), 1: (-1.0,)}
    ),
    "ngrpo": Scene(
        rewards=[right(number) for number in (0, 1, 2, 4, 7, 8)],
        options={"method": "ngrpo"},
        advantages={
            0: (-0.333332,) * 8,
            1: (1.763830,) + (-0.503951,) * 7,
            2: (1.333331,) * 2 + (-0.666665,) * 6,
            3: (0.843272,) * 4 + (-1.054091,) * 4,
            4: (0.333332,) * 7 + (-2.666659,),
            5: (0.0,) * 8,
        },
    ),
    "agpo": Scene(
        rewards=[right(8), right(0), [*right(1)[::-1]], right(0)],
        options={"method": "agpo"},
        # The lone right answer has 0.1 more, which the std of the group takes out again.
        advantages={0: (0.0,), 1: (0.0,), 2: (-0.353463,) * 7 + (2.474238,), 3: (0.0,)},
        tolerance=1e-4,
    ),
    "rl_zvp": Scene(
        rewards=[right(8), right(0), right(4), right(4)],
        options={"method": "rl_zvp"},
        advantages={0: (0.0,), 1: (0.0,), 2: (0.935239,) * 4 + (-0.935239,) * 4},
        tolerance=1e-4,
    ),
    "dr_grpo": Scene(
        rewards=[right(2), right(0)],
        options={"method": "dr_grpo"},
        advantages={0: (0.75,) * 2 + (-0.25,) * 6, 1: (0.0,)},
    ),
    "grpo": Scene(
        rewards=FIVE,
        advantages={0: (0.0,), 1: (0.0,), 2: (0.935239,) * 4 + (-0.935239,) * 4},
        tolerance=1e-4,
    ),
}


class Recorder(GRPOTrainer):
    """Keeps what the loss was computed from, and its value."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batch: dict[str, Any] = {}
        self.losses: list[float] = []
        self.token_advantages: list[list[list[float]]] = []
        self.token_entropies: list[list[list[float]]] = []

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.batch = super()._generate_and_score_completions(inputs)
        return self.batch

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if self._micro_batch is not None:
            self.token_advantages.append(self._micro_batch["advantages"].tolist())
            self.token_entropies.append(found[1].tolist())
        return found

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        loss = super()._compute_loss(model, inputs)
        self.losses.append(loss.item())
        return loss


def by_rewards(completions: list[str], rewards: list[str], **_: Any) -> list[float | None]:
    """Each row of the data holds the rewards of its whole group."""
    first = int(os.environ.get("RANK", 0)) * len(completions)
    groups = [json.loads(told) for told in rewards]
    return [group[(first + at) % len(group)] for at, group in enumerate(groups)]


def played(scene: Scene, folder: Path) -> Recorder:
    """The trainer after one step of the scene, on this rank."""
    size = len(scene.rewards[0])
    rows = len(scene.rewards) * size
    args = config(
        folder,
        per_device_train_batch_size=rows // int(os.environ.get("WORLD_SIZE", 1)),
        num_generations=size,
        max_steps=1,
        shuffle_dataset=False,
        **scene.options,
    )
    trainer = Recorder(
        **{
            **arguments(args, [], by_rewards),
            "train_dataset": Dataset.from_list(
                [
                    {"prompt": f"{at}+{at}=", "rewards": json.dumps(group)}
                    for at, group in enumerate(scene.rewards)
                ]
            ),
        }
    )
    trainer.train()
    return trainer


def seen(trainer: Recorder) -> dict[str, Any]:
    """What a rank saw, for a test to judge."""
    batch = trainer.batch
    mask = batch["completion_mask"]
    return {
        "advantages": batch["advantages"].tolist(),
        "lengths": mask.sum(dim=1).tolist(),
        "counted": (mask * batch.get("tool_mask", torch.ones_like(mask))).sum(dim=1).tolist(),
        "loss": trainer.losses[0],
        "token_advantages": trainer.token_advantages[0],
        "world": trainer.accelerator.num_processes,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    rank = int(os.environ["RANK"])
    found = {name: seen(played(scene, folder / str(rank))) for name, scene in SCENES.items()}
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main()
