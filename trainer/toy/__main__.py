"""`python -m trainer.toy TASK`: what plain GRPO, as TRL ships it, does to a toy task.

One JSON object per seed: accuracies before and after, and how groups collapsed on the way.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import datasets
import numpy as np
import torch
import transformers
import trl

from trainer import toy
from trainer.logs import to_standard_error

NUM_EDGE_STEPS = 50
"""Length of the beginning and of the end over which ACR is averaged."""
NUM_SAMPLES = 8
"""Per held-out problem, at temperature 1."""


def measure(
    task: toy.Task,
    seed: int,
    *,
    num_steps: int,
    learning_rate: float | None = None,
    cache_dir: str | None = None,
) -> dict[str, Any]:
    """Train one seed and describe it; needs nothing but this machine.

    Args:
        task: of `toy.TASKS`.
        seed: of the problems, the weights, the sampling and the order.
        num_steps: GRPO steps, at least 1.
        learning_rate: of GRPO; None is the task's.
        cache_dir: as of `toy.warm_started`.

    Returns:
        Accuracies are (before, after); `acr_wrong` and `acr_correct` are mean shares of all-wrong
        and all-correct groups, in [0, 1], over the first steps, the last ones and the run.
    """
    model, tokenizer, train, held_out = toy.warm_started(task, seed, cache_dir)
    defaults = task.grpo_defaults
    if learning_rate is not None:
        defaults["learning_rate"] = learning_rate
    rewards_per_step: list[list[float | None]] = []

    def reward(completions: Any, **columns: Any) -> list[float | None]:
        rewards_per_step.append(task.reward(completions, **columns))
        return rewards_per_step[-1]

    def describe() -> tuple[float, float, float]:
        correct_P = toy.sampled_correct(model, tokenizer, held_out, num_samples=NUM_SAMPLES)
        greedy = toy.greedy_accuracy(model, tokenizer, held_out).value
        return greedy, float(correct_P.mean()) / NUM_SAMPLES, float((correct_P > 0).mean())

    with tempfile.TemporaryDirectory() as folder:
        config = trl.GRPOConfig(
            **defaults,
            output_dir=folder,
            max_steps=num_steps,
            seed=seed,
            logging_steps=num_steps,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        transformers.set_seed(seed)
        trainer = trl.GRPOTrainer(
            model=model,
            args=config,
            reward_funcs=[reward],
            processing_class=tokenizer,
            train_dataset=train,
        )
        before = describe()
        started = time.perf_counter(), time.process_time()
        trainer.train()
        wall_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
        after = describe()
    rewards = np.array(rewards_per_step, dtype=float)
    means = rewards.reshape(num_steps, -1, defaults["num_generations"]).mean(axis=2)

    def over(share: Any) -> dict[str, float]:
        parts = {"first": share[:NUM_EDGE_STEPS], "last": share[-NUM_EDGE_STEPS:], "run": share}
        return {name: round(float(part.mean()), 3) for name, part in parts.items()}

    greedy, pass_1, pass_8 = (
        [round(value, 3) for value in pair] for pair in zip(before, after, strict=True)
    )
    return {
        "task": task.name,
        "seed": seed,
        "steps": num_steps,
        "learning_rate": defaults["learning_rate"],
        "greedy": greedy,
        "pass@1": pass_1,
        f"pass@{NUM_SAMPLES}": pass_8,
        "acr_wrong": over((means == 0).mean(axis=1)),
        "acr_correct": over((means == 1).mean(axis=1)),
        "wall_s_per_step": round(wall_s / num_steps, 3),
        "cpu_s_per_step": round(cpu_s / num_steps, 3),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program; `argv` without its name, None for that of the process."""
    parser = argparse.ArgumentParser(prog="python -m trainer.toy", description=__doc__)
    parser.add_argument("task", choices=list(toy.TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="default: the task's")
    parser.add_argument("--learning-rate", type=float, help="default: the task's")
    parser.add_argument("--cache", metavar="FOLDER", help="keeps warm-started weights")
    options = parser.parse_args(argv)
    task = toy.TASKS[options.task]
    num_steps = task.num_steps if options.steps is None else options.steps
    if num_steps < 1:
        parser.error(f"--steps: must be at least 1; got {num_steps}")
    # TRL and transformers disagree about names; nobody who runs this can act on it.
    warnings.filterwarnings("ignore", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    # So small a model gains nothing from a second thread.
    to_standard_error(logging.WARNING)
    torch.set_num_threads(1)
    for seed in options.seeds:
        with redirect_stdout(sys.stderr):  # Where what libraries print does no harm.
            figures = measure(
                task,
                seed,
                num_steps=num_steps,
                learning_rate=options.learning_rate,
                cache_dir=options.cache,
            )
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
