"""Reports on disk that no monitor has taken yet: bounded, in order, left whole by a kill -9.

A folder for each run holds small files, numbered in order. A file begins with a label (format,
schema of the reports, run) and goes on with one frame for each report: length, CRC-32, msgpack.
Files are only appended to, each frame by one write to the kernel, so a process that is killed
leaves at most one torn frame, the last of a file. A file whose reports were all delivered is
deleted; a process killed before that delivers them again.

Nothing is synced: a power cut may tear more than one frame, and every torn frame is noticed.
"""

import logging
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from monitor_service.errors import AcrError, InvalidInput
from monitor_service.wire import StepReport

DEFAULT_SPOOL_BYTES = 64 * 2**20
MIN_SPOOL_BYTES = 2**20
MAX_SPOOL_BYTES = 2**40

FORMAT = 1
SCHEMA: int = StepReport(step=1, rewards=[]).schema
SUFFIX = ".reports"
SEGMENT_REPORTS = 32
SEGMENT_BYTES = 2**20
"""A file takes no more reports beyond either; a full spool drops its oldest file whole."""

log = logging.getLogger(__name__)

_FRAME = struct.Struct("<II")
"""Bytes of the payload, and its CRC-32; little-endian."""

_held: set[Path] = set()
"""Folders that this process has locked. A lock of the kernel's excludes other processes only; one
that excluded this process too would pass to forked workers, and outlive the trainer in them."""


class SpoolUnusable(AcrError):
    """The folder cannot be used as it is; nothing in it was changed."""


