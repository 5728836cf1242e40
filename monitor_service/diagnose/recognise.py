"""Which reader a file needs, from its content; the name only breaks ties."""

import csv
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from monitor_service.diagnose.intake import Intake, Keys
from monitor_service.diagnose.log import Log
from monitor_service.diagnose.readers import console, documents, markdown, table
from monitor_service.diagnose.sources import (
    HEAD_BYTES,
    File,
    NotALog,
    Opener,
    Source,
    Unreadable,
    encoding,
    refuse_binary,
    step_in_name,
)
from monitor_service.diagnose.vocabulary import STEP_KEYS, component_of, figure_of, normalised

Reader = Callable[[File, Log, Intake], None]

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "json": documents.read,
        "jsonl": table.read_jsonl,
        "csv": table.read_csv,
        "html": table.read_html,
        "parquet": table.read_parquet,
        "markdown": markdown.read,
        "console": console.read,
    }
)
"""By the names that `--format` takes."""

_PARQUET_MAGIC = b"PAR1"
_JSON_START = re.compile(r'^(?:\{\s*(?:"|\})|\[\s*(?:\{\s*"|\[|"|\]|-?\d+(?:\.\d+)?\s*[,\]]))')


def read(source: Source, *, format: str | None, keys: Keys, opener: Opener) -> Log:
    """The log in a source.

    Raises:
        Unreadable: it cannot be read at all.
        NotALog: it can, but holds no metrics over steps.
    """
    log: Log | None = None
    intake: Intake | None = None
    for part in source.parts:
        file = File(part, opener)
        head = file.head()
        if not head and file.cut is not None:
            raise Unreadable(file.cut)
        name = format or recognised(head, part.name)
        if name != "parquet":
            refuse_binary(part, head)
        if log is None or intake is None:
            log = Log(path=source.name, format=name)
            intake = Intake(log, keys)
        if len(source.parts) > 1 or step_in_name(part) is not None:
            intake.default_step = step_in_name(part)
        READERS[name](file, log, intake)
    assert log is not None, "a source has parts"
    if not log.cells and not log.groups:
        raise NotALog("nothing in it belongs to a step")
    if len(source.parts) > 1:
        log.caveats.append(f"{len(source.parts)} files of one step each, read as one log")
    return log


def recognised(head: bytes, name: str) -> str:
    """The name of the format that the head of a file is in."""
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    text = head.decode(encoding(head), errors="replace")
    stripped = text.lstrip()
    if _JSON_START.match(stripped):
        return _json_kind(stripped, is_whole=len(head) < HEAD_BYTES)
    if stripped.startswith("<") and "<table" in stripped.lower():
        return "html"
    if any(markdown.rows_look_like(text)):
        return "markdown"
    if _is_csv(stripped, name):
        return "csv"
    return "console"


def _json_kind(text: str, *, is_whole: bool) -> str:
    first, newline, rest = text.partition("\n")
    if text.startswith("["):
        return "json"
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        if is_whole and not rest.strip():
            # One broken line: a list inside makes it a document.
            return "json" if "[" in first else "jsonl"
        following = rest.lstrip()
        return (
            "jsonl"
            if newline and following.startswith('{"') and first.rstrip().endswith("}")
            else "json"
        )
    is_document = not rest.strip() and isinstance(row, dict)
    return "json" if is_document else "jsonl"


def _is_csv(text: str, name: str) -> bool:
    lines = [line for line in text.splitlines()[:20] if line.strip() and not line.startswith("#")]
    if len(lines) < 2:
        return name.endswith((".csv", ".tsv")) and bool(lines)
    for delimiter in ",\t;":
        try:
            header, first = list(csv.reader(lines, delimiter=delimiter))[:2]
        except (csv.Error, ValueError):
            continue
        names = [normalised(cell) for cell in header]
        ours = [
            cell for cell in names if cell in STEP_KEYS or figure_of(cell) or component_of(cell)
        ]
        if len(header) > 1 and len(first) == len(header) and ours:
            return True
    return name.endswith((".csv", ".tsv"))
