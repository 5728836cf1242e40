"""The configuration of a run: one flat mapping, from a YAML file and the command line.

It follows TRL: the keys are the fields of `ScriptArguments`, `GRPOConfig` and `trl.ModelConfig`;
arguments on the command line win over the file.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import trl
import yaml
from trl import ModelConfig, TrlParser

from trainer import data
from trainer.config import GRPOConfig
from trainer.difficulty.levels import LEVELS
from trainer.rewards.registry import REWARDS, check_names


@dataclass(kw_only=True)
class ScriptArguments:
    """What to train on and what to reward; see `trainer.data.load_prompts` for the fields.

    Raises:
        InvalidInput: (a ValueError) `rewards` is empty, or names one that does not exist.
    """

    rewards: list[str] = field(
        metadata={
            "help": "Reward functions, summed; in the file also a mapping from name to weight. "
            + "; ".join(f"{name}: {reward.summary}" for name, reward in REWARDS.items())
            + "."
        },
    )
    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": f"One of {', '.join(data.SOURCES)}, a JSONL or Parquet file, or a dataset id "
            "on the hub."
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration of the hub dataset."}
    )
    dataset_train_split: str = field(default="train", metadata={"help": "Split to train on."})
    dataset_test_split: str = field(
        default="test", metadata={"help": "Split to evaluate on, read if eval_strategy is set."}
    )
    prompt_column: str | None = field(
        default=None,
        metadata={"help": "Column with the question; a.b is a field of a (default: prompt)."},
    )
    answer_column: str | None = field(
        default=None, metadata={"help": "Column with the answer, likewise (default: answer)."}
    )
    prompt_template: str | None = field(
        default=None,
        metadata={
            "help": f"Text around {data.PLACEHOLDER}, or one of {', '.join(data.TEMPLATES)} "
            "(default: plain; boxed for a dataset known by name)."
        },
    )
    system_prompt: str | None = field(
        default=None,
        metadata={"help": "Begins every prompt, which makes it a conversation; '' is none."},
    )
    answer_marker: str | None = field(
        default=None, metadata={"help": "Keep the part of an answer after this, such as ####."}
    )
    difficulty_levels: list[int] | None = field(
        default=None,
        metadata={
            "help": f"Train on problems of these levels only, 0 (easy) to {len(LEVELS) - 1}; "
            "`acr-train difficulty` finds them."
        },
    )
    difficulty_column: str = field(
        default="pass_rate",
        metadata={"help": "Column with the pass rates that the levels follow from."},
    )
    max_prompt_length: int | None = field(
        default=None,
        metadata={"help": "Train on problems with at most so many tokens in the prompt."},
    )
    toy_cache_dir: str | None = field(
        default=None, metadata={"help": "Folder that keeps warm-started toy models."}
    )

    def __post_init__(self) -> None:
        check_names(self.rewards)


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
    _check_known([str(key) for key in config], f"keys in {path}")
    given = [option.partition("=")[0] for option in options if option.startswith("--")]
    # HfArgumentParser takes hyphens too, and --no_key for a key that is true by default.
    _check_known([name[2:].replace("-", "_") for name in given], "options")
    try:
        script, training, model = _Parser(PARTS).parse_args_and_config(["--config", path, *options])
    except TypeError as error:  # What YAML took for another type, compared in a __post_init__.
        raise ValueError(f"a value in {path} has the wrong type: {error}") from error
    return script, training, model


def _check_known(names: Sequence[str], what: str) -> None:
    known = ["env", *(option.name for part in PARTS for option in fields(part))]
    if unknown := [name for name in names if not {name, name.removeprefix("no_")} & {*known}]:
        close = get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"unknown {what}: {', '.join(unknown)}{hint}")


def key_help() -> str:
    """The keys that are ours, a paragraph each, with their defaults; TRL documents the rest."""
    theirs = {option.name for option in fields(trl.GRPOConfig)}
    lines = []
    for part in (ScriptArguments, GRPOConfig):
        lines += ["", f"{part.__name__}:"]
        for option in fields(part):
            if option.name not in theirs:
                has_default = isinstance(option.default, int | float | str) and option.default
                default = f"  ({option.default})" if has_default else ""
                lines.append(f"  --{option.name}{default}")
                lines += textwrap.wrap(
                    option.metadata["help"], 90, initial_indent=" " * 6, subsequent_indent=" " * 6
                )
    return "\n".join(lines) + "\n"
