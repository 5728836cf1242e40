"""Every Redis key and channel, in one place.

All keys of a run share the hash tag `{run_id}`, so that one Lua script may touch them on a Redis
Cluster. Nothing of a run expires by itself.
"""

from dataclasses import dataclass

from monitor_service.wire import settings_channel, settings_key

RUNS = "acr:runs"
"""Sorted set: run id by creation time."""

DEFAULTS = "acr:defaults"
"""String: what new runs start with."""
TOKENS = "acr:tokens"
"""Hash: token id to the token's record, without the token itself."""
ALARMS = "acr:alarms"
"""Channel: the id of a run whose alarms have changed."""
SETTINGS_CHANNELS = settings_channel("*")
"""Pattern of the channels on which settings are published: each transition of any run is heard."""

ALERTS_LEASE = "{acr:alerts}:lease"
"""String: which replica delivers alerts. What it keeps shares the slot, for its script's sake."""
ALERTS_STANDINGS = "{acr:alerts}:standings"
"""Hash: sink to how its deliveries go."""
ALERTS_OUTCOMES = "{acr:alerts}:outcomes"
"""Hash: `sink outcome` to the number of deliveries that ended so."""

EVENTS_KEPT = 10_000
"""Newest events kept of a run, approximately."""
CHANGES_KEPT = 100_000
"""The same of people's orders and their effects."""


@dataclass(frozen=True, slots=True)
class RunKeys:
    """The keys of one run."""

    run_id: str
    draft: str = ""
    """Names an import that is under way: all but `run` and `settings` are then keys of its own."""

    def _key(self, name: str) -> str:
        place = f"{self.draft}:{name}" if self.draft else name
        return f"acr:{{{self.run_id}}}:{place}"

    @property
    def run(self) -> str:
        """Hash: version, state, about, changed, last, result."""
        return self._key("run")

    @property
    def settings(self) -> str:
        """String: the newest settings, for trainers that connect."""
        return settings_key(self.run_id)

    @property
    def steps(self) -> str:
        """Hash: `attempt:step` to the step's record."""
        return self._key("steps")

    @property
    def states(self) -> str:
        """Hash: `attempt:step` to the run's state after the step."""
        return self._key("states")

    @property
    def digests(self) -> str:
        """Hash: `attempt:step` to the digest of the report."""
        return self._key("digests")

    @property
    def series(self) -> str:
        """String: a row of figures for each step, as they were recorded."""
        return self._key("series")

    @property
    def rewards(self) -> str:
        """Hash: `attempt:step` to the step's raw rewards, of the newest steps only."""
        return self._key("rewards")

    @property
    def events(self) -> str:
        """Stream of the run's events."""
        return self._key("events")

    @property
    def changes(self) -> str:
        """Stream of what people ordered, and of the step from which it acted: the audit trail."""
        return self._key("changes")

    @property
    def all(self) -> tuple[str, ...]:
        """Every key of the run, for those who delete it."""
        return (
            *(self.run, self.settings, self.steps, self.states, self.digests, self.series),
            *(self.rewards, self.events, self.changes),
        )

    @property
    def settings_channel(self) -> str:
        """Channel on which every version of the settings is published."""
        return settings_channel(self.run_id)


def run_of_channel(channel: str) -> str:
    """The run whose settings are published on this channel."""
    head, tail = SETTINGS_CHANNELS.split("*")
    return channel.removeprefix(head).removesuffix(tail)


def step_field(attempt: int, step: int) -> str:
    """Field of a step in the run's hashes."""
    return f"{attempt}:{step}"


def read_field(name: bytes) -> tuple[int, int]:
    """(attempt, step) of a field in the run's hashes."""
    attempt, _, step = name.partition(b":")
    return int(attempt), int(step)


def alerts_told(sink: str) -> str:
    """Hash: run id to what the sink was told of the run; "" to where it began to listen."""
    return f"{{acr:alerts}}:told:{sink}"
