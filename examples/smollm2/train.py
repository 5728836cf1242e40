"""Train SmolLM2-135M-Instruct on small arithmetic word problems.

    python -m examples.smollm2.train [--steps N] [--out DIR] [--config FILE] [--eval-problems N]
                                     [--monitor-url URL]

On a GPU where there is one, else on the CPU: `gpu.yaml` or `cpu.yaml` next to this file has the
arguments of `trainer.GRPOConfig`. Saves the trained model, loads it again, and prints what changed.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import yaml
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

from examples.smollm2.problems import accuracy, form, make_problems
from examples.smollm2.weights import converted
from trainer.config import GRPOConfig
from trainer.grpo import GRPOTrainer

NUM_TRAIN_PROBLEMS = 2_000
BATCH = 64
"""Problems answered at once in an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Of greedy answers to held-out problems, fractions."""

    accuracy: float
    form: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training came to.

    Attributes:
        device: it ran on.
        before, after: scores of the model given, and of the one that was saved and loaded again.
        acr: share of collapsed groups of each step.
        effective_acr: the same after injection.
        reward: mean accuracy of each step's completions.
        train_s: seconds of training.
        model_dir: where the trained model is.
    """

    device: str
    before: Score
    after: Score
    acr: list[float]
    effective_acr: list[float]
    reward: list[float]
    train_s: float
    model_dir: Path


def train(
    weights: Path, config: GRPOConfig, *, num_eval_problems: int, progress: Console
) -> Outcome:
    """Train on problems of the configuration's seed.

    Args:
        weights: folder of the model.
        config: of the training; the trained model goes to `model` in its `output_dir`.
        num_eval_problems: held out, for the scores.
        progress: is told how far things are.
    """
    problems = make_problems(NUM_TRAIN_PROBLEMS + num_eval_problems, seed=config.seed)
    held_out = problems.select(range(num_eval_problems))
    tokenizer = AutoTokenizer.from_pretrained(weights, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).to(config.device)
    progress.print(f"{num_eval_problems} held-out problems on {config.device.type}")
    before = scored(model, tokenizer, held_out, config.max_completion_length)
    trainer = GRPOTrainer(
        model=model,
        args=config,
        reward_funcs=[accuracy, form],
        train_dataset=problems.select(range(num_eval_problems, len(problems))),
        processing_class=tokenizer,
        callbacks=[Told(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    began = time.perf_counter()
    trainer.train()
    train_s = time.perf_counter() - began
    model_dir = Path(config.output_dir) / "model"
    trainer.save_model(str(model_dir))
    reloaded = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model_dir, padding_side="left")
    steps = [row for row in trainer.state.log_history if "rewards/accuracy/mean" in row]
    return Outcome(
        device=config.device.type,
        before=before,
        after=scored(reloaded.to(config.device), tokenizer, held_out, config.max_completion_length),
        acr=[row["acr"] for row in steps],
        effective_acr=[row["acr_effective"] for row in steps],
        reward=[row["rewards/accuracy/mean"] for row in steps],
        train_s=train_s,
        model_dir=model_dir,
    )


def scored(model: Any, tokenizer: Any, problems: datasets.Dataset, max_tokens: int) -> Score:
    """Greedy answers to at least one problem."""
    rights: list[float] = []
    forms: list[float] = []
    model.eval()
    for rows in problems.iter(BATCH):
        inputs = tokenizer.apply_chat_template(
            rows["prompt"],
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
        ).to(model.device)
        with torch.no_grad():
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=max_tokens)
        texts = tokenizer.batch_decode(
            ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        rights += accuracy(completions, rows["answer"])
        forms += form(completions)
    return Score(accuracy=sum(rights) / len(rights), form=sum(forms) / len(forms))


class Told(TrainerCallback):  # type: ignore[misc]
    """One line a step."""

    def __init__(self, progress: Console) -> None:
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """The figures of the newest step."""
        if logs and "rewards/accuracy/mean" in logs:
            self._progress.print(
                f"step {state.global_step}/{state.max_steps}: "
                f"accuracy {logs['rewards/accuracy/mean']:.2f}, "
                f"form {logs['rewards/form/mean']:.2f}, "
                f"ACR {logs['acr']:.2f}, effective {logs['acr_effective']:.2f}, "
                f"{logs['step_time']:.1f} s"
            )


def default_config() -> Path:
    """The arguments that fit this machine."""
    name = "gpu.yaml" if torch.cuda.is_available() else "cpu.yaml"
    return Path(__file__).with_name(name)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert the weights if need be, train, and print what changed."""
    parser = argparse.ArgumentParser(prog="python -m examples.smollm2.train")
    parser.add_argument("--steps", type=int, help="optimizer steps (default: the config's)")
    parser.add_argument("--out", type=Path, default=Path("runs/smollm2"), help="output folder")
    parser.add_argument("--config", type=Path, default=default_config())
    parser.add_argument("--eval-problems", type=int, default=32, help="held out, for the scores")
    parser.add_argument("--monitor-url", help="where `acr serve` listens (default: none)")
    options = parser.parse_args(argv)
    if options.eval_problems < 1:
        parser.error("--eval-problems: at least 1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    arguments = yaml.safe_load(options.config.read_text())
    if options.steps is not None:
        arguments["max_steps"] = options.steps
    progress = Console(stderr=True)
    try:
        config = GRPOConfig(
            **arguments, output_dir=str(options.out), monitor_url=options.monitor_url
        )
        weights = converted(options.out / "smollm2-135m-instruct")
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"smollm2: {error}")
    transformers.set_seed(config.seed)
    found = train(weights, config, num_eval_problems=options.eval_problems, progress=progress)
    table = Table("", "before", "after", title=f"{options.eval_problems} held-out problems, greedy")
    before, after = asdict(found.before), asdict(found.after)
    for name in before:
        table.add_row(name, f"{before[name]:.3f}", f"{after[name]:.3f}")
    out = Console()
    out.print(table)
    out.print("ACR by step: " + " ".join(f"{rate:.2f}" for rate in found.acr))
    out.print("effective:   " + " ".join(f"{rate:.2f}" for rate in found.effective_acr))
    out.print(f"{len(found.acr)} steps in {found.train_s:.0f} s on {found.device}")
    out.print(f"model: {found.model_dir}", soft_wrap=True)


if __name__ == "__main__":
    main()
