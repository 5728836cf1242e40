"""Runs the cells of a plan that have no result yet, here or in worker processes.

Each worker runs one cell and ends, so that nothing of a cell, its memory on a device least of all,
is left for the next. What a worker prints goes to a file beside its result.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from trainer.compare import results
from trainer.compare.plan import Cell
from trainer.compare.results import Result

THREADS = "OMP_NUM_THREADS"
DEVICES = "CUDA_VISIBLE_DEVICES"


def run_all(
    cells: Sequence[Cell], folder: Path, *, jobs: int, monitor_url: str | None, console: Console
) -> None:
    """Run cells in the order given, and say what became of each; failed cells end nothing.

    Args:
        cells: those to run; see `results.finished` for those that need not.
        folder: where the comparison keeps its files.
        jobs: worker processes; 1 runs the cells in this process.
        monitor_url: posts each cell as a run there.
        console: for the progress.
    """
    with _Bars(console, len(cells)) as bars:
        if jobs == 1:
            _run_here(cells, folder, monitor_url, bars)
        else:
            _run_in_workers(cells, folder, jobs, monitor_url, bars)


def _run_here(cells: Sequence[Cell], folder: Path, monitor_url: str | None, bars: "_Bars") -> None:
    from trainer.compare import cell as one

    for cell in cells:
        bar = bars.begin(cell)
        result = one.run(
            cell,
            folder,
            monitor_url=monitor_url,
            on_step=lambda done, total, bar=bar: bars.moved(bar, done, total),  # type: ignore[misc]
        )
        bars.end(bar, cell, result)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    cell: Cell
    process: SpawnProcess
    bar: TaskID
    slot: int


def _run_in_workers(
    cells: Sequence[Cell], folder: Path, jobs: int, monitor_url: str | None, bars: "_Bars"
) -> None:
    waiting, running = deque(cells), dict[Any, _Worker]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                slot = min(set(range(jobs)) - {worker.slot for worker in running.values()})
                cell = waiting.popleft()
                connection, process = _started(cell, folder, monitor_url, slot)
                running[connection] = _Worker(
                    cell=cell, process=process, bar=bars.begin(cell), slot=slot
                )
            for ready in wait(list(running)):
                told: Any = ready
                worker = running[told]
                try:
                    bars.moved(worker.bar, *told.recv())
                except EOFError:
                    del running[told]
                    told.close()
                    worker.process.join()
                    bars.end(worker.bar, worker.cell, _outcome(worker, folder))
    finally:
        for worker in running.values():
            worker.process.terminate()
        for worker in running.values():
            worker.process.join()


def _started(
    cell: Cell, folder: Path, monitor_url: str | None, slot: int
) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(theirs, cell, folder, monitor_url, slot), daemon=True, name=cell.name
    )
    # Ctrl-C reaches the whole group; this process then ends its workers in order.
    with _ignored(signal.SIGINT), _environment(THREADS, "1"):
        process.start()
    theirs.close()
    return ours, process


def _work(
    connection: Connection, cell: Cell, folder: Path, monitor_url: str | None, slot: int
) -> None:
    log = results.file_of(folder, cell).with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as target:
        os.dup2(target.fileno(), sys.stdout.fileno())
        os.dup2(target.fileno(), sys.stderr.fileno())
    if devices := _devices():
        os.environ[DEVICES] = devices[slot % len(devices)]
    from trainer.compare import cell as one

    def tell(done: int, total: int) -> None:
        try:
            connection.send((done, total))
        except BrokenPipeError:
            sys.exit(1)  # Nobody waits for this cell any more.

    one.run(cell, folder, monitor_url=monitor_url, on_step=tell)


def _devices() -> list[str]:
    """One GPU for each worker: TRL's trainer would otherwise spread a cell over all it sees."""
    import torch

    if DEVICES in os.environ:
        return [name for name in os.environ[DEVICES].split(",") if name]
    return [str(index) for index in range(torch.cuda.device_count())]


def _outcome(worker: _Worker, folder: Path) -> Result:
    path = results.file_of(folder, worker.cell)
    found = results.read(path) if worker.process.exitcode == 0 else None
    if found is None:
        found = results.begun(worker.cell)
        found.error = f"its process ended with status {worker.process.exitcode}"
        results.write(path, found)
    return found


@contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """The variable for a new process, unless the user has set it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


class _Bars:
    """Progress of all cells and of those running, and a line for each that ended."""

    def __init__(self, console: Console, num_cells: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description:24}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._num_cells = num_cells
        self._num_ended = 0
        self._parts: dict[TaskID, float] = {}
        self._started_s = time.monotonic()

    def __enter__(self) -> "_Bars":
        self._progress.start()
        self._all = self._progress.add_task("cells", total=self._num_cells, note="")
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def begin(self, cell: Cell) -> TaskID:
        bar = self._progress.add_task(cell.name, total=None, note="building, examining")
        self._parts[bar] = 0.0
        return bar

    def moved(self, bar: TaskID, done: int, total: int) -> None:
        self._parts[bar] = done / total if total else 0.0
        note = "examining" if done == total else "training"
        self._progress.update(bar, completed=done, total=total or None, note=note)
        self._estimate()

    def end(self, bar: TaskID, cell: Cell, result: Result) -> None:
        del self._parts[bar]
        self._num_ended += 1
        self._progress.remove_task(bar)
        text = f"failed: {result.error}"
        if result.error is None and result.before and result.after:
            accuracy = f"{result.before.accuracy:.3f} to {result.after.accuracy:.3f}"
            text = f"accuracy {accuracy}, {result.seconds:.0f} s"
        self._progress.console.print(
            f"{cell.name:24} {text}", markup=False, highlight=False, soft_wrap=True
        )
        self._progress.update(self._all, completed=self._num_ended)
        self._estimate()

    def _estimate(self) -> None:
        part = (self._num_ended + sum(self._parts.values())) / self._num_cells
        if part:
            left_s = (time.monotonic() - self._started_s) * (1 - part) / part
            self._progress.update(self._all, note=f"about {left_s / 60:.0f} min left")
