"""What is kept of a run's steps, by their distance from the newest one.

Records and digests live together: without the digest of a step nobody can tell whether a report of
it is the same again. States thin out: the newest ones all, older ones every so many steps, so that
a run can go back far without keeping everything. The state a run started from stays for good.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import Struct

from monitor_service.engine.state import RunState
from monitor_service.errors import InvalidInput

VARIABLES = {
    "rewards_steps": "ACR_KEEP_REWARDS_STEPS",
    "records_steps": "ACR_KEEP_RECORDS_STEPS",
    "states_steps": "ACR_KEEP_STATES_STEPS",
    "states_every": "ACR_KEEP_STATES_EVERY",
    "metrics_idle_s": "ACR_METRICS_IDLE_S",
}
"""Field of `Retention` -> the environment variable that sets it."""

DEFAULT_MAX_RUNS = 10_000
"""Runs there may be, deleted ones that are not purged included."""
MIN_RECORDS_STEPS = 1000
"""A trainer that was cut off repeats what it spooled: that much has to be recognised."""
MAX_STEPS = 2**53
MAX_LEAVING = 256
"""Most fields of one kind that leave with one report: what a longer gap leaves behind waits to be
swept, so that no report costs more than its worth."""

At = tuple[int, int]
"""(attempt, step): what the fields of a run's hashes are named after."""


class Leaving(Struct, frozen=True, kw_only=True):
    """Fields to drop from a run's hashes, as (attempt, step)."""

    rewards: tuple[At, ...] = ()
    records: tuple[At, ...] = ()
    """From the records and from the digests."""
    states: tuple[At, ...] = ()


NOTHING_LEAVES = Leaving()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much is kept; raises `InvalidInput` naming the variable."""

    rewards_steps: int = 200
    """Newest steps whose raw rewards are kept; 0: of none."""
    records_steps: int = 20_000
    """Newest steps whose full records and digests are kept; 0: of all."""
    states_steps: int = 1_000
    """Newest steps whose states are all kept, to resume from."""
    states_every: int = 100
    """Of older states, those after every so many steps are kept; 1: all."""
    metrics_idle_s: float = 86_400.0
    """Runs that have not reported for longer leave `/metrics`."""

    def __post_init__(self) -> None:
        _check("rewards_steps", self.rewards_steps, low=0)
        _check("states_steps", self.states_steps, low=1)
        _check("states_every", self.states_every, low=1)
        if self.records_steps != 0:
            _check(
                "records_steps",
                self.records_steps,
                low=MIN_RECORDS_STEPS,
                otherwise=", or 0 for all",
            )
        if not 0 < self.metrics_idle_s < float("inf"):
            allowed = "must be a number of seconds above 0"
            raise InvalidInput(VARIABLES["metrics_idle_s"], self.metrics_idle_s, allowed)

    def keeps_rewards(self, step: int, newest: int) -> bool:
        """Whether raw rewards of `step` are kept while `newest` is the newest step."""
        return step > newest - self.rewards_steps

    def keeps_record(self, step: int, newest: int) -> bool:
        """The same of the record and the digest."""
        return self.records_steps == 0 or step > newest - self.records_steps

    def keeps_state(self, step: int, newest: int) -> bool:
        """The same of the state after `step`; the state a run started from is kept besides."""
        return step > newest - self.states_steps or step % self.states_every == 0

    def most_states(self, newest: int) -> int:
        """How many states there can be, with the one the run started from."""
        return self.states_steps + newest // self.states_every + 1

    def leaving(self, before: RunState, step: int) -> Leaving:
        """What goes when `step` is recorded in a run that stands at `before`.

        One step leaves for one that comes; after a gap, as many as are missing, up to a limit.
        """
        return Leaving(
            rewards=_passed(before, step, self.rewards_steps),
            records=_passed(before, step, self.records_steps) if self.records_steps else (),
            states=tuple(
                at
                for at in _passed(before, step, self.states_steps)
                if at[1] % self.states_every and at != start_of(before)
            ),
        )


def start_of(state: RunState) -> At:
    """Where the run started: its state there is what it goes back to before all others."""
    return state.attempts[0]


def is_replaced(state: RunState, at: At) -> bool:
    """Whether a later attempt took this step over, so that what was kept of it no longer counts."""
    attempt, step = at
    # A field of an attempt that `state` does not know yet was written since it was read.
    return attempt < state.attempt_of(step)


def newest_until(state: RunState, kept: Iterable[At], step: int) -> At | None:
    """The newest of the `kept` fields that counts and is of a step up to `step`; None: no such."""
    counting = (at for at in kept if at[1] <= step and at[0] == state.attempt_of(at[1]))
    return max(counting, key=lambda at: at[1], default=None)


def _passed(before: RunState, step: int, num_kept: int) -> tuple[At, ...]:
    """Steps that were among the newest `num_kept` until `step` came."""
    if step <= num_kept:
        return ()
    first = max(1, before.step - num_kept + 1)
    last = min(before.step, step - num_kept, first + MAX_LEAVING - 1)
    return tuple([(before.attempt_of(old), old) for old in range(first, last + 1)])


def _check(field: str, value: int, *, low: int, otherwise: str = "") -> None:
    if not low <= value <= MAX_STEPS:
        allowed = f"must be a whole number in [{low}, {MAX_STEPS}]{otherwise}"
        raise InvalidInput(VARIABLES[field], value, allowed)


DEFAULT = Retention()