class _Label(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    schema: int
    run_id: str


@dataclass(slots=True)
class _Segment:
    """One file.

    Attributes:
        path: where it is.
        num_bytes: its size.
        num_done: reports at its beginning that were delivered.
        steps: of the reports after those.
    """

    path: Path
    num_bytes: int = 0
    num_done: int = 0
    steps: list[int] = field(default_factory=list)


class Spool:
    """The reports of one run; for one thread at a time."""

    def __init__(
        self,
        folder: Path,
        run_id: str,
        *,
        after_step: int,
        max_bytes: int = DEFAULT_SPOOL_BYTES,
    ) -> None:
        """Lock the run's folder in `folder` and find what an earlier process left there.

        Args:
            folder: of the spools of any number of runs.
            run_id: name of the run, and of its folder.
            after_step: training continues after this step; reports of later steps are deleted,
                since those steps are trained again.
            max_bytes: bound of the files together.

        Raises:
            SpoolUnusable: not writable, held by another process, or of another run or version.
        """
        self.folder = folder / run_id
        self._label = _Label(format=FORMAT, schema=SCHEMA, run_id=run_id)
        self._max_bytes = max_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max_bytes // 8)
        self._segments: deque[_Segment] = deque()
        self._num_bytes = 0
        self._next_number = 1
        self._open_fd: int | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock_fd = _locked(self.folder)
        except OSError as error:
            raise SpoolUnusable(f"{self.folder}: {error.strerror or error}") from error
        try:
            self._recover(after_step)
        except OSError as error:
            self.close()
            raise SpoolUnusable(f"{self.folder}: {error}") from error
        except SpoolUnusable:
            self.close()
            raise

    def __len__(self) -> int:
        """Reports that were not delivered yet."""
        return sum(len(segment.steps) for segment in self._segments)

    @property
    def first_step(self) -> int | None:
        """Of the oldest report."""
        return self._segments[0].steps[0] if self._segments else None

    @property
    def last_step(self) -> int | None:
        """Of the newest report."""
        return self._segments[-1].steps[-1] if self._segments else None

    def append(self, report: StepReport) -> list[int]:
        """Put a report behind the others.

        Returns:
            The steps whose reports, the oldest, were deleted to keep to the bound.

        Raises:
            OSError: it could not be written; what was there before is as it was.
            InvalidInput: it breaks the contract, so that no monitor would take it.
        """
        frame = _framed(report)
        _check_readable(report.step, frame)
        dropped: list[int] = []
        while self._segments and self._num_bytes + len(frame) > self._max_bytes:
            dropped += self.drop_oldest()
        if len(frame) > self._max_bytes:
            return [*dropped, report.step]
        segment = self._with_room(len(frame))
        assert self._open_fd is not None
        try:
            _write(self._open_fd, frame)
        except OSError:
            # Whatever was written of it stays the last of this file: nothing may follow it.
            with suppress(OSError):
                os.ftruncate(self._open_fd, segment.num_bytes)
            self._seal()
            raise
        segment.num_bytes += len(frame)
        self._num_bytes += len(frame)
        segment.steps.append(report.step)
        return dropped

    def head(self, most: int) -> list[StepReport]:
        """The oldest reports, at most `most` and at least one; needs one to be there.

        Raises:
            SpoolUnusable: the file that holds them was damaged or taken away.
        """
        if len(self._segments) == 1:
            self._seal()  # What is delivered together is deleted together.
        segment = self._segments[0]
        end = segment.num_done + len(segment.steps)
        try:
            frames = [payload for payload, _ in _frames(segment.path.read_bytes())][1 : 1 + end]
            wanted = frames[segment.num_done : segment.num_done + most]
            reports = [msgspec.msgpack.decode(one, type=StepReport) for one in wanted]
        except (OSError, msgspec.DecodeError) as error:
            raise SpoolUnusable(f"{segment.path}: {error}") from error
        if len(frames) < end:
            raise SpoolUnusable(f"{segment.path}: damaged")
        return reports

    def forget(self, count: int) -> None:
        """The oldest `count` reports were delivered."""
        while count:
            segment = self._segments[0]
            done = min(count, len(segment.steps))
            del segment.steps[:done]
            segment.num_done += done
            count -= done
            if not segment.steps:
                self.drop_oldest()

    def drop_oldest(self) -> list[int]:
        """Delete the oldest file; the steps whose reports were not delivered."""
        if len(self._segments) == 1:
            self._seal()
        segment = self._segments.popleft()
        self._num_bytes -= segment.num_bytes
        with suppress(OSError):  # It will be found again, and delivered twice.
            segment.path.unlink()
        return segment.steps

    def close(self) -> None:
        """Let go of the folder; what was not delivered stays."""
        self._seal()
        os.close(self._lock_fd)
        _held.discard(self.folder.resolve())

    def _seal(self) -> None:
        """No more reports go to the newest file."""
        if self._open_fd is not None:
            with suppress(OSError):  # What did not get through is found damaged, and counted.
                os.close(self._open_fd)
            self._open_fd = None
        if self._segments and not self._segments[-1].steps and not self._segments[-1].num_done:
            empty = self._segments.pop()
            self._num_bytes -= empty.num_bytes
            with suppress(OSError):
                empty.path.unlink()

    def _with_room(self, num_bytes: int) -> _Segment:
        """The newest file if it takes a frame of this size, else a new one."""
        if self._open_fd is not None:
            newest = self._segments[-1]
            is_small = newest.num_bytes + num_bytes <= self._segment_bytes
            if is_small and newest.num_done + len(newest.steps) < SEGMENT_REPORTS:
                return newest
            self._seal()
        path = self.folder / f"{self._next_number:012d}{SUFFIX}"
        self._open_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._next_number += 1
        label = _framed(self._label)
        newest = _Segment(path, num_bytes=len(label))
        self._segments.append(newest)
        self._num_bytes += len(label)
        try:
            _write(self._open_fd, label)
        except OSError:
            self._seal()
            raise
        return newest

    def _recover(self, after_step: int) -> None:
        num_late = 0
        found = [self._read(path) for path in sorted(self.folder.glob(f"*{SUFFIX}"))]
        for segment, ends in found:
            self._next_number = int(segment.path.stem) + 1
            kept = 0 if num_late else sum(1 for _ in _until(segment.steps, after_step))
            num_late += len(segment.steps) - kept
            if kept < len(segment.steps):
                del segment.steps[kept:]
                segment.num_bytes = ends[kept]
                os.truncate(segment.path, ends[kept])
            if segment.steps:
                self._segments.append(segment)
                self._num_bytes += segment.num_bytes
            else:
                segment.path.unlink()
        if num_late:
            what = "%d undelivered reports in %s are deleted: steps after %d are trained again"
            log.warning(what, num_late, self.folder, after_step)

    def _read(self, path: Path) -> tuple[_Segment, list[int]]:
        """What a file holds: a segment, and where each of its frames ends, the label's first."""
        if not path.stem.isdecimal():
            raise SpoolUnusable(f"{path}: not a file of a spool; it is left alone")
        data = path.read_bytes()
        frames = list(_frames(data))
        ends = [end for _, end in frames]
        try:
            if frames:
                label = msgspec.msgpack.decode(frames[0][0], type=_Label)
                if label != self._label:
                    raise SpoolUnusable(f"{path}: {_difference(label, self._label)}")
            steps = [
                msgspec.msgpack.decode(payload, type=StepReport).step for payload, _ in frames[1:]
            ]
        except msgspec.DecodeError as error:
            text = f"{path}: not of this version ({error}); it is left alone"
            raise SpoolUnusable(text) from error
        readable = ends[-1] if ends else 0
        if readable < len(data):
            what = "the last %d bytes of %s are torn or damaged; %d reports before them are kept"
            log.warning(what, len(data) - readable, path, len(steps))
        return _Segment(path, num_bytes=len(data), steps=steps), ends


def left_behind(folder: Path) -> list[str]:
    """The runs that have undelivered reports in a folder of spools; none if it cannot be read."""
    with suppress(OSError):
        return sorted({path.parent.name for path in folder.glob(f"*/*{SUFFIX}")})
    return []


def check_spool_bytes(max_bytes: int) -> int:
    """The bound itself; raises InvalidInput naming what is allowed."""
    is_whole = isinstance(max_bytes, int) and not isinstance(max_bytes, bool)
    if not is_whole or not MIN_SPOOL_BYTES <= max_bytes <= MAX_SPOOL_BYTES:
        allowed = f"a whole number of bytes in [{MIN_SPOOL_BYTES}, {MAX_SPOOL_BYTES}]"
        raise InvalidInput("spool_max_bytes", max_bytes, allowed)
    return max_bytes


def _locked(folder: Path) -> int:
    """The open lock file of a folder, which nobody else has locked; raises OSError."""
    # Only where a spool is used: the module has to load on systems without such locks.
    try:
        import fcntl
    except ImportError as error:
        raise OSError("this system has no file locks") from error
    place = folder.resolve()
    if place in _held:
        raise OSError("another client of this process holds it")
    lock_fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        os.close(lock_fd)
        raise OSError("another process holds it") from error
    except OSError:
        os.close(lock_fd)
        raise
    _held.add(place)
    return lock_fd


def _framed(content: StepReport | _Label) -> bytes:
    payload = msgspec.msgpack.encode(content)
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _check_readable(step: int, frame: bytes) -> None:
    # One that nobody could read would stand in the way of all the others.
    try:
        msgspec.msgpack.decode(frame[_FRAME.size :], type=StepReport)
    except msgspec.ValidationError as error:
        raise InvalidInput("report", step, f"must keep to the contract: {error}") from error


def _frames(data: bytes) -> Iterator[tuple[bytes, int]]:
    """(payload, where its frame ends), up to the first that is torn or damaged."""
    at = 0
    while at + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, at)
        payload = data[at + _FRAME.size : at + _FRAME.size + length]
        if len(payload) < length or zlib.crc32(payload) != checksum:
            return
        at += _FRAME.size + length
        yield payload, at


def _write(fd: int, data: bytes) -> None:
    """All of it: a disk that is nearly full takes a part, and says why at the next write."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _until(steps: list[int], last: int) -> Iterator[int]:
    for step in steps:
        if step > last:
            return
        yield step


def _difference(found: _Label, wanted: _Label) -> str:
    if found.run_id != wanted.run_id:
        return f"of run {found.run_id!r}; it is left alone"
    return (
        f"of another version (format {found.format}, schema {found.schema}); it is left alone, "
        "and the version that wrote it can deliver it"
    )
