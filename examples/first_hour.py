"""An ordinary TRL script under the monitor: docs/tutorial.md goes through it.

    acr serve                                            # in another terminal
    python examples/first_hour.py my-first-run

The model has 133k parameters and adds numbers, so that nothing is downloaded and no GPU is needed.
Lines that differ from a script for plain TRL are marked.
"""

import sys
from typing import Any

import torch

from trainer import GRPOConfig, GRPOTrainer, toy  # instead of: from trl import ...


def exact(completions: list[str], answer: list[str], **columns: Any) -> list[float]:
    """Reward 1 for the answer itself, else 0."""
    return [float(text.strip() == right) for text, right in zip(completions, answer, strict=True)]


def train(run_id: str, monitor_url: str = "http://127.0.0.1:8400", max_steps: int = 1000) -> None:
    """About two minutes on a CPU core."""
    torch.set_num_threads(1)
    model, tokenizer, problems, _ = toy.warm_started(toy.find("toy:mixed"), seed=0)
    args = GRPOConfig(
        output_dir=f"runs/{run_id}",
        max_steps=max_steps,
        learning_rate=5e-5,
        lr_scheduler_type="constant",
        per_device_train_batch_size=128,  # completions: 16 groups of 8
        num_generations=8,
        max_completion_length=4,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=10,
        save_strategy="no",
        report_to=[],
        monitor_url=monitor_url,  # new
        run_id=run_id,  # new
        use_avspo=True,  # new: watch, and decide what an intervention would do,
        avspo_profile="observe",  # new: but touch nothing
    )
    GRPOTrainer(
        model=model,
        args=args,
        reward_funcs=exact,
        train_dataset=problems,
        processing_class=tokenizer,
    ).train()


if __name__ == "__main__":
    train(sys.argv[1] if len(sys.argv) > 1 else "my-first-run")
