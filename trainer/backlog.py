"""Reports on their way to the monitor: the oldest on disk, the newest in memory, in order.

The trainer only ever appends to memory. The sender takes from the head, and moves what is in memory
to the disk whenever the monitor does not take it; so does a checkpoint, and the end of the process.
Once anything is on disk, everything new goes behind it there.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from monitor_service.wire import Count, RunId, StepReport
from trainer.spool import Spool, SpoolUnusable, left_behind

log = logging.getLogger(__name__)

CANNOT_ENCODE = (TypeError, ValueError, OverflowError, msgspec.MsgspecError)
"""What a report does that is none."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint keeps of a client.

    Attributes:
        run_id: the run, which may have a made-up name.
        step: the newest step handed in.
        spool_dir: the folder where undelivered reports wait; None: in memory only.
        undelivered: how many there were.
    """

    run_id: RunId
    step: Count
    spool_dir: str | None
    undelivered: Count


def kept_by(state: Mapping[str, Any]) -> Kept | None:
    """What a checkpoint keeps; None where it keeps nothing, or, with a warning, is unreadable."""
    try:
        return msgspec.convert(state, Kept) if state else None
    except msgspec.ValidationError as error:
        log.warning("the checkpoint keeps nothing of a monitor's client: %s", error)
    return None


class Backlog:
    """What the monitor has not taken yet. Lock order: `_disk`, then the condition."""

    def __init__(
        self,
        changed: threading.Condition,
        lost: Callable[[str, Sequence[int]], None],
        *,
        most_in_memory: int,
        spool_dir: Path | None,
        spool_max_bytes: int,
    ) -> None:
        """An empty one; `begin` looks at the disk.

        Args:
            changed: guards what is in memory, and is notified of a new report.
            lost: told, under `changed`, of reports that will not be sent: "dropped" for want of
                room or "rejected" by the contract, and their steps.
            most_in_memory: reports; of more, the oldest is dropped.
            spool_dir: the folder of all runs' spools; None: memory only.
            spool_max_bytes: bound of what is on disk.
        """
        self._changed = changed
        self._lost = lost
        self._most = most_in_memory
        self._spool_dir = spool_dir
        self._max_bytes = spool_max_bytes
        self._disk = threading.RLock()
        self._spool: Spool | None = None
        self._queue: deque[StepReport] = deque()
        self._on_disk = 0
        self._moving = 0
        # Reports that have left the head, and as many as that when the sender looked last.
        self._gone = self._looked_at = 0
        self._warned: set[str] = set()

    def __len__(self) -> int:
        """Reports, wherever they are."""
        return self._on_disk + self._moving + len(self._queue)

    def begin(self, run_id: str, after_step: int) -> int | None:
        """Start with nothing but what an earlier process left on disk; the newest step of it."""
        with self._disk, self._changed:
            self._spool = spool = self._opened(run_id, after_step)
            self._queue.clear()
            self._warned.clear()
            self._on_disk = len(spool) if spool else 0
            return spool.last_step if spool else None

    def _opened(self, run_id: str, after_step: int) -> Spool | None:
        """The run's spool, if there is to be one and it can be had."""
        if self._spool_dir is None:
            return None
        if others := ", ".join(run for run in left_behind(self._spool_dir) if run != run_id):
            what = "%s holds undelivered reports of %s, too; they are sent when that run goes on"
            log.warning(what, self._spool_dir, others)
        try:
            spool = Spool(self._spool_dir, run_id, after_step=after_step, max_bytes=self._max_bytes)
        except SpoolUnusable as error:
            what = "there is no spool, reports wait in memory, at most %d: %s"
            log.warning(what, self._most, error)
            return None
        if len(spool):
            what = "%d reports that an earlier process could not deliver go first: %s"
            log.warning(what, len(spool), spool.folder)
        return spool

    def look_behind(self, kept: Kept) -> None:
        """Warn of reports that are known to wait where nobody will look for them."""
        folder = None if kept.spool_dir is None else Path(kept.spool_dir)
        if folder and folder != self._spool_dir and kept.run_id in left_behind(folder):
            what = "undelivered reports of run %s lie in %s, which is not spool_dir (%s): move them"
            log.warning(what, kept.run_id, folder, self._spool_dir)

    def put(self, report: StepReport) -> bool:
        """Add the newest, in memory; False when the oldest there was dropped for it."""
        with self._changed:
            is_full = len(self._queue) >= self._most
            if is_full:
                # Behind what is on disk, where there is something, it is not the head.
                self._gone += not (self._on_disk or self._moving)
                self._lost("dropped", [self._queue.popleft().step])
            self._queue.append(report)
            self._changed.notify_all()
        return not is_full

    def first_step(self) -> int | None:
        """Of the oldest report."""
        with self._disk, self._changed:
            if self._spool and self._on_disk:
                return self._spool.first_step
            return self._queue[0].step if self._queue else None

    def head(self, most: int) -> list[StepReport]:
        """The oldest reports, at most `most`; they stay until `settle`."""
        with self._disk:
            if self._on_disk or len(self._queue) > self._most // 2:
                self.spill()
            while self._spool and self._on_disk:
                self._looked_at = self._gone
                try:
                    return self._spool.head(most)
                except SpoolUnusable as error:
                    log.warning("undelivered reports are lost: %s", error)
                    self._count_dropped(self._spool.drop_oldest())
            with self._changed:
                self._looked_at = self._gone
                return list(islice(self._queue, most))

    def settle(self, count: int) -> None:
        """The fate of the first `count` reports of the last `head` is known."""
        with self._disk:
            with self._changed:
                # Some of them may have been dropped meanwhile.
                count = max(0, self._looked_at + count - self._gone)
                on_disk = min(count, self._on_disk)
                for _ in range(count - on_disk):
                    self._queue.popleft()
                self._gone += count
            if self._spool and on_disk:
                self._spool.forget(on_disk)
                self._on_disk = len(self._spool)

    def spill(self) -> bool:
        """Put on disk what is in memory; False when there is no disk to be had."""
        with self._disk:
            if self._spool is None:
                return False
            while True:
                with self._changed:
                    if not self._queue:
                        return True
                    report, self._moving = self._queue.popleft(), 1
                try:
                    dropped = self._spool.append(report)
                except OSError as error:
                    with self._changed:
                        self._queue.appendleft(report)
                        self._moving = 0
                    self._warn_once(
                        f"the spool {self._spool.folder} cannot be written ({error}): reports wait "
                        f"in memory, at most {self._most}, and the oldest are dropped and counted"
                    )
                    return False
                except CANNOT_ENCODE as error:
                    log.warning("the report of step %d is given up: %s", report.step, error)
                    with self._changed:
                        self._gone += not self._on_disk
                        self._moving = 0
                        self._lost("rejected", [report.step])
                    continue
                self._moving = 0
                self._on_disk += 1
                if dropped:
                    self._warn_once(
                        f"the spool {self._spool.folder} is full: the oldest reports are dropped "
                        "and counted"
                    )
                    self._count_dropped(dropped)

    @property
    def is_waiting_in_memory(self) -> bool:
        """Whether `spill` would have something to do."""
        return bool(self._queue)

    def end(self) -> Path | None:
        """Put on disk what is left, and let go of the folder; where all of it is, if it is."""
        with self._disk:
            if self._spool is None:
                return None
            folder = self._spool.folder if self.spill() else None
            self._spool.close()
            self._spool = None
            return folder

    def _count_dropped(self, steps: Sequence[int]) -> None:
        with self._changed:
            self._gone += len(steps)
            self._on_disk -= len(steps)
            self._lost("dropped", steps)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)
