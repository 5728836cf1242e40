"""Every benchmark that was asked for, each generated once and kept as soon as it is finished."""

import logging
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from monitor_service.__about__ import __version__
from trainer.evaluate import catalogue, models, results
from trainer.evaluate.arguments import Arguments
from trainer.evaluate.catalogue import REWARDS, Benchmark
from trainer.evaluate.generation import Generator, HuggingFaceGenerator, chosen_format
from trainer.evaluate.measure import measure
from trainer.evaluate.results import Entry
from trainer.evaluate.vllm_generation import VllmGenerator

PACKAGES = ("torch", "transformers", "math-verify", "vllm")

OnProgress = Callable[[str, int, int], None]
"""Called with (benchmark, completions done now, completions of the benchmark in all)."""

logger = logging.getLogger(__name__)


def run(arguments: Arguments, on_progress: OnProgress) -> list[Entry]:
    """The entries of all benchmarks, in the order asked for.

    All problems are loaded before the model, so that a mistake shows early; the model is not loaded
    when the results file has everything.

    Raises:
        ValueError: a benchmark, model or file that cannot be used.
        OSError: the results file cannot be read or written.
    """
    path = Path(arguments.output)
    kept = results.read(path)
    identity = models.identity(arguments.model)
    benchmarks = [_chosen(arguments, name) for name in arguments.benchmark_names]
    loaded = [(benchmark, _problems(arguments, benchmark)) for benchmark in benchmarks]
    backend = _Backend(arguments)
    entries = []
    for benchmark, problems in loaded:
        settings = _settings(arguments, identity, benchmark, problems)
        entry = results.find(kept, benchmark.name, settings)
        if entry is None:
            entry = _measured(arguments, benchmark, problems, settings, backend, on_progress)
        else:
            logger.info("%s: taken from %s, where it has the same settings", benchmark.name, path)
        entry = results.estimates(
            entry, arguments.ks, confidence=arguments.confidence, seed=arguments.seed
        )
        results.keep(path, entry)
        entries.append(entry)
    return entries


class _Backend:
    """The model, loaded when it is first needed."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._loaded: tuple[Generator, Any] | None = None

    def load(self) -> tuple[Generator, Any]:
        """Generator and tokenizer."""
        if self._loaded is None:
            make = _vllm if self._arguments.backend == "vllm" else _transformers
            self._loaded = make(self._arguments)
        return self._loaded


def _transformers(arguments: Arguments) -> tuple[Generator, Any]:
    model, tokenizer = models.load(
        arguments.model,
        dtype=arguments.dtype,
        device=arguments.device,
        seed=arguments.seed,
        toy_cache_dir=arguments.toy_cache_dir,
    )
    batch_size = 64 if arguments.batch_size is None else arguments.batch_size
    return HuggingFaceGenerator(model, tokenizer, batch_size=batch_size), tokenizer


def _vllm(arguments: Arguments) -> tuple[Generator, Any]:
    tokenizer = models.load_tokenizer(arguments.model)
    options: dict[str, Any] = {
        "dtype": arguments.dtype,
        "tensor_parallel_size": arguments.vllm_tensor_parallel_size,
        "gpu_memory_utilization": arguments.vllm_gpu_memory_utilization,
        "max_model_len": arguments.vllm_max_model_length,
        "seed": arguments.seed,
    }
    if arguments.batch_size is not None:
        options["batch_size"] = arguments.batch_size
    name = models.identity(arguments.model)["name"]
    return VllmGenerator(name, tokenizer, **options), tokenizer


def _chosen(arguments: Arguments, name: str) -> Benchmark:
    benchmark = catalogue.find(name, own=arguments.own)
    if arguments.prompt_template is None:
        return benchmark
    source = replace(benchmark.source, prompt_template=arguments.prompt_template)
    return replace(benchmark, source=source)


def _problems(arguments: Arguments, benchmark: Benchmark) -> Dataset:
    problems = catalogue.load(benchmark, seed=arguments.seed)
    if arguments.max_problems is None:
        return problems
    return problems.select(range(min(arguments.max_problems, len(problems))))


def _settings(
    arguments: Arguments, identity: dict[str, Any], benchmark: Benchmark, problems: Dataset
) -> dict[str, Any]:
    """All that the counts follow from; what only shifts rounding is in `run_with`."""
    return {
        "model": identity,
        "source": asdict(benchmark.source),
        "split": benchmark.split,
        "problems_sha256": results.fingerprint(problems),
        "reward": benchmark.reward,
        "num_samples": arguments.num_samples,
        **asdict(arguments.sampling),
        "prompt_format": arguments.prompt_format,
        "backend": arguments.backend,
        "dtype": arguments.dtype,
    }


def _measured(
    arguments: Arguments,
    benchmark: Benchmark,
    problems: Dataset,
    settings: dict[str, Any],
    backend: _Backend,
    on_progress: OnProgress,
) -> Entry:
    generator, tokenizer = backend.load()
    total = len(problems) * arguments.num_samples
    on_progress(benchmark.name, 0, total)
    started_s = time.perf_counter()
    result = measure(
        generator,
        chosen_format(problems["prompt"][:], tokenizer, arguments.format),
        problems["answer"][:],
        reward=REWARDS[benchmark.reward],
        num_samples=arguments.num_samples,
        sampling=arguments.sampling,
        on_completions=lambda done: on_progress(benchmark.name, done, total),
    )
    return results.entry(
        benchmark.name,
        settings,
        result,
        seconds=time.perf_counter() - started_s,
        run_with=_run_with(arguments),
    )


def _run_with(arguments: Arguments) -> dict[str, str]:
    accelerator = torch.accelerator.current_accelerator()
    return {
        "acr-monitor": __version__,
        "python": platform.python_version(),
        **{package: found for package in PACKAGES if (found := _version(package))},
        "device": arguments.device or ("cpu" if accelerator is None else accelerator.type),
        "batch_size": str(arguments.batch_size or "default"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
