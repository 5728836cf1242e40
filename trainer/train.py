"""`acr-train CONFIG.yaml [--key value ...]`: parse, build, train, save.

The configuration follows TRL: one flat YAML mapping with the fields of `ScriptArguments`,
`GRPOConfig` and `trl.ModelConfig`; arguments on the command line win over the file.
`model_name_or_path: toy` trains the model and the task of `trainer.toy`, without a download.
"""

import logging
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import trl
import yaml
from datasets import Dataset
from transformers.trainer_utils import get_last_checkpoint
from trl import ModelConfig, TrlParser, get_peft_config, get_quantization_config

from trainer import toy
from trainer.config import GRPOConfig
from trainer.data import PLACEHOLDER, load_prompts
from trainer.grpo import GRPOTrainer
from trainer.link import MonitorUnreachable
from trainer.rewards.exact import exact_match_reward
from trainer.rewards.math import box_accuracy_reward

TOY = "toy"
INTERRUPTED = 130
"""Status of a program that SIGINT ended, as shells count it."""
USAGE = "usage: acr-train CONFIG.yaml [--key value ...]"

REWARDS: dict[str, Callable[..., list[float | None]]] = {
    "box_accuracy": box_accuracy_reward,
    "exact_match": exact_match_reward,
}

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class ScriptArguments:
    """What to train on and what to reward; see `trainer.data.load_prompts` for the fields."""

    rewards: list[str] = field(
        metadata={"help": f"Reward functions, summed: {', '.join(REWARDS)}."},
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "JSONL or Parquet file, or dataset id on the hub."}
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration of the hub dataset."}
    )
    dataset_train_split: str = field(default="train", metadata={"help": "Split to train on."})
    dataset_test_split: str = field(
        default="test", metadata={"help": "Split to evaluate on, read if eval_strategy is set."}
    )
    prompt_column: str = field(default="prompt", metadata={"help": "Column with the question."})
    answer_column: str = field(default="answer", metadata={"help": "Column with the answer."})
    prompt_template: str = field(
        default=PLACEHOLDER, metadata={"help": f"Text around {PLACEHOLDER}."}
    )
    answer_marker: str | None = field(
        default=None, metadata={"help": "Keep the part of an answer after this, such as ####."}
    )

    def __post_init__(self) -> None:
        """Refuse unknown rewards.

        Raises:
            ValueError: `rewards` is empty or names one that does not exist.
        """
        unknown = [name for name in self.rewards if name not in REWARDS]
        if unknown or not self.rewards:
            allowed = ", ".join(REWARDS)
            raise ValueError(f"rewards is {self.rewards!r}, allowed is a list of: {allowed}")


PARTS = (ScriptArguments, GRPOConfig, ModelConfig)
"""Dataclasses whose fields are the keys of a configuration."""


