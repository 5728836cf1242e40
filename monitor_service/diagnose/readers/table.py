"""Rows one by one: JSONL, CSV, the progress table of a notebook, Parquet."""

import csv
import json
import re
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from typing import Any

from monitor_service.diagnose.intake import Intake
from monitor_service.diagnose.log import Log
from monitor_service.diagnose.sources import File, NotALog, Unreadable

EXTRA = "acr-monitor[diagnose]"
"""The extra that brings pyarrow and matplotlib."""

_MAX_CELL_CHARACTERS = 1 << 27

_DELIMITERS = ",\t;"

_DECIMAL_COMMA = re.compile(r"^[-+]?\d*,\d+(?:[eE][-+]?\d+)?$")
_COMMAS = "numbers such as 0,5 were read with a decimal comma"


def read_jsonl(file: File, log: Log, intake: Intake) -> None:
    """One JSON object a line."""
    broken: tuple[int, str, int] | None = None
    rows = 0
    for line, text in file.lines():
        if not text.strip():
            continue
        if broken is not None:
            log.problem(f"not JSON: {broken[1]}; line left out", log.place(broken[0], broken[2]))
            broken = None
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            broken = line, error.msg, error.colno
            continue
        except (ValueError, RecursionError) as error:
            log.problem(f"JSON that cannot be read: {error}"[:120], log.place(line))
            continue
        if not isinstance(row, dict):
            log.problem("a line that is no JSON object was left out", log.place(line))
            continue
        rows += 1
        intake.take(row, line)
    if broken is not None:
        # Only of the last line can it be said that it was being written.
        log.problem(
            "the file ends in the middle of a row, which was left out",
            log.place(broken[0], broken[2]),
        )
    _say_cut(file, log)
    if not rows:
        place = broken or (1, "", 1)
        raise Unreadable(f"no complete row of JSON ({place[1] or 'no objects'})", *place[::2])
    intake.finish()


def read_csv(file: File, log: Log, intake: Intake) -> None:
    """A table with a header line."""
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    header: list[str] | None = None
    numbered = file.lines()
    delimiter = ","
    position = 0

    def text_lines() -> Iterator[str]:
        nonlocal position
        for position, text in numbered:  # noqa: B007 - the number is read outside
            yield text.rstrip("\r").replace("\0", "").replace("\r", " ") + "\n"

    lines = text_lines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    delimiter = max(_DELIMITERS, key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    try:
        for cells in csv.reader(lines, delimiter=delimiter):
            if not any(cell.strip() for cell in cells):
                continue
            if cells == header:
                log.problem("the header comes again; line left out", log.place(position))
                continue
            if len(cells) > len(header):
                log.problem("a line with more cells than the header; left out", log.place(position))
                continue
            if len(cells) < len(header):
                log.problem("a line with fewer cells than the header", log.place(position))
            row = {name: cell for name, cell in zip(header, cells, strict=False) if cell.strip()}
            if delimiter == ";" and (commas := _with_points(row)):
                row |= commas
                if _COMMAS not in log.caveats:
                    log.caveats.append(_COMMAS)
            intake.take(row, position)
    except csv.Error as error:
        log.problem(f"the table breaks off: {error}", log.place(position))
    _say_cut(file, log)
    intake.finish()


def _with_points(row: dict[str, str]) -> dict[str, str]:
    """The cells with a decimal comma, with a point instead."""
    return {
        name: cell.replace(",", ".")
        for name, cell in row.items()
        if _DECIMAL_COMMA.match(cell.strip())
    }


class _Tables(HTMLParser):
    """Cells of all tables of a page, with the line each row starts at."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[tuple[int, bool, list[str]]] = []
        self._cell: list[str] | None = None
        self._row: tuple[int, bool, list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self._row = (self.getpos()[0], False, [])
        elif tag in ("td", "th") and self._row is not None:
            line, _, cells = self._row
            self._row = (line, tag == "th" and not cells, cells) if not cells else self._row
            self._cell = []

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None and self._row is not None:
            self._row[2].append("".join(self._cell).strip())
            self._cell = None
        elif tag == "tr" and self._row is not None:
            self.rows.append(self._row)
            self._row = None


def read_html(file: File, log: Log, intake: Intake) -> None:
    """The progress table that trainers show in a notebook."""
    parser = _Tables()
    for _, text in file.lines():
        parser.feed(text + "\n")
        if "</table" in text.lower():
            _take_tables(parser, log, intake)
    _take_tables(parser, log, intake)
    _say_cut(file, log)
    intake.finish()


def _take_tables(parser: _Tables, log: Log, intake: Intake) -> None:
    header: list[str] = []
    for line, is_header, cells in parser.rows:
        if is_header or not header:
            header = cells
        elif len(cells) != len(header):
            log.problem("a row with another number of cells; left out", log.place(line))
        else:
            intake.take(dict(zip(header, cells, strict=True)), line)
    parser.rows.clear()


_TABLE_LINE = re.compile(r"^\s*\|(.+)\|\s*$")


def pipe_cells(text: str) -> list[str] | None:
    """The cells of a line of a Markdown table; None for another line."""
    found = _TABLE_LINE.match(text.rstrip("\r"))
    return None if found is None else [cell.strip() for cell in found[1].split("|")]


def read_parquet(file: File, log: Log, intake: Intake) -> None:
    """Parquet; needs pyarrow."""
    try:
        # Heavy, only of use for this one format, and without types.
        pyarrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise Unreadable(f"Parquet needs pyarrow: pip install '{EXTRA}'") from error
    count = 0
    try:
        with file.binary() as stream:
            for batch in parquet.ParquetFile(stream).iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    count += 1
                    intake.take(row, count)
    except (pyarrow.ArrowException, OSError, ValueError, EOFError, zlib.error) as error:
        raise Unreadable(f"broken Parquet: {str(error)[:150]}") from error
    if not count:
        raise NotALog("a Parquet table without rows")
    intake.finish()


def _say_cut(file: File, log: Log) -> None:
    if file.cut is not None:
        log.problem(f"{file.cut}; what came before was read", log.place())
