"""Datasets that are known by name: where they are, and where they keep question and answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A dataset, and how a question and its gold answer are taken from a row of it."""

    path: str
    """Id on the hub, or a JSONL or Parquet file."""
    config: str | None = None
    """Configuration of the hub dataset."""
    prompt_column: str = "prompt"
    """Column with the question; "a.b" is field b of column a."""
    answer_column: str = "answer"
    """Column with the gold answer, likewise."""
    answer_marker: str | None = None
    """Only what follows its last occurrence in an answer is kept."""
    prompt_template: str = "plain"
    """Name of a template, or one in full; see `trainer.data.templates`."""


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        # {"question": "Natalia sold ...", "answer": "... 48+24 = 72 ...\n#### 72"}
        "gsm8k": Source(
            path="openai/gsm8k",
            config="main",
            prompt_column="question",
            answer_marker="####",
            prompt_template="boxed",
        ),
        # {"problem", "solution", "answer": "\\frac{1}{2}", "subject", "level": 1 to 5, "unique_id"}
        # Its train split is MATH without MATH-500, which is its test split.
        "math": Source(
            path="nlile/hendrycks-MATH-benchmark",
            prompt_column="problem",
            prompt_template="boxed",
        ),
        # {"prompt": "In triangle ABC ...", "solution": "34", "source_prompt": [...], ...}: each
        # problem once and bare, where BytedTsinghua-SIA/DAPO-Math-17k has it 100 times, wrapped in
        # an instruction to end with "Answer:".
        "dapo-math": Source(
            path="open-r1/DAPO-Math-17k-Processed",
            config="all",
            answer_column="solution",
            prompt_template="boxed",
        ),
    }
)


def find(name: str) -> Source:
    """The dataset known as `name`; else `name` is where it is, with the standard columns."""
    return SOURCES.get(name) or Source(path=name)
