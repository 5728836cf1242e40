"""The file of pass rates: one JSON line per problem, in the order of the dataset."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset

from monitor_service.errors import InvalidInput
from trainer.difficulty.measure import Rated


def append(path: Path, rated: Sequence[Rated], conditions: Mapping[str, Any]) -> None:
    """Write problems to the end of the file, each with the conditions it was measured under."""
    lines = [json.dumps({**asdict(one), "measured": dict(conditions)}) + "\n" for one in rated]
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of the file without a last line that was cut; none where there is no file.

    Raises:
        InvalidInput: a line is not JSON.
    """
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise InvalidInput("output", str(path), f"line {number} is not JSON") from error
    return rows


def resume(path: Path, problems: Dataset, conditions: Mapping[str, Any], *, chunk: int) -> int:
    """How many problems need no more measuring; the file is cut to them.

    Args:
        path: the file, which need not exist.
        problems: what is to be measured.
        conditions: that hold now.
        chunk: problems that are measured together; an incomplete chunk at the end is dropped.

    Raises:
        InvalidInput: the file holds other problems, or was measured under other conditions.
    """
    rows = read(path)
    elsewhere = "name another file, or remove this one"
    if len(rows) > len(problems):
        allowed = f"has {len(rows)} problems, the dataset {len(problems)}; {elsewhere}"
        raise InvalidInput("output", str(path), allowed)
    for number, (row, problem) in enumerate(zip(rows, problems, strict=False), 1):
        if (row.get("prompt"), row.get("answer")) != (problem["prompt"], problem["answer"]):
            raise InvalidInput(
                "output", str(path), f"line {number} is another problem; {elsewhere}"
            )
        then = row.get("measured") or {}
        for name, value in conditions.items():
            if then.get(name) != value:
                allowed = f"line {number} has {name} {then.get(name)!r}, now {value!r}; {elsewhere}"
                raise InvalidInput("output", str(path), allowed)
    done = len(rows) if len(rows) == len(problems) else len(rows) - len(rows) % chunk
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        os.truncate(path, sum(map(len, lines[:done])))
    return done
