"""JSON documents: a trainer's state, lists and tables of rows, accuracies of each prompt."""

import json
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from monitor_service.diagnose.intake import Intake
from monitor_service.diagnose.log import Log, number, whole
from monitor_service.diagnose.sources import File, NotALog, Unreadable
from monitor_service.diagnose.vocabulary import STEP_KEYS, figure_of, normalised

_LISTS = (
    "log_history",
    "history",
    "logs",
    "metrics",
    "steps",
    "rows",
    "data",
    "records",
    "rollouts",
)
_START = re.compile(
    r'^\s*(?:\{.*?"(?:log_history|history|logs|metrics|rows|data)"\s*:\s*)?\[', re.DOTALL
)

MAX_GROUP_SIZE = 1024
"""Accuracies are read as fractions of at most this many completions."""

_ROUNDED = 5e-4
"""How far a written accuracy may be from the fraction it stands for."""


def read(file: File, log: Log, intake: Intake) -> None:
    """Read a JSON document; of a broken one, the complete rows up to the break."""
    text = file.text()
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        _broken(text, error, log, intake, file.cut)
        return
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"JSON that cannot be read: {error}"[:200]) from error
    _document(document, log, intake)


def _document(document: Any, log: Log, intake: Intake) -> None:
    if isinstance(document, dict):
        if (rows := _rows_inside(document)) is not None:
            name, items = rows
            log.format = "trainer_state" if name == "log_history" else log.format
            document = items
        elif _is_table(document):
            document = _rows_of_table(document)
        elif _is_by_step(document):
            document = [{"step": step, **row} for step, row in document.items()]
        elif _is_accuracies(document):
            _accuracies(document, log)
            return
        else:
            _single(document, intake)
            return
    if not isinstance(document, list) or not any(isinstance(row, dict) for row in document):
        raise NotALog("JSON without rows: neither a list of objects nor an object that holds one")
    for row in document:
        if isinstance(row, dict):
            intake.take(row)
        else:
            log.problem("an entry that is no object was left out")
    intake.finish()


def _rows_inside(document: Mapping[str, Any]) -> tuple[str, list[Any]] | None:
    for name in _LISTS:
        rows = document.get(name)
        if isinstance(rows, list) and any(isinstance(row, dict) for row in rows):
            return name, rows
    lists = [
        (name, value)
        for name, value in document.items()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    ]
    return lists[0] if len(lists) == 1 else None


def _is_table(document: Mapping[str, Any]) -> bool:
    columns = {
        normalised(name): len(value) for name, value in document.items() if isinstance(value, list)
    }
    lengths = set(columns.values())
    return len(lengths) == 1 and lengths != {0} and any(figure_of(name) for name in columns)


def _rows_of_table(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    columns = {name: value for name, value in document.items() if isinstance(value, list)}
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _is_by_step(document: Mapping[str, Any]) -> bool:
    return bool(document) and all(
        whole(key) is not None and isinstance(value, dict) for key, value in document.items()
    )


def _is_accuracies(document: Mapping[str, Any]) -> bool:
    values = list(document.values())
    return len(values) > 1 and all(
        isinstance(visits, list)
        and all((share := number(one)) is not None and 0 <= share <= 1 for one in visits)
        for visits in values
    )


def _accuracies(document: Mapping[str, Any], log: Log) -> None:
    """Accuracies of each prompt at each of its visits: groups of zeros and ones."""
    log.format = "accuracies"
    seen = {share for visits in document.values() for one in visits if (share := number(one))}
    size = _group_size(seen)
    if size is None:
        raise NotALog("accuracies that are no fractions of one group size")
    for prompt, visits in document.items():
        for visit, share in enumerate(visits, 1):
            right = round((number(share) or 0.0) * size)
            log.rewards(visit, prompt, [1.0] * right + [0.0] * (size - right))
    # They come prompt by prompt, which is no disorder.
    log.problems.clear()
    log.group_key, log.reward_key, log.step_key = "the prompt", "accuracy", "the visit"
    log.caveats.append(
        f"accuracies are multiples of 1/{size}: read as groups of {size} with that many right "
        "answers; the smallest size that explains them"
    )
    log.caveats.append("a step here is the visit number of a prompt, not a step of training")


def _group_size(shares: set[float]) -> int | None:
    size = 2
    for share in shares:
        part = Fraction(share).limit_denominator(MAX_GROUP_SIZE)
        if abs(float(part) - share) > _ROUNDED:
            return None
        size = size * part.denominator // _common(size, part.denominator)
        if size > MAX_GROUP_SIZE:
            return None
    return size


def _common(left: int, right: int) -> int:
    while right:
        left, right = right, left % right
    return left


def _single(document: Mapping[str, Any], intake: Intake) -> None:
    """An object without rows: a configuration, or one row."""
    names = {normalised(key) for key in document}
    if names & {*STEP_KEYS, "reward", "mean_reward"}:
        intake.take(document)
        intake.finish()
        return
    raise NotALog("one JSON object without rows over steps")


def _broken(
    text: str, error: json.JSONDecodeError, log: Log, intake: Intake, cut: str | None
) -> None:
    place = log.place(error.lineno, error.colno)
    start = _START.match(text)
    rows = _complete_rows(text, start.end()) if start else iter(())
    count = 0
    for row in rows:
        intake.take(row)
        count += 1
    ends = error.pos >= len(text.rstrip()) - 1 or cut is not None
    if '"log_history"' in text[:20000]:
        log.format = "trainer_state"
    reason = cut or ("the file ends in the middle" if ends else f"broken JSON: {error.msg}")
    if not count:
        raise Unreadable(f"{reason}, before one complete row", error.lineno, error.colno)
    log.problem(f"{reason}; the {count} complete rows before it were read", place)
    intake.finish()


def _complete_rows(text: str, position: int) -> Iterator[Mapping[str, Any]]:
    decoder = json.JSONDecoder()
    blank = re.compile(r"[\s,]*")
    while True:
        found = blank.match(text, position)
        position = found.end() if found else position
        try:
            row, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return
        if isinstance(row, dict):
            yield row
