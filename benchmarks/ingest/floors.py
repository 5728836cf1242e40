"""What no service can do without: the arithmetic on the matrix, on its own, in this process."""

import time

from msgspec.structs import replace

from benchmarks.reports import Reports, batches
from monitor_service.engine.advance import advance
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.wire import observation

SEEN_STEPS = 200
"""Before anything is timed: until windows and histories of a run are full."""


class Arithmetic:
    """For reports of one size."""

    def __init__(self, groups: int, size: int) -> None:
        """`groups` of `size` completions."""
        self._batches = batches(groups, size)
        self._reports = Reports(groups, size)
        self._state = RunState(settings=Settings())
        self.advance_us(SEEN_STEPS)

    def std_us(self, repeats: int) -> float:
        """CPU microseconds of the standard deviation of every group, in float64."""
        began = time.thread_time()
        for at in range(repeats):
            self._batches[at % len(self._batches)].std(axis=1)
        return 1e6 * (time.thread_time() - began) / repeats

    def advance_us(self, repeats: int) -> float:
        """CPU microseconds of the engine for one step, decoded already."""
        first = self._state.step + 1
        # A copy each: what the engine may derive from a matrix is not to be found derived.
        seen = [
            replace(found, rewards=found.rewards.copy())
            for found in (
                observation(self._reports.of(step)) for step in range(first, first + repeats)
            )
        ]
        began = time.thread_time()
        for one in seen:
            self._state, _, _ = advance(self._state, one, now_s=float(one.step))
        return 1e6 * (time.thread_time() - began) / repeats
