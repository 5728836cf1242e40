"""Markdown: rollouts written sample by sample under a heading for each step, or tables of rows."""

import hashlib
import itertools
import re
from collections.abc import Iterator

from monitor_service.diagnose.intake import Intake
from monitor_service.diagnose.log import Log, number
from monitor_service.diagnose.readers.table import pipe_cells
from monitor_service.diagnose.sources import File
from monitor_service.diagnose.vocabulary import GROUP_KEYS, STEP_KEYS, first_of, normalised

STEP_HEADING = re.compile(
    r"^#{1,6}\s.*?\b(?:step|iteration|batch)\b\D{0,10}(?P<step>\d{1,15})", re.I
)
REWARDS = re.compile(r"^\**rewards?\s*:?\**\s*:?\s*(?P<rest>.+)$", re.I)
_PROMPT = re.compile(r"^\**(?:prompt|question|query)\s*:?\**\s*:?\s*(?P<rest>.*)$", re.I)
_OTHER_FIELD = re.compile(r"^(?:\*\*[^*]{1,60}:?\*\*|#{1,6}\s|```)")
_PART = re.compile(
    r"(?P<key>[\w ./-]{1,60})\s*[=:]\s*(?P<value>[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))", re.I
)
_TOTALS = ("total", "total_reward", "sum", "reward", "score")


def read(file: File, log: Log, intake: Intake) -> None:
    """Read rollouts in sections, and tables whose header names a step."""
    step: str | None = None
    sample = 0
    prompt: list[str] | None = None
    group = ""
    header: list[str] | None = None
    for line, text in file.lines():
        cells = pipe_cells(text)
        if cells is not None:
            header = _table_line(cells, header, line, log, intake)
            continue
        header = None
        if found := STEP_HEADING.match(text):
            step, sample, prompt = found["step"], 0, None
        elif (rewards := REWARDS.match(text)) and (
            value := _total(rewards["rest"], log)
        ) is not None:
            sample += 1
            if prompt is not None:
                group, prompt = _name(prompt), None
            if step is None:
                log.problem("a sample before the first step was left out", log.place(line))
            else:
                intake.take({"step": step, "group": group, "reward": value}, line)
        elif found := _PROMPT.match(text):
            prompt = [found["rest"]]
        elif prompt is not None:
            if _OTHER_FIELD.match(text):
                group, prompt = _name(prompt), None
            else:
                prompt.append(text)
    if file.cut is not None:
        log.problem(f"{file.cut}; what came before was read", log.place())
    intake.flush()
    if log.groups and log.group_key == "group":
        log.group_key = "the prompt's text"
    intake.finish()


def _name(prompt: list[str]) -> str:
    text = "\n".join(prompt).strip()
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=12).hexdigest()


def _total(rest: str, log: Log) -> str | None:
    parts = {pair["key"].strip().lower(): pair["value"] for pair in _PART.finditer(rest)}
    if (name := first_of(_TOTALS, parts)) is not None:
        return parts[name]
    if not parts:
        plain = rest.strip(" *")
        return plain if number(plain) is not None else None
    if "the reward is the plain sum of its parts" not in log.caveats:
        log.caveats.append("the reward is the plain sum of its parts")
    return str(sum(float(value) for value in parts.values()))


def _table_line(
    cells: list[str], header: list[str] | None, line: int, log: Log, intake: Intake
) -> list[str] | None:
    """The header in force after this line of a table."""
    if header is None:
        return cells
    if all(re.fullmatch(r":?-{1,}:?", cell) for cell in cells):
        return header
    names = [normalised(name) for name in header]
    if (
        first_of(STEP_KEYS, names) is None
        or first_of((*GROUP_KEYS, "reward", "mean_reward"), names) is None
    ):
        return header
    if len(cells) != len(header):
        log.problem("a row with another number of cells; left out", log.place(line))
        return header
    intake.take(dict(zip(header, cells, strict=True)), line)
    return header


def rows_look_like(head: str) -> Iterator[str]:
    """What in the head of a file speaks for this format."""
    lines = head.splitlines()
    if any(STEP_HEADING.match(text) for text in lines) and any(
        REWARDS.match(text) for text in lines
    ):
        yield "rollouts under headings of steps"
    for text, following in itertools.pairwise(lines):
        cells = pipe_cells(text)
        if (
            cells
            and re.match(r"\s*\|\s*:?-", following)
            and first_of(STEP_KEYS, map(normalised, cells))
        ):
            yield "a table with a step"
