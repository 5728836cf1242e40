"""`acr-train difficulty CONFIG.yaml --output FILE`: pass rates of a base model, and levels."""

import argparse
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import datasets
import transformers
from datasets import Dataset
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from trl import ModelConfig

from monitor_service.errors import InvalidInput
from trainer import toy
from trainer.arguments import ScriptArguments, parse
from trainer.build import train_prompts
from trainer.config import GRPOConfig
from trainer.difficulty import record
from trainer.difficulty.levels import LEVELS
from trainer.difficulty.measure import measure
from trainer.evaluate import models
from trainer.evaluate.generation import Generator, HuggingFaceGenerator, Sampling
from trainer.rewards.registry import accuracy

INTERRUPTED = 130
"""Status of a program that SIGINT ended, as shells count it."""


def main(argv: Sequence[str]) -> None:
    """Run the program; `argv` follows the word difficulty. A mistake ends it with one line."""
    options, overrides = _parser().parse_known_args(argv)
    console = Console(stderr=True)
    _quieten()
    try:
        script, training, model = parse([str(options.config), *overrides])
        _check(options, model)
        _run(script, training, model, options, console)
    except (OSError, ValueError) as error:
        _end(1, f"acr-train difficulty: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        _end(
            INTERRUPTED,
            f"acr-train difficulty: interrupted; what is in {options.output} is kept, the same "
            "command goes on",
        )
    _show(record.read(options.output), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="acr-train difficulty",
        usage="acr-train difficulty CONFIG.yaml --output FILE [options] [--key value ...]",
        description="Sample the model of a configuration on its training problems, and write each "
        "problem with its pass rate and its level. Sampling, prompts and reward are those of the "
        "configuration, whose keys can be given here too. The same command goes on where it "
        "stopped.",
        epilog="levels: " + "; ".join(f"{n}: {level}" for n, level in enumerate(LEVELS)),
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON lines")
    parser.add_argument(
        "--num-samples",
        "--num_samples",
        type=int,
        default=16,
        help="completions of each problem (default: 16)",
    )
    parser.add_argument(
        "--batch-size",
        "--batch_size",
        type=int,
        default=64,
        help="completions at a time (default: 64)",
    )
    parser.add_argument("--limit", type=int, help="only so many problems, from the first")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def _check(options: argparse.Namespace, model: ModelConfig) -> None:
    for name in ("num_samples", "batch_size", "limit"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InvalidInput(name, value, "must be at least 1")
    if model.model_name_or_path is None:
        raise InvalidInput("model_name_or_path", None, "must be a path, an id on the hub, or toy")
    if model.model_revision not in (None, "main"):
        allowed = "must be main: other revisions have to be downloaded first"
        raise InvalidInput("model_revision", model.model_revision, allowed)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InvalidInput("WORLD_SIZE", os.environ["WORLD_SIZE"], "must be 1: one process only")


def _run(
    script: ScriptArguments,
    training: GRPOConfig,
    model: ModelConfig,
    options: argparse.Namespace,
    console: Console,
) -> None:
    reward_name, reward = accuracy(script.rewards, training)
    problems = _problems(script, training, model)
    problems = problems.select(range(min(options.limit or len(problems), len(problems))))
    sampling = Sampling(
        max_new_tokens=training.max_completion_length,
        temperature=training.temperature,
        top_p=training.top_p,
        seed=training.seed,
    )
    conditions = {
        "model": model.model_name_or_path,
        "reward": reward_name,
        "num_samples": options.num_samples,
        "temperature": training.temperature,
        "top_p": training.top_p,
        "max_completion_length": training.max_completion_length,
        "seed": training.seed,
    }
    chunk = max(1, options.batch_size // options.num_samples)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    done = record.resume(options.output, problems, conditions, chunk=chunk)
    if done:
        console.print(f"{done} of {len(problems)} problems are in {options.output}", style="dim")
    if done == len(problems):
        return
    generator = _generator(training, model, options.batch_size)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("problems", total=len(problems), completed=done)
        for rated in measure(
            problems,
            generator,
            reward,
            sampling=sampling,
            num_samples=options.num_samples,
            chunk=chunk,
            first=done,
        ):
            record.append(options.output, rated, conditions)
            progress.advance(task, len(rated))


def _problems(script: ScriptArguments, training: GRPOConfig, model: ModelConfig) -> Dataset:
    """All problems to train on, whatever levels the configuration asks for."""
    if toy.is_toy(model.model_name_or_path):
        return toy.find(model.model_name_or_path).make_splits(seed=training.seed)[0]
    script.difficulty_levels = None
    return train_prompts(script, training, model)


def _generator(training: GRPOConfig, model: ModelConfig, batch_size: int) -> Generator:
    name = model.model_name_or_path
    if training.use_vllm:
        from trainer.evaluate.vllm_generation import VllmGenerator

        return VllmGenerator(
            name,
            transformers.AutoTokenizer.from_pretrained(name),
            batch_size=batch_size,
            seed=training.seed,
            gpu_memory_utilization=training.vllm_gpu_memory_utilization,
            tensor_parallel_size=training.vllm_tensor_parallel_size,
        )
    network, tokenizer = models.load(
        name,
        dtype=model.dtype or "auto",
        device="cpu" if training.use_cpu else None,
        seed=training.seed,
    )
    return HuggingFaceGenerator(network, tokenizer, batch_size=batch_size)


def _show(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    counts = Counter(row["level"] for row in rows)
    rates = [row["pass_rate"] for row in rows if row["pass_rate"] is not None]
    mean = sum(rates) / len(rates) if rates else None
    if options.json:
        summary = {
            "output": str(options.output),
            "num_problems": len(rows),
            "num_unscored": counts[None],
            "mean_pass_rate": mean,
            "levels": [
                {"level": number, "pass_rate": str(level), "num_problems": counts[number]}
                for number, level in enumerate(LEVELS)
            ],
        }
        sys.stdout.write(json.dumps(summary) + "\n")
        return
    table = Table("level", "pass rate", "problems", box=None)
    for number, level in enumerate(LEVELS):
        table.add_row(str(number), str(level), str(counts[number]))
    if counts[None]:
        table.add_row("-", "not scored", str(counts[None]))
    console = Console()
    console.print(table)
    if mean is not None:
        console.print(f"mean pass rate {mean:.3f} of {len(rates)} problems, in {options.output}")


def _quieten() -> None:
    # TRL and transformers disagree about names; nobody who measures can act on it.
    warnings.filterwarnings("ignore", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()


def _end(status: int, text: str) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(status)
