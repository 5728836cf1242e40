"""A process beside the one that measures, so that making load takes nothing from what is measured.

A job is an asynchronous generator. It is run up to its next `yield` whenever it is told to go on,
and what it yields comes back; nothing of it runs in between. A job that raises ends its process,
with the traceback on standard error.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from typing import Any

import uvloop

Stages = AsyncIterator[Any]
Job = Callable[[], Stages]
"""Picklable."""

_EXIT_TIMEOUT_S = 10.0


class Worker:
    """One such process."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def go_on(self, job: Job | None = None) -> None:
        """Begin a job, or go on with the one that was begun."""
        self._pipe.send(job)

    def reached(self) -> Any:
        """What the job yields next; waits for it. RuntimeError when the process has ended."""
        try:
            return self._pipe.recv()
        except EOFError as error:
            raise RuntimeError("a load process has failed; its words are above") from error


@contextmanager
def workers(num: int) -> Iterator[list[Worker]]:
    """So many processes, ended with the context."""
    spawn = get_context("spawn")
    with ExitStack() as stack:
        found = []
        for _ in range(num):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_work, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join, _EXIT_TIMEOUT_S)
            stack.callback(ours.close)
            found.append(Worker(ours))
        yield found


def _work(pipe: Pipe) -> None:
    """The body of the process: jobs, until the other end closes."""
    stages: Stages | None = None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while True:
            try:
                job = pipe.recv()
            except EOFError:
                return
            stages = job() if job else stages
            assert stages is not None
            pipe.send(runner.run(_next(stages)))


async def _next(stages: Stages) -> Any:
    return await anext(stages)
