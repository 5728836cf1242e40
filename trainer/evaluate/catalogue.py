"""What can be evaluated on: public benchmarks by name, the toy tasks, and files of one's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from datasets import Dataset

from monitor_service.errors import InvalidInput
from trainer import toy
from trainer.data.loading import FILE_FORMATS, load_prompts
from trainer.data.sources import Source
from trainer.rewards.exact import exact_match_reward
from trainer.rewards.math import box_accuracy_reward

Reward = Callable[..., list[float | None]]
REWARDS: Mapping[str, Reward] = MappingProxyType(
    {"box_accuracy": box_accuracy_reward, "exact_match": exact_match_reward}
)
"""Those that tell right from wrong, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Problems, where they are, and how an answer to them is judged."""

    name: str
    source: Source
    """Its `path` is an id on the Hugging Face hub, a file, or the name of a toy task."""
    split: str = "test"
    reward: str = "box_accuracy"
    """One of `REWARDS`."""


def _on_hub(
    name: str, path: str, *, split: str = "test", config: str | None = None, **columns: str
) -> Benchmark:
    source = Source(path=path, config=config, prompt_template="boxed", **columns)
    return Benchmark(name=name, source=source, split=split)


BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        benchmark.name: benchmark
        for benchmark in (
            _on_hub("math-500", "HuggingFaceH4/MATH-500", prompt_column="problem"),
            _on_hub(
                "gsm8k",
                "openai/gsm8k",
                config="main",
                prompt_column="question",
                answer_marker="####",
            ),
            _on_hub("minerva", "math-ai/minervamath", prompt_column="question"),
            # math-ai/olympiadbench has the same problems; its answers are lists of texts.
            _on_hub(
                "olympiadbench", "knoveleng/OlympiadBench", split="train", prompt_column="question"
            ),
            _on_hub("amc23", "math-ai/amc23", prompt_column="question"),
            # math-ai/aime24 has no column with the bare answer.
            _on_hub("aime24", "HuggingFaceH4/aime_2024", split="train", prompt_column="problem"),
            _on_hub("aime25", "math-ai/aime25", prompt_column="problem"),
        )
    }
)


def find(name: str, *, own: Benchmark) -> Benchmark:
    """The benchmark that a name on the command line means.

    Args:
        name: of a benchmark or a toy task; the path of a file; or NAME=PATH, the benchmark NAME
            with its rows in a file, for machines without a hub.
        own: how to read a file that is no known benchmark.

    Raises:
        InvalidInput: there is nothing of this name; the message has what there is.
    """
    known, equals, path = name.partition("=")
    if toy.is_toy(name):
        task = f"toy:{toy.find(name).name}"
        return Benchmark(name=task, source=Source(path=task), reward="exact_match")
    if not equals and Path(name).suffix in FILE_FORMATS:
        return replace(own, name=Path(name).stem, source=replace(own.source, path=name))
    benchmark = BENCHMARKS.get(known)
    if benchmark is None:
        near = get_close_matches(known.lower(), BENCHMARKS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        names = ", ".join((*BENCHMARKS, *(f"toy:{task}" for task in toy.TASKS)))
        files = " or ".join(FILE_FORMATS)
        allowed = f"{hint}allowed are {names}, and files ending in {files}"
        raise InvalidInput("benchmarks", name, allowed)
    if equals and Path(path).suffix not in FILE_FORMATS:
        raise InvalidInput("benchmarks", name, f"must end in {' or '.join(FILE_FORMATS)}")
    return replace(benchmark, source=replace(benchmark.source, path=path)) if equals else benchmark


def load(benchmark: Benchmark, *, seed: int = 0) -> Dataset:
    """The problems of a benchmark, ready to ask.

    Args:
        benchmark: as from `find`.
        seed: of the problems of a toy task, whose held-out split is taken.

    Returns:
        Dataset with the columns `prompt`, in its template, and `answer`; at least one row. A null
        answer stays null, "not scored".

    Raises:
        InvalidInput: an unreachable hub, or what `trainer.data.load_prompts` refuses.
    """
    source = benchmark.source
    if toy.is_toy(source.path):
        return toy.find(source.path).make_splits(seed=seed)[1].select_columns(["prompt", "answer"])
    try:
        return load_prompts(
            source.path,
            config=source.config,
            split=benchmark.split,
            prompt_column=source.prompt_column,
            answer_column=source.answer_column,
            prompt_template=source.prompt_template,
            answer_marker=source.answer_marker,
        )
    except (OSError, ValueError) as error:  # The former from a hub that cannot be reached.
        allowed = f"cannot be loaded: {' '.join(str(error).split())}"
        raise InvalidInput(f"benchmarks.{benchmark.name}", source.path, allowed) from error
