"""Files as people name them: folders, globs, compressed ones; bytes as lines, with their places.

Nothing here knows a format of logs.
"""

import codecs
import glob
import gzip
import io
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

HEAD_BYTES = 1 << 16
"""What the format is recognised from."""

MAX_LINE_CHARACTERS = 1 << 26
"""A line beyond this is no row of a log."""

MAX_DOCUMENT_BYTES = 1 << 30
"""JSON documents are held in memory while they are read; JSONL, CSV and text are not."""

STANDARD_INPUT = "-"
"""The argument that stands for what is piped in."""

_CONTROL_SHARE = 0.1
"""Share of control characters from which text looks binary."""

_STEP_DUMP = re.compile(
    r"^(?:\d+|(?:completions|rollouts?|samples|step|global_step|iter|batch)[-_]?\d+)"
    r"(?P<end>\.(?:jsonl|json|csv|parquet)(?:\.gz)?)$"
)
_HINTS = {
    ".tfevents": "a TensorBoard event file; export its scalars as CSV or JSON",
    ".wandb": "a wandb binary log; export the run's history as CSV or JSONL",
    ".safetensors": "model weights",
    ".pt": "a PyTorch checkpoint",
}

Opener = Callable[[Path], IO[bytes]]


class Unreadable(Exception):
    """A file that could be a log and cannot be read; the message says why, and where."""

    def __init__(self, text: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(text)
        self.line = line
        self.column = column


class NotALog(Exception):
    """A file that holds no metrics over steps: a configuration, weights, say."""


@dataclass(frozen=True, slots=True)
class Source:
    """One log: usually one file, sometimes a folder's files of one step each."""

    name: str
    parts: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What one argument led to."""

    argument: str
    sources: tuple[Source, ...]
    error: str | None = None


def piped(stream: IO[bytes], folder: Path) -> Found:
    """Standard input, kept in a folder while it is read: its format is found by looking twice."""
    path = folder / "stdin"
    try:
        with path.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
    except OSError as error:
        return Found(STANDARD_INPUT, (), _reason(error))
    return Found(STANDARD_INPUT, (Source("standard input", (path,)),))


def find(argument: str) -> Found:
    """The logs behind one argument: a file, a folder with all below it, or a glob."""
    if not argument:
        return Found(argument, (), "an empty path")
    path = Path(argument)
    try:
        if path.is_dir():
            files, error = _below(path)
            sources = tuple(_combined(sorted(files)))
            return Found(argument, sources, error if sources or error else "it holds no files")
        if path.exists() and not path.is_file():
            return Found(
                argument, (), f"neither a file nor a folder; {STANDARD_INPUT} reads a pipe"
            )
        if path.exists():
            return Found(argument, (Source(str(path), (path,)),))
        if glob.has_magic(argument):
            matched = [Path(one) for one in sorted(glob.glob(argument, recursive=True))]
            if not matched:
                return Found(argument, (), "no file matches")
            inside = [find(str(one)) for one in matched if one.is_dir()]
            files = [one for one in matched if one.is_file()]
            below = tuple(source for found in inside for source in found.sources)
            return Found(argument, (*_combined(files), *below))
    except (OSError, ValueError) as error:
        return Found(argument, (), _reason(error))
    return Found(argument, (), "no such file or folder")


def _below(folder: Path) -> tuple[list[Path], str | None]:
    """The files below a folder, without hidden ones and links to folders; and what was not seen."""
    files: list[Path] = []
    errors: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(root, name) for name in names if not name.startswith("."))
        files += [path for path in paths if path.is_file()]
    if not errors:
        return files, None
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return files, f"{errors[0].filename}: {_reason(errors[0])}{more}"


def _combined(files: Sequence[Path]) -> Iterator[Source]:
    """Each file by itself, but a folder's files of one step each as one log."""
    dumps: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        if found := _STEP_DUMP.match(file.name):
            shape = re.sub(r"\d+", "*", file.name.removesuffix(found["end"])) + found["end"]
            dumps.setdefault((file.parent, shape), []).append(file)
    together = {file for parts in dumps.values() if len(parts) > 1 for file in parts}
    yield from (Source(str(file), (file,)) for file in files if file not in together)
    for (folder, shape), parts in sorted(dumps.items()):
        if len(parts) > 1:
            yield Source(str(folder / shape), tuple(sorted(parts, key=_number_in_name)))


def _number_in_name(path: Path) -> tuple[int, str]:
    return step_in_name(path) or 0, path.name


def step_in_name(path: Path) -> int | None:
    """The step that the name of a dump of one step holds; None for other names."""
    if not _STEP_DUMP.match(path.name):
        return None
    digits = re.findall(r"\d{1,15}", path.name)
    return int(digits[0]) if digits else None


class _Unzipped(gzip.GzipFile):
    """Closes what it reads from, too."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__(fileobj=raw)
        self._raw = raw

    def close(self) -> None:
        super().close()
        self._raw.close()


@dataclass(slots=True)
class File:
    """One file, decompressed and decoded as it is read.

    Attributes:
        path: where it is.
        opener: opens it; a caller may count bytes there.
        cut: why reading stopped before the end of the data, as far as it has been read.
    """

    path: Path
    opener: Opener = field(default=lambda path: path.open("rb"))
    cut: str | None = None

    def open(self) -> IO[bytes]:
        """The decompressed bytes. Raises `Unreadable` when it cannot be opened."""
        try:
            raw = self.opener(self.path)
            magic = raw.read(2)
            raw.seek(0)
        except OSError as error:
            raise Unreadable(_reason(error)) from error
        if magic == b"\x1f\x8b":
            return cast(IO[bytes], _Unzipped(raw))
        return raw

    def head(self) -> bytes:
        """The first `HEAD_BYTES` bytes."""
        with self.open() as stream:
            return b"".join(self._chunks(stream, HEAD_BYTES))

    def _chunks(self, stream: IO[bytes], limit: int) -> Iterator[bytes]:
        left = limit
        # Of a stream that breaks off, `read` would lose what came before the break.
        read = getattr(stream, "read1", stream.read)
        while left > 0:
            try:
                chunk = read(min(left, 1 << 20))
            except (EOFError, OSError, zlib.error) as error:
                self.cut = f"the data break off: {_reason(error)}"
                return
            if not chunk:
                return
            left -= len(chunk)
            yield chunk

    def lines(self) -> Iterator[tuple[int, str]]:
        """Lines with their numbers from 1; split at newlines only, carriage returns stay."""
        with self.open() as stream:
            decoder: codecs.IncrementalDecoder | None = None
            rest: list[str] = []
            size = line = 0
            for chunk in self._chunks(stream, 1 << 62):
                if decoder is None:
                    decoder = codecs.getincrementaldecoder(encoding(chunk))(errors="replace")
                first, *others = decoder.decode(chunk).split("\n")
                rest.append(first)
                size += len(first)
                for piece in others:
                    line += 1
                    yield line, "".join(rest)
                    rest, size = [piece], len(piece)
                if size > MAX_LINE_CHARACTERS:
                    raise Unreadable("a line of more than 64 MiB is no row of a log", line + 1)
            if rest and (last := "".join(rest)):
                yield line + 1, last

    def text(self) -> str:
        """All of it. Raises `Unreadable` beyond `MAX_DOCUMENT_BYTES`."""
        with self.open() as stream:
            data = b"".join(self._chunks(stream, MAX_DOCUMENT_BYTES + 1))
        if len(data) > MAX_DOCUMENT_BYTES:
            raise Unreadable("a JSON document of more than 1 GiB; write it as JSONL")
        return data.decode(encoding(data), errors="replace")

    def binary(self) -> IO[bytes]:
        """A seekable stream of the decompressed bytes."""
        stream = self.open()
        if not isinstance(stream, _Unzipped):
            return stream
        with stream:
            return io.BytesIO(b"".join(self._chunks(cast(IO[bytes], stream), 1 << 62)))


def encoding(data: bytes) -> str:
    """UTF-8 unless a byte order mark says UTF-16, as some shells write."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def refuse_binary(path: Path, head: bytes) -> None:
    """Raise `NotALog` for a file that is empty or no text, such as the weights beside a log."""
    if not head.strip():
        raise NotALog("the file is empty")
    for mark, hint in _HINTS.items():
        if mark in path.name and _is_binary(head):
            raise NotALog(f"not text: {hint}")
    if _is_binary(head):
        raise NotALog("a binary file, in no format that is read here")


def _is_binary(head: bytes) -> bool:
    if encoding(head) == "utf-16":
        return False
    if b"\0" in head:
        return True
    control = sum(byte < 32 and byte not in b"\t\n\r\x1b\x0c\x08" for byte in head)
    return control > _CONTROL_SHARE * len(head)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200]
