"""Model, data and rewards of a configuration, put together.

`model_name_or_path: toy`, or `toy:TASK`, is a model and a task of `trainer.toy`, without a
download.
"""

import logging
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer
from trl import ModelConfig, get_peft_config, get_quantization_config

from trainer import toy
from trainer.arguments import ScriptArguments
from trainer.config import GRPOConfig
from trainer.data import SOURCES, load_prompts
from trainer.data.filters import Filter, by_level, by_prompt_length, filtered
from trainer.data.templates import check_chat_template
from trainer.grpo import GRPOTrainer
from trainer.link import MonitorLink
from trainer.rewards.registry import composed

logger = logging.getLogger(__name__)


def build_trainer(
    script: ScriptArguments,
    training: GRPOConfig,
    model: ModelConfig,
    *,
    monitor: MonitorLink | None = None,
) -> GRPOTrainer:
    """A trainer that is ready to train.

    Args:
        script: data and rewards.
        training: what follows from the others is written into it, such as `reward_weights`.
        model: what to train.
        monitor: replaces the one that `training` describes.

    Raises:
        ValueError: no model, no dataset, a dataset beside the toy, data that do not fit or are all
            filtered away, or conversations for a model without a chat template.
    """
    reward_funcs = composed(script.rewards, training)
    build = _toy if toy.is_toy(model.model_name_or_path) else _pretrained
    return GRPOTrainer(
        args=training,
        reward_funcs=reward_funcs,
        peft_config=get_peft_config(model),
        monitor=monitor,
        **build(script, training, model),
    )


def _toy(script: ScriptArguments, training: GRPOConfig, model: ModelConfig) -> dict[str, Any]:
    if script.dataset_name is not None:
        raise ValueError(f"dataset_name is {script.dataset_name!r}, the toy brings its own data")

    def log_progress(step: int, num_steps: int) -> None:
        if step % 250 == 0:
            logger.info("warm start: step %d of %d", step, num_steps)

    name = model.model_name_or_path
    network, tokenizer, train_dataset, eval_dataset = toy.warm_started(
        toy.find(name), training.seed, script.toy_cache_dir, on_step=log_progress
    )
    if training.beta:
        # TRL loads the reference policy from where the model says that it came from.
        start = Path(training.output_dir) / "start"
        network.save_pretrained(start)
        network.config._name_or_path = str(start)
    if script.difficulty_levels and script.difficulty_column not in train_dataset.column_names:
        found = ", ".join(train_dataset.column_names)
        raise ValueError(
            f"column {script.difficulty_column!r} is not in {name}, which has: {found}"
        )
    return {
        "model": network,
        "processing_class": tokenizer,
        "train_dataset": filtered(
            train_dataset, _filters(script, training, tokenizer), source=name
        ),
        "eval_dataset": None if training.eval_strategy == "no" else eval_dataset,
    }


def _pretrained(
    script: ScriptArguments, training: GRPOConfig, model: ModelConfig
) -> dict[str, Any]:
    if model.model_name_or_path is None:
        raise ValueError(
            f"model_name_or_path is missing: a path, an id on the hub, or {toy.tasks.PREFIX!r}"
        )
    training.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(training.model_init_kwargs or {}),
    }
    train_dataset = train_prompts(script, training, model)
    evaluates = training.eval_strategy != "no"
    return {
        "model": model.model_name_or_path,
        "quantization_config": get_quantization_config(model),
        "train_dataset": train_dataset,
        "eval_dataset": _prompts(script, script.dataset_test_split) if evaluates else None,
    }


def train_prompts(
    script: ScriptArguments, training: GRPOConfig, model: ModelConfig, tokenizer: Any = None
) -> Dataset:
    """The problems to train on, checked against the model's tokenizer.

    Args:
        script: which data, and which of them.
        training: with the arguments of the chat template.
        model: whose tokenizer is loaded when the prompts need it.
        tokenizer: the model's, where it is there already.

    Raises:
        ValueError: see `build_trainer`.
    """
    keep = [script.difficulty_column] if script.difficulty_levels is not None else []
    dataset = _prompts(script, script.dataset_train_split, keep)
    is_chat = not isinstance(dataset[0]["prompt"], str)
    if tokenizer is None and (is_chat or script.max_prompt_length is not None):
        tokenizer = AutoTokenizer.from_pretrained(
            model.model_name_or_path,
            revision=model.model_revision,
            trust_remote_code=training.trust_remote_code,
        )
    if is_chat:
        check_chat_template(dataset[:1]["prompt"], tokenizer, str(model.model_name_or_path))
    filters = _filters(script, training, tokenizer)
    return filtered(dataset, filters, source=str(script.dataset_name))


def _prompts(script: ScriptArguments, split: str, keep_columns: list[str] | None = None) -> Dataset:
    if script.dataset_name is None:
        raise ValueError(
            f"dataset_name is missing: one of {', '.join(SOURCES)}, a JSONL or Parquet file, or an "
            "id on the hub"
        )
    return load_prompts(
        script.dataset_name,
        config=script.dataset_config,
        split=split,
        prompt_column=script.prompt_column,
        answer_column=script.answer_column,
        prompt_template=script.prompt_template,
        system_prompt=script.system_prompt,
        answer_marker=script.answer_marker,
        keep_columns=keep_columns or [],
    )


def _filters(script: ScriptArguments, training: GRPOConfig, tokenizer: Any) -> list[Filter]:
    filters = []
    if script.difficulty_levels is not None:
        filters.append(by_level(script.difficulty_levels, script.difficulty_column))
    if script.max_prompt_length is not None:
        filters.append(
            by_prompt_length(script.max_prompt_length, tokenizer, training.chat_template_kwargs)
        )
    return filters
