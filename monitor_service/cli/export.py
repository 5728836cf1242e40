"""`acr export` and `acr import`: a run as a file, and back."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import msgspec
import typer

from monitor_service.cli.client import monitor_at
from monitor_service.cli.completion import figures
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import complain, for_machines
from monitor_service.client.api import MonitorApi
from monitor_service.series import COLUMNS, WHOLE
from monitor_service.wire import RunId as Id

Format = Literal["jsonl", "csv", "parquet"]

EXTRA = "acr-monitor[diagnose]"
"""The extra that brings pyarrow."""
PIECE_BYTES = 2**20
MAX_FIRST_LINE_BYTES = 2**26


class _Beginning(msgspec.Struct):
    """What the first line of a file has to say here."""

    id: Id


def export(
    run: RunId,
    kind: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="jsonl: all that is kept, to be imported again. csv, parquet: a row of figures "
            "for each step. By default as the name of the file ends, else jsonl.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; by default standard output."),
    ] = None,
    fields: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help="Figures of a table; by default all.",
            show_default=False,
            autocompletion=figures,
        ),
    ] = ",".join(COLUMNS),
    url: Url = DEFAULT_URL,
) -> None:
    """Write a run to a file: all of it as JSON lines, or its figures as CSV or Parquet."""
    wanted = kind or _kind_of(output)
    names = [name.strip() for name in fields.split(",")]
    if wanted == "parquet":
        if output is None:
            raise typer.BadParameter("Parquet is written to a file: say which with --output")
        _pyarrow()  # Rather now than after minutes of reading.
    with monitor_at(url) as monitor, _written(output) as file:
        if wanted == "jsonl":
            for piece in monitor.export(run):
                file.write(piece)
        elif wanted == "csv":
            for line in monitor.csv(run, names):
                file.write(f"{line}\r\n".encode())
        else:
            _write_parquet(monitor, run, names, file)
    if output is not None:
        print(f"{output}: {output.stat().st_size} bytes")


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `acr export` wrote; - is standard input.")
    ],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="ID", help="Id of the run; by default as in the file."),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Take a run in from a file, whole or not at all; it counts as ended."""
    with _opened(file) as source:
        first = source.readline(MAX_FIRST_LINE_BYTES)
        try:
            run_id = name or msgspec.json.decode(first, type=_Beginning).id
        except (msgspec.DecodeError, UnicodeDecodeError):
            complain(f"{file}: not what `acr export --format jsonl` writes")
            raise typer.Exit(1) from None
        with monitor_at(url) as monitor:
            run = monitor.import_run(run_id, _pieces(first, source))
    if as_json:
        for_machines(run)
        return
    print(f"{run.id}: step {run.step}, attempt {run.attempt}, ended: {run.ended}")


def _kind_of(output: Path | None) -> Format:
    suffix = output.suffix if output else ""
    return "csv" if suffix == ".csv" else "parquet" if suffix == ".parquet" else "jsonl"


@contextmanager
def _written(output: Path | None) -> Iterator[IO[bytes]]:
    """Where to write; a file of this name is there only once all of it is."""
    part: Path | None = None
    try:
        if output is None:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        with tempfile.NamedTemporaryFile(dir=output.parent, suffix=".part", delete=False) as file:
            part = Path(file.name)
            yield file
        part.chmod(0o644)
        part.replace(output)
        part = None
    except OSError as error:
        complain(f"{output or 'standard output'}: {error.strerror}")
        raise typer.Exit(1) from error
    finally:
        if part:
            part.unlink()


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        source = file.open("rb")
    except OSError as error:
        complain(f"{file}: {error.strerror}")
        raise typer.Exit(1) from error
    with source:
        yield source


def _pieces(first: bytes, source: IO[bytes]) -> Iterator[bytes]:
    yield first
    while piece := source.read(PIECE_BYTES):
        yield piece


def _write_parquet(monitor: MonitorApi, run: str, names: list[str], file: IO[bytes]) -> None:
    pyarrow, parquet = _pyarrow()
    found = monitor.columns(run, names)
    types = {True: pyarrow.int64(), False: pyarrow.float64()}
    columns = {
        name: pyarrow.array(values, types[name in WHOLE]) for name, values in found.columns.items()
    }
    about = {"acr.run": run}
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(about), file)


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        complain(f"Parquet needs pyarrow: pip install '{EXTRA}'")
        raise typer.Exit(1) from error