class _Parser(TrlParser):  # type: ignore[misc]
    """TRL's, without the usage of some two hundred options before each error."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse(argv: Sequence[str]) -> tuple[ScriptArguments, GRPOConfig, ModelConfig]:
    """Configuration from a file and the command line.

    Args:
        argv: path of a YAML file, then options.

    Raises:
        OSError: the file cannot be read.
        ValueError: an unknown key or option, which it names, or a value out of range.
    """
    path, *options = argv
    # TRL's parser looks for unknown keys last, after a misspelt `use_cpu` has failed elsewhere.
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a mapping; got {type(config).__name__}")
    known = {"env", *(option.name for part in PARTS for option in fields(part))}
    if unknown := [str(key) for key in config if key not in known]:
        raise ValueError(f"unknown keys in {path}: {', '.join(unknown)}")
    try:
        script, training, model = _Parser(PARTS).parse_args_and_config(["--config", path, *options])
    except TypeError as error:  # What YAML took for another type, compared in a __post_init__.
        raise ValueError(f"a value in {path} has the wrong type: {error}") from error
    return script, training, model


def help_text() -> str:
    """Usage, and the keys that are ours; TRL documents the rest."""
    theirs = {option.name for option in fields(trl.GRPOConfig)}
    lines = [
        USAGE,
        "",
        "Train with GRPO, watched and steered by the ACR monitor. A key stands in the file, or on",
        "the command line, which wins. Every key of TRL's GRPOConfig and ModelConfig works too.",
    ]
    for part in (ScriptArguments, GRPOConfig):
        lines += ["", f"{part.__name__}:"]
        for option in fields(part):
            if option.name not in theirs:
                lines.append(f"  --{option.name}")
                lines += textwrap.wrap(
                    option.metadata["help"], 90, initial_indent=" " * 6, subsequent_indent=" " * 6
                )
    return "\n".join(lines) + "\n"


def check_checkpoint(training: GRPOConfig) -> None:
    """Refuse to resume from nowhere, before anything is built.

    Raises:
        ValueError: `resume_from_checkpoint` is no folder, or true and there is no checkpoint.
    """
    wanted = training.resume_from_checkpoint
    if isinstance(wanted, str) and not Path(wanted).is_dir():
        raise ValueError(f"resume_from_checkpoint: no such folder: {wanted}")
    if wanted is True and _last_checkpoint(training) is None:
        raise ValueError(f"resume_from_checkpoint: no checkpoint in {training.output_dir}")


def _last_checkpoint(training: GRPOConfig) -> str | None:
    folder = training.output_dir
    return get_last_checkpoint(folder) if Path(folder).is_dir() else None


def find_monitor(training: GRPOConfig, environ: Mapping[str, str]) -> None:
    """Fill in where the monitor is from ACR_MONITOR_URL and ACR_REDIS_URL, unless it is given."""
    if training.monitor_url is None:
        training.monitor_url = environ.get("ACR_MONITOR_URL") or None
        training.monitor_redis_url = (
            training.monitor_redis_url or environ.get("ACR_REDIS_URL") or None
        )


def build_trainer(script: ScriptArguments, training: GRPOConfig, model: ModelConfig) -> GRPOTrainer:
    """Model, data and rewards put together, ready to train.

    Raises:
        ValueError: no model, no dataset, a dataset beside the toy, or data that do not fit.
    """
    build = _toy if model.model_name_or_path == TOY else _pretrained
    return GRPOTrainer(
        args=training,
        reward_funcs=[REWARDS[name] for name in script.rewards],
        peft_config=get_peft_config(model),
        **build(script, training, model),
    )


def _toy(script: ScriptArguments, training: GRPOConfig, model: ModelConfig) -> dict[str, Any]:
    if script.dataset_name is not None:
        raise ValueError(f"dataset_name is {script.dataset_name!r}, the toy brings its own data")
    train_dataset, eval_dataset = toy.make_splits(seed=training.seed)
    tokenizer = toy.make_tokenizer()
    network = toy.make_model(seed=training.seed)

    def log_progress(step: int, num_steps: int) -> None:
        if step % 250 == 0:
            logger.info("warm start: step %d of %d", step, num_steps)

    toy.warm_start(network, tokenizer, train_dataset, seed=training.seed, on_step=log_progress)
    if training.beta:
        # TRL loads the reference policy from where the model says that it came from.
        start = Path(training.output_dir) / "start"
        network.save_pretrained(start)
        network.config._name_or_path = str(start)
    return {
        "model": network,
        "processing_class": tokenizer,
        "train_dataset": train_dataset,
        "eval_dataset": None if training.eval_strategy == "no" else eval_dataset,
    }


def _pretrained(
    script: ScriptArguments, training: GRPOConfig, model: ModelConfig
) -> dict[str, Any]:
    if model.model_name_or_path is None:
        raise ValueError(f"model_name_or_path is missing: a path, an id on the hub, or {TOY!r}")
    training.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(training.model_init_kwargs or {}),
    }
    evaluates = training.eval_strategy != "no"
    return {
        "model": model.model_name_or_path,
        "quantization_config": get_quantization_config(model),
        "train_dataset": _dataset(script, script.dataset_train_split),
        "eval_dataset": _dataset(script, script.dataset_test_split) if evaluates else None,
    }


def _dataset(script: ScriptArguments, split: str) -> Dataset:
    if script.dataset_name is None:
        raise ValueError("dataset_name is missing: a JSONL or Parquet file, or an id on the hub")
    return load_prompts(
        script.dataset_name,
        config=script.dataset_config,
        split=split,
        prompt_column=script.prompt_column,
        answer_column=script.answer_column,
        prompt_template=script.prompt_template,
        answer_marker=script.answer_marker,
    )


def main() -> None:
    """Run the program; a mistake in the configuration ends it with one line and status 1."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    argv = sys.argv[1:]
    if {"-h", "--help"} & set(argv):
        sys.stdout.write(help_text())
        return
    if not argv or argv[0].startswith("-"):
        _end(2, USAGE)
    try:
        script, training, model = parse(argv)
        find_monitor(training, os.environ)
        check_checkpoint(training)
        trainer = build_trainer(script, training, model)
    except (OSError, ValueError) as error:
        _end(1, f"acr-train: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        _end(INTERRUPTED, "acr-train: interrupted before the first step")
    try:
        trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    except MonitorUnreachable as error:
        _end(1, f"acr-train: {error}")
    except KeyboardInterrupt:
        # Ends the progress bar, and delivers the reports that are still queued.
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
        checkpoint, step = _last_checkpoint(training), trainer.state.global_step
        how = f"continue with --resume_from_checkpoint {checkpoint}"
        if checkpoint is None:
            how = f"no checkpoint in {training.output_dir}"
        _end(INTERRUPTED, f"acr-train: interrupted after optimizer step {step}; {how}")
    trainer.save_model(training.output_dir)
    logger.info("saved the model to %s", training.output_dir)
    trainer.end()


def _end(status: int, text: str) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
