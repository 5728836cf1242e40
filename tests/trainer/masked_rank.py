"""One rank of a run under torchrun whose loss is masked: `masked_rank.py FOLDER`."""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from tests.ranks import leave
from tests.trainer.steered import Steered, steered
from tests.trainer.toys import G

ON = {"loss_mask": True}


class Dumping(Steered):
    """Keeps what it divided by, the tokens that this rank kept, and the weights of each batch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dump: list[dict[str, Any]] = []

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        weights = [parameter.detach().clone() for parameter in self.model.parameters()]
        output = super()._generate_and_score_completions(inputs)
        kept = (output["completion_mask"] * output.get("tool_mask", 1)).sum().item()
        divisor = output["num_items_in_batch"].item()
        self.dump.append({"weights": weights, "kept": kept, "divisor": divisor})
        return output


def main() -> None:
    """Group 0, of rank 0, is dead in batch 2; both groups are in batch 3."""
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    trainer = steered(
        folder / rank,
        {2: ON, 3: ON},
        dead={2: (0,), 3: (0, 1)},
        make=Dumping,
        per_device_train_batch_size=G,
        weight_decay=0.1,
        max_steps=4,
    )
    trainer.train()
    assert trainer.accelerator.num_processes == 2
    torch.save(trainer.dump, folder / f"rank{rank}.pt")
    leave()


if __name__ == "__main__":
    main()
