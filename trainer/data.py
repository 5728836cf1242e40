"""Problems to train on: any dataset becomes the columns `prompt` and `answer`."""

from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value, load_dataset

FILE_FORMATS = {".jsonl": "json", ".parquet": "parquet"}
"""File endings that are read from disk, with the reader of `datasets` for each."""

PLACEHOLDER = "{question}"


def load_prompts(
    source: str,
    *,
    config: str | None = None,
    split: str = "train",
    prompt_column: str = "prompt",
    answer_column: str = "answer",
    prompt_template: str = PLACEHOLDER,
    answer_marker: str | None = None,
) -> Dataset:
    r"""Load problems and their gold answers.

    Args:
        source: path of a JSONL or Parquet file, or the id of a dataset on the hub.
        config: configuration of the hub dataset, such as "main".
        split: split of the hub dataset; a file has one only.
        prompt_column: column with the question, text.
        answer_column: column with the gold answer, text or a number; null is "not scored".
        prompt_template: text in which every "{question}" is replaced by the question. Other
            braces stand for themselves, so that "\boxed{}" needs no escape.
        answer_marker: where given, only the text after its last occurrence in an answer is kept,
            stripped: "####" for GSM8K.

    Returns:
        Dataset with the text columns `prompt` and `answer`.

    Raises:
        ValueError: a missing file, column, placeholder or marker, or a cell of another type.
    """
    if PLACEHOLDER not in prompt_template:
        raise ValueError(f"prompt_template {prompt_template!r} does not contain {PLACEHOLDER}")
    dataset = _load(source, config=config, split=split)
    for option, column in (("prompt_column", prompt_column), ("answer_column", answer_column)):
        if column not in dataset.column_names:
            found = ", ".join(dataset.column_names)
            raise ValueError(f"{option} {column!r} is not in {source}, which has: {found}")

    def to_problem(row: dict[str, Any], index: int) -> dict[str, str | None]:
        question, answer = row[prompt_column], row[answer_column]
        if not isinstance(question, str):
            raise ValueError(_wrong_type(source, index, prompt_column, question, "text"))
        # bool is an int, but "True" is nobody's gold answer.
        if isinstance(answer, bool) or not isinstance(answer, str | int | float | None):
            allowed = "text, a number or null"
            raise ValueError(_wrong_type(source, index, answer_column, answer, allowed))
        gold = None if answer is None else str(answer)
        if gold is not None and answer_marker is not None:
            _, marker, gold = gold.rpartition(answer_marker)
            if not marker:
                raise ValueError(
                    f"{source}, row {index}: {answer_column} {answer!r} lacks the answer_marker "
                    f"{answer_marker!r}"
                )
            gold = gold.strip()
        return {"prompt": prompt_template.replace(PLACEHOLDER, question), "answer": gold}

    return dataset.map(
        to_problem,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=Features({"prompt": Value("string"), "answer": Value("string")}),
    )


def _load(source: str, *, config: str | None, split: str) -> Dataset:
    path = Path(source)
    reader = FILE_FORMATS.get(path.suffix)
    if reader is None:
        if path.is_file():
            allowed = ", ".join(FILE_FORMATS)
            raise ValueError(f"{source} ends in {path.suffix!r}, allowed are: {allowed}")
        return load_dataset(source, config, split=split)
    if not path.is_file():
        raise ValueError(f"{source} does not exist")
    return load_dataset(reader, data_files=source, split="train")


def _wrong_type(source: str, index: int, column: str, value: object, allowed: str) -> str:
    return f"{source}, row {index}: {column} is {value!r}, allowed is {allowed}"
