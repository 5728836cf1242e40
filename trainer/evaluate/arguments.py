"""What `acr-train evaluate` is asked for: options, and a YAML file of the same keys."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, get_args

import yaml
from transformers import HfArgumentParser

from monitor_service.errors import InvalidInput
from monitor_service.urls import HTTP_SCHEMES, checked
from monitor_service.wire import check_run_id
from trainer.data.sources import Source
from trainer.data.templates import PLACEHOLDER, TEMPLATES
from trainer.evaluate.catalogue import BENCHMARKS, REWARDS, Benchmark
from trainer.evaluate.generation import PROMPT_FORMATS, PromptFormat, Sampling, check_num_samples
from trainer.evaluate.models import DTYPES

USAGE = "usage: acr-train evaluate [CONFIG.yaml] --model MODEL --benchmarks NAME,... [--key value]"
Backend = Literal["transformers", "vllm"]


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(kw_only=True)
class Arguments:
    """The keys; lists are separated by commas, or YAML lists in a file.

    Raises:
        InvalidInput: naming the key, its value and what is allowed.
    """

    model: str = field(
        default="",
        metadata=_help(
            "Folder of a model, a checkpoint or a LoRA adapter, an id on the hub, or toy."
        ),
    )
    benchmarks: str = field(
        default="",
        metadata=_help(
            f"Of {', '.join(BENCHMARKS)}, toy or toy:TASK, JSONL or Parquet files, and NAME=FILE "
            "for a benchmark with its rows in a file."
        ),
    )
    num_samples: int = field(default=1, metadata=_help("Completions of each problem."))
    k: str | None = field(
        default=None,
        metadata=_help("The k of pass@k, at most num_samples (default: 1 and num_samples)."),
    )
    temperature: float | None = field(
        default=None, metadata=_help("Above 0; without it decoding is greedy.")
    )
    top_p: float = field(default=1.0, metadata=_help("Share of the probability to sample from."))
    max_new_tokens: int = field(default=1024, metadata=_help("Tokens of a completion at most."))
    seed: int = field(
        default=42,
        metadata=_help("Of sampling and of the intervals; and the seed a toy was trained with."),
    )
    max_problems: int | None = field(
        default=None, metadata=_help("Only the first so many problems of each benchmark.")
    )
    prompt_format: str = field(
        default="auto",
        metadata=_help("chat: in the model's chat template; raw: as text; auto: chat if it can."),
    )
    prompt_template: str | None = field(
        default=None,
        metadata=_help(
            f"Text around {PLACEHOLDER}, or one of {', '.join(TEMPLATES)} (default: the "
            "benchmark's; boxed for files)."
        ),
    )
    prompt_column: str = field(
        default="prompt", metadata=_help("Column of a file with the question.")
    )
    answer_column: str = field(
        default="answer", metadata=_help("Column of a file with the answer.")
    )
    answer_marker: str | None = field(
        default=None, metadata=_help("Keep the part of a file's answers after this.")
    )
    reward: str = field(
        default="box_accuracy", metadata=_help(f"Judge of a file: {' or '.join(REWARDS)}.")
    )
    confidence: float = field(default=0.95, metadata=_help("Of the intervals, in (0, 1)."))
    backend: str = field(default="transformers", metadata=_help("transformers, or vllm."))
    batch_size: int | None = field(
        default=None,
        metadata=_help("Sequences generated together (default: 64, with vLLM 4096)."),
    )
    dtype: str = field(default="auto", metadata=_help(f"Of the weights: {', '.join(DTYPES)}."))
    device: str | None = field(default=None, metadata=_help("Such as cuda:1 (default: the first)."))
    vllm_tensor_parallel_size: int = field(default=1, metadata=_help("GPUs to share the model."))
    vllm_gpu_memory_utilization: float = field(
        default=0.9, metadata=_help("Share of the GPU's memory for vLLM.")
    )
    vllm_max_model_length: int | None = field(
        default=None, metadata=_help("Context that vLLM makes room for (default: the model's).")
    )
    toy_cache_dir: str | None = field(
        default=None, metadata=_help("Folder that keeps warm-started toy models.")
    )
    output: str = field(
        default="evaluation.json",
        metadata=_help("Results file; what it has already is not generated again."),
    )
    json: bool = field(default=False, metadata=_help("Print the results as JSON, not a table."))
    monitor_url: str | None = field(
        default=None, metadata=_help("Monitor to post to (default: ACR_MONITOR_URL).")
    )
    run_id: str | None = field(
        default=None,
        metadata=_help("Run whose final accuracy the first benchmark is; posted to the monitor."),
    )

    def __post_init__(self) -> None:
        if not self.model:
            raise InvalidInput("model", self.model, "must be a folder, an id on the hub, or toy")
        if not self.benchmark_names:
            names = ", ".join(BENCHMARKS)
            raise InvalidInput("benchmarks", self.benchmarks, f"must be some of {names}, or files")
        if len(set(self.benchmark_names)) < len(self.benchmark_names):
            raise InvalidInput("benchmarks", self.benchmarks, "must name each once")
        check_num_samples(self.num_samples, self.sampling)
        for k in self.ks:
            if not 1 <= k <= self.num_samples:
                allowed = f"must be in [1, num_samples], which is {self.num_samples}"
                raise InvalidInput("k", k, allowed)
        if not 0 < self.confidence < 1:
            raise InvalidInput("confidence", self.confidence, "must be in (0, 1)")
        if self.max_problems is not None and self.max_problems < 1:
            raise InvalidInput("max_problems", self.max_problems, "must be at least 1")
        choices: tuple[tuple[str, Sequence[str]], ...] = (
            ("prompt_format", PROMPT_FORMATS),
            ("reward", list(REWARDS)),
            ("backend", get_args(Backend)),
        )
        for name, allowed_values in choices:
            if getattr(self, name) not in allowed_values:
                allowed = f"must be one of {', '.join(allowed_values)}"
                raise InvalidInput(name, getattr(self, name), allowed)
        if self.monitor_url is not None:
            checked("monitor_url", self.monitor_url, HTTP_SCHEMES)
            if self.run_id is None:
                raise InvalidInput("run_id", None, "must be given with monitor_url")
        if self.run_id is not None:
            check_run_id(self.run_id)

    @property
    def benchmark_names(self) -> list[str]:
        """In order."""
        return [name.strip() for name in self.benchmarks.split(",") if name.strip()]

    @property
    def ks(self) -> list[int]:
        """Ascending."""
        if self.k is None:
            return sorted({1, self.num_samples})
        try:
            return sorted({int(part) for part in str(self.k).split(",")})
        except ValueError as error:
            raise InvalidInput("k", self.k, "must be whole numbers, separated by commas") from error

    @property
    def sampling(self) -> Sampling:
        """How completions are drawn."""
        return Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )

    @property
    def format(self) -> PromptFormat:
        """As checked."""
        return cast(PromptFormat, self.prompt_format)

    @property
    def own(self) -> Benchmark:
        """How a file is read that is no known benchmark."""
        source = Source(
            path="",
            prompt_column=self.prompt_column,
            answer_column=self.answer_column,
            answer_marker=self.answer_marker,
            prompt_template="boxed",
        )
        return Benchmark(name="", source=source, reward=self.reward)


class _Parser(HfArgumentParser):  # type: ignore[misc]
    """Without the usage of all options before each error."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse(argv: Sequence[str]) -> Arguments:
    """Arguments from a file, where the first argument is one, and the options, which win.

    Raises:
        OSError: the file cannot be read.
        ValueError: an unknown key or option, which it names, or a value out of range.
    """
    has_file = bool(argv) and not argv[0].startswith("-")
    config = _config(argv[0]) if has_file else {}
    parser = _Parser(Arguments)
    parser.set_defaults(**config)
    try:
        arguments, *_ = parser.parse_args_into_dataclasses(args=list(argv[has_file:]))
    except TypeError as error:  # What YAML took for another type, compared in __post_init__.
        raise ValueError(f"a value in {argv[0]} has the wrong type: {error}") from error
    return cast(Arguments, arguments)


def _config(path: str) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a mapping; got {type(config).__name__}")
    known = {option.name for option in fields(Arguments)}
    if unknown := [str(key) for key in config if key not in known]:
        raise ValueError(f"unknown keys in {path}: {', '.join(unknown)}")
    return {
        key: ",".join(map(str, value)) if isinstance(value, list) else value
        for key, value in config.items()
    }


def help_text() -> str:
    """Usage and every key."""
    lines = [USAGE, "", "Accuracy and pass@k of a model, with intervals.", ""]
    for option in fields(Arguments):
        lines.append(f"  --{option.name}")
        lines += textwrap.wrap(
            option.metadata["help"], 90, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines) + "\n"
