"""From a dataset's own columns to `prompt` and `answer`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value, load_dataset
from datasets.exceptions import DatasetGenerationError

from trainer.data import sources, templates
from trainer.data.sources import Source
from trainer.data.templates import Prompt

FILE_FORMATS = {".jsonl": "json", ".parquet": "parquet"}
"""File endings that are read from disk, with the reader of `datasets` for each."""

MESSAGE = {"role": Value("string"), "content": Value("string")}


def load_prompts(
    source: str,
    *,
    config: str | None = None,
    split: str = "train",
    prompt_column: str | None = None,
    answer_column: str | None = None,
    prompt_template: str | None = None,
    system_prompt: str | None = None,
    answer_marker: str | None = None,
    keep_columns: Sequence[str] = (),
) -> Dataset:
    """Load problems and their gold answers.

    Args:
        source: a name in `trainer.data.SOURCES`, whose options are taken where none is given here;
            the path of a JSONL or Parquet file; or the id of a dataset on the hub.
        config: configuration of the hub dataset, such as "main".
        split: split of the hub dataset; a file has one only.
        prompt_column: column with the question, text or messages (default: prompt). "a.b" is field
            b of column a.
        answer_column: column with the gold answer, text or a number; null is "not scored" (default:
            answer). "a.b" likewise.
        prompt_template: name of a template, or text with "{question}" (default: plain).
        system_prompt: makes every prompt a conversation that begins with it; "" with nothing.
        answer_marker: where given, only the text after its last occurrence in an answer is kept,
            stripped: "####" for GSM8K.
        keep_columns: columns that stay as they are, beside the two.

    Returns:
        Dataset with the columns `prompt`, text or messages, and `answer`, text or null.

    Raises:
        ValueError: a missing file, column, placeholder or marker, a cell of another type, or no
            row at all.
    """
    given = {
        "config": config,
        "prompt_column": prompt_column,
        "answer_column": answer_column,
        "answer_marker": answer_marker,
        "prompt_template": prompt_template,
    }
    chosen = replace(
        sources.find(source), **{name: value for name, value in given.items() if value is not None}
    )
    template = templates.find(chosen.prompt_template, system_prompt)
    dataset = _load(chosen, split)
    if not len(dataset):
        raise ValueError(f"{source} has no rows")
    _check_columns(dataset, chosen, keep_columns)

    has_messages = isinstance(_cell(dataset[0], chosen.prompt_column), list)
    is_chat = template.is_chat or has_messages

    def to_problem(row: dict[str, Any], index: int) -> dict[str, Any]:
        place = f"{source}, row {index}: "
        question = _question(row, chosen.prompt_column, has_messages, place)
        return {"prompt": template.render(question), "answer": _gold(row, chosen, place)}

    features = Features(
        {
            "prompt": List(MESSAGE) if is_chat else Value("string"),
            "answer": Value("string"),
            **{name: dataset.features[name] for name in keep_columns},
        }
    )
    dropped = [name for name in dataset.column_names if name not in keep_columns]
    return dataset.map(to_problem, with_indices=True, remove_columns=dropped, features=features)


def _load(source: Source, split: str) -> Dataset:
    path = Path(source.path)
    reader = FILE_FORMATS.get(path.suffix)
    if reader is None and path.is_file():
        allowed = ", ".join(FILE_FORMATS)
        raise ValueError(f"{source.path} ends in {path.suffix!r}, allowed are: {allowed}")
    if reader is not None and not path.is_file():
        raise ValueError(f"{source.path} does not exist")
    try:
        if reader is None:
            return load_dataset(source.path, source.config, split=split)
        return load_dataset(reader, data_files=source.path, split="train")
    # An unknown split, a line that is not JSON; a file without rows ends an iterator too early.
    except (ValueError, DatasetGenerationError, StopIteration) as error:
        reason = str(error.__cause__ or error) or "it holds no rows"
        raise ValueError(f"{source.path} cannot be read: {reason}") from error


def _check_columns(dataset: Dataset, source: Source, keep_columns: Sequence[str]) -> None:
    found = _paths(dataset.features)
    wanted = [("prompt_column", source.prompt_column), ("answer_column", source.answer_column)]
    for option, column in (*wanted, *(("column", name) for name in keep_columns)):
        if column not in found:
            listed = ", ".join(found)
            raise ValueError(f"{option} {column!r} is not in {source.path}, which has: {listed}")


def _paths(features: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of all columns and of the fields inside them, dotted."""
    paths = []
    for name, feature in features.items():
        paths.append(prefix + name)
        if isinstance(feature, Mapping):
            paths += _paths(feature, f"{prefix}{name}.")
    return paths


def _cell(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column or of a field inside one; None where a part of the way is null."""
    if column in row:
        return row[column]
    outer, _, rest = column.partition(".")
    inner = row[outer]
    return None if inner is None else _cell(inner, rest)


def _question(row: Mapping[str, Any], column: str, has_messages: bool, place: str) -> Prompt:
    question = _cell(row, column)
    if not has_messages and isinstance(question, str):
        return question
    if has_messages and question and all(map(_is_message, question)):
        return [{"role": one["role"], "content": one["content"]} for one in question]
    allowed = "a list of messages, each with role and content" if has_messages else "text"
    raise ValueError(f"{place}{column} is {question!r}, allowed is {allowed}")


def _is_message(part: Any) -> bool:
    return isinstance(part, dict) and all(isinstance(part.get(key), str) for key in MESSAGE)


def _gold(row: Mapping[str, Any], source: Source, place: str) -> str | None:
    answer = _cell(row, source.answer_column)
    # bool is an int, but "True" is nobody's gold answer.
    if isinstance(answer, bool) or not isinstance(answer, str | int | float | None):
        allowed = "text, a number or null"
        raise ValueError(f"{place}{source.answer_column} is {answer!r}, allowed is {allowed}")
    if answer is None or source.answer_marker is None:
        return None if answer is None else str(answer)
    _, marker, gold = str(answer).rpartition(source.answer_marker)
    if not marker:
        raise ValueError(
            f"{place}{source.answer_column} {answer!r} lacks the answer_marker "
            f"{source.answer_marker!r}"
        )
    return gold.strip()
