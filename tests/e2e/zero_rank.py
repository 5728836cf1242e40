"""One rank under DeepSpeed: `zero_rank.py FOLDER MONITOR_URL STEPS PHASE`; dumps what it saw.

FOLDER holds a `model` that `from_pretrained` reads. The phase `straight` trains all steps and
leaves a checkpoint halfway; `resumed` goes on from there.
"""

import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch

from tests.e2e.runs import client
from tests.trainer.toys import G, arguments, config, prompts
from trainer import GRPOTrainer

EVERY_KIND = ["wrong", "mixed", "right", "mixed", "half", "mixed", "wrong", "mixed"]
ONE_EPOCH = EVERY_KIND * 4
"""More prompts than all steps take: TRL repeats the order of the first epoch after a resume."""


class Dumping(GRPOTrainer):
    """Keeps each training batch's rewards of all ranks, and what this rank made of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dump: list[dict[str, Any]] = []
        self._rewards = torch.empty(0)

    def _calculate_rewards(self, *args: Any) -> torch.Tensor:
        self._rewards = super()._calculate_rewards(*args)
        return self._rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        if self.model.training:
            self.dump.append(
                {
                    "step": self.loop.step,
                    "rewards": self._rewards.clone(),
                    "advantages": output["advantages"].clone(),
                    "settings": self.loop._now.settings,
                }
            )
        return output


def whole(trainer: GRPOTrainer) -> dict[str, torch.Tensor]:
    """The weights, gathered; all ranks call this together."""
    parameters = list(trainer.model.parameters())
    is_split = hasattr(parameters[0], "ds_id")
    with deepspeed.zero.GatheredParameters(parameters, enabled=is_split):
        return {
            name: weights.detach().clone() for name, weights in trainer.model.named_parameters()
        }


def main(folder: Path, url: str, steps: int, phase: str) -> None:
    """3 groups of 4 on 2 ranks, so that the second group straddles them."""
    # DeepSpeed would compile for a minute what gloo does as well.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # accelerate does so for GPUs only. Without it `from_pretrained`, which splits the model while
    # it loads, takes the world for one process.
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    args = config(
        folder / "out",
        use_avspo=True,
        acr_threshold_init=0.3,
        per_device_train_batch_size=6,
        per_device_eval_batch_size=G,
        num_generations=G,
        beta=0.04,
        max_steps=steps,
        save_strategy="steps",
        save_steps=steps // 2,
        monitor_url=url,
        run_id="zero",
        settings_wait_s=30.0,
    )
    wanted = {**arguments(args, ONE_EPOCH), "model": str(folder / "model")}
    trainer = Dumping(**wanted, eval_dataset=prompts(EVERY_KIND), monitor=client(args))
    checkpoint = folder / "out" / f"checkpoint-{steps // 2}"
    trainer.train(resume_from_checkpoint=str(checkpoint) if phase == "resumed" else None)
    local = {name: tuple(here.shape) for name, here in trainer.model.named_parameters()}
    evaluated = trainer.evaluate()
    trainer.save_model(str(folder / phase))
    accelerator = trainer.accelerator
    dumped = {
        "world_size": accelerator.num_processes,
        "type": str(accelerator.distributed_type),
        "stage": trainer.model_wrapped.zero_optimization_stage(),
        "shapes": local,
        "steps": trainer.dump,
        "evaluated": evaluated,
        "weights": whole(trainer),
    }
    torch.save(dumped, folder / f"{phase}{accelerator.process_index}.pt")
    trainer.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
