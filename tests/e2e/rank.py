"""One rank of a run under torchrun: `rank.py FOLDER MONITOR_URL REDIS_URL`; dumps what it saw."""

import sys
from pathlib import Path
from typing import Any

import torch

from tests.e2e.runs import OUTCOMES, client
from tests.ranks import leave
from tests.trainer.toys import G, arguments, config
from trainer import GRPOTrainer

STEPS = 4


class Dumping(GRPOTrainer):
    """Keeps each batch's rewards of all ranks, and the advantages and settings of this one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dump: list[dict[str, Any]] = []

    def _close_the_loop(self, output: dict[str, Any], knobs: Any) -> None:
        assert self._heard is not None
        rewards = self._heard.rewards_BF.clone()
        trls = output["advantages"].clone()
        super()._close_the_loop(output, knobs)
        self.dump.append(
            {
                "rewards": rewards,
                "trls": trls,
                "advantages": output["advantages"],
                "settings": self.loop._now.settings,
                "logged": list(self._logs["advantages"])[-len(rewards) :],
            }
        )


def main(folder: Path, url: str, redis_url: str) -> None:
    """Train a few steps: 3 groups of 4 on 2 ranks, so that the second one straddles them."""
    args = config(
        folder / "out",
        use_avspo=True,
        acr_threshold_init=0.3,
        per_device_train_batch_size=6,
        num_generations=G,
        max_steps=STEPS,
        monitor_url=url,
        monitor_redis_url=redis_url,
        run_id="ranks",
        settings_wait_s=30.0,
    )
    trainer = Dumping(**arguments(args, OUTCOMES), monitor=client(args))
    trainer.train()
    accelerator = trainer.accelerator
    torch.save(
        {
            "world_size": accelerator.num_processes,
            "has_link": trainer.loop._link is not None,
            "steps": trainer.dump,
        },
        folder / f"rank{accelerator.process_index}.pt",
    )
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
