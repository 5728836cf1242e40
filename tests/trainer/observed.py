"""Plain `trl.GRPOTrainer` under an observer; as a program, one rank: `observed.py FOLDER URL`."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trl
from transformers import TrainerCallback

from monitor_service.engine.collapse import Matrix
from tests.trainer.toys import G, arguments, by_outcome
from trainer import toy
from trainer.adapters.observer import Observer

OUTCOMES = ["right", "mixed", "wrong", "mixed", "half", "mixed", "wrong", "mixed"]


def plain_config(folder: Path, **changes: Any) -> trl.GRPOConfig:
    """TRL's own configuration: four groups of G a step."""
    return trl.GRPOConfig(
        **{
            **toy.GRPO_DEFAULTS,
            "output_dir": str(folder),
            "per_device_train_batch_size": 4 * G,
            "num_generations": G,
            "max_steps": 3,
            "logging_steps": 1,
            "report_to": [],
            "save_strategy": "no",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            "seed": 3,
            **changes,
        }
    )


class Keeping(TrainerCallback):
    """Keeps what TRL itself logs: the rewards of each batch, `[B, F]`, of all ranks."""

    trainer: Any

    def __init__(self) -> None:
        self.rewards: list[Matrix] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        columns = self.trainer._logs["rewards"].values()
        size = args.per_device_train_batch_size * args.world_size
        self.rewards.append(np.array([list(column)[-size:] for column in columns]).T)


def observed(
    args: trl.GRPOConfig, observer: Observer, functions: list[Any], **more: Any
) -> tuple[trl.GRPOTrainer, Keeping]:
    """TRL's trainer under `observer`, and what it logs of rewards."""
    keeping = Keeping()
    given = {**arguments(args, OUTCOMES), "reward_funcs": observer.rewards(functions), **more}
    trainer = trl.GRPOTrainer(**given, callbacks=[observer.callback(), keeping])
    keeping.trainer = trainer
    return trainer, keeping


def main(folder: Path, url: str) -> None:
    """Train 3 steps: 3 groups of 4 on 2 ranks, so that the second one straddles them."""
    rank = os.environ["RANK"]
    args = plain_config(folder / rank, per_device_train_batch_size=6)
    observer = Observer(monitor_url=url, run_id="ranks", num_generations=G)
    trainer, keeping = observed(args, observer, [by_outcome])
    trainer.train()
    assert trainer.accelerator.num_processes == 2
    torch.save(keeping.rewards, folder / f"rank{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
