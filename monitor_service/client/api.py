"""The REST API of a monitor, in Python. Synchronous; prints nothing, reads no environment.

    with MonitorApi("http://127.0.0.1:8400") as monitor:
        for run in monitor.runs():
            ...

Every call raises ClientError when the monitor refuses, Unreachable when there is no answer, and
NotUnderstood when what answers is no monitor of this version. Calls that change something are sent
once: after Unreachable nobody knows whether it happened, and asking again is up to the caller.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Literal, Self

from msgspec import Struct
from msgspec.structs import replace

from monitor_service.client.http import Http, run_path
from monitor_service.resources import (
    Ack,
    CommandRequest,
    Diagnosis,
    EndOfRun,
    EventPage,
    ForecastView,
    Order,
    OverrideRequest,
    Result,
    ResultRequest,
    Run,
    RunList,
    SettingsView,
    StepColumns,
    StepGroups,
    StepPage,
    StepRecord,
)
from monitor_service.wire import CreateRun, StepReport

TIMEOUT_S = 10.0


class Health(Struct, frozen=True):
    """What a monitor of any version says of itself."""

    version: str


class MonitorApi:
    """A monitor. Safe to share between threads; close it, or use it as a context."""

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Connects to nothing yet.

        Args:
            url: the monitor, such as `http://127.0.0.1:8400`.
            token: as `acr token create` printed it; None where none is needed.
            timeout_s: longest wait for a connection, and between two pieces of an answer.

        Raises:
            InvalidInput: what can be no token.
            Unreachable: what can be no address.
        """
        self._http = Http(url, token=token, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> Health:
        """Whether the process answers; needs no token."""
        return self._http.get(Health, "/healthz")

    def metrics(self) -> str:
        """Every run, as Prometheus reads it."""
        return self._http.get(str, "/metrics")

    # Runs

    def runs(self) -> Iterator[Run]:
        """All runs, newest first."""
        yield from self._http.get(RunList, "/v1/runs").runs

    def run(self, run_id: str) -> Run:
        """One run as it stands."""
        return self._http.get(Run, run_path(run_id))

    def create(self, wanted: CreateRun) -> Run:
        """Create a run, find it, or open a new attempt of it."""
        return self._http.send(Run, "POST", "/v1/runs", wanted)

    def end(self, run_id: str, *, attempt: int, how: str = "finished") -> Run:
        """Say that the training is over."""
        ended = EndOfRun(attempt=attempt, how=how)
        return self._http.send(Run, "POST", run_path(run_id, "end"), ended)

    # Steps

    def report(self, run_id: str, reports: StepReport | Sequence[StepReport]) -> Ack:
        """Report one step, or up to 256 in order; the answer has the newest settings.

        Repeating a report changes nothing. When one contradicts what is recorded, the `results` of
        the ClientError's problem say what became of each.
        """
        return self._http.send(Ack, "POST", run_path(run_id, "steps"), reports)

    def steps(
        self, run_id: str, *, first: int = 1, last: int | None = None
    ) -> Iterator[StepRecord]:
        """The steps from `first` to `last` (default: the newest) in order, a page at a time."""
        at: int | None = first
        while at is not None:
            query = {"from": at, "to": last}
            page = self._http.get(StepPage, run_path(run_id, "steps"), query)
            yield from page.steps
            at = page.next_from

    def step(self, run_id: str, step: int, *, attempt: int | None = None) -> StepRecord:
        """One step; None: of the attempt that counts."""
        query = {"attempt": attempt}
        return self._http.get(StepRecord, run_path(run_id, "steps", step), query)

    def groups(self, run_id: str, step: int, *, attempt: int | None = None) -> StepGroups:
        """The rewards of a step, group by group, while they are kept."""
        query = {"attempt": attempt}
        return self._http.get(StepGroups, run_path(run_id, "steps", step, "groups"), query)

    def columns(
        self,
        run_id: str,
        fields: Sequence[str],
        *,
        first: int = 1,
        last: int | None = None,
        points: int | None = None,
    ) -> StepColumns:
        """Figures of the steps from `first` to `last` (default: the newest), a column each.

        With `points` at most so many steps of the range, chosen so that spikes survive.
        """
        path = run_path(run_id, "steps")
        query = {"fields": ",".join(fields), "from": first, "to": last, "points": points}
        found = page = self._http.get(StepColumns, path, query)
        while page.next_from is not None:
            page = self._http.get(StepColumns, path, query | {"from": page.next_from})
            for name, column in found.columns.items():
                column += page.columns[name]
        return replace(found, steps_to=page.steps_to or found.steps_to, next_from=None)

    def csv(
        self,
        run_id: str,
        fields: Sequence[str] | None = None,
        *,
        first: int = 1,
        last: int | None = None,
        points: int | None = None,
    ) -> Iterator[str]:
        """The same as lines of CSV, the names first; None: every column."""
        path: str | None = run_path(run_id, "steps")
        names = None if fields is None else ",".join(fields)
        query = {"format": "csv", "fields": names, "from": first, "to": last, "points": points}
        lines_to_skip = 0
        while path is not None:
            with self._http.opened(path, query=query) as reply:
                yield from islice(reply.iter_lines(), lines_to_skip, None)
                path = reply.links.get("next", {}).get("url")
            query, lines_to_skip = {}, 1

    # Settings

    def settings(self, run_id: str) -> SettingsView:
        """The settings in force, and who changed them last."""
        return self._http.get(SettingsView, run_path(run_id, "settings"))

    def change(
        self,
        run_id: str,
        changes: Mapping[str, Any],
        *,
        reason: str,
        actor: str | None = None,
        if_revision: int | None = None,
    ) -> SettingsView:
        """Change settings for good; with `if_revision` only if nobody was faster (412)."""
        return self._http.send(
            SettingsView,
            "PATCH",
            run_path(run_id, "settings"),
            {**changes, "reason": reason, "actor": actor},
            headers={} if if_revision is None else {"if-match": f'"r{if_revision}"'},
        )

    def override(
        self,
        run_id: str,
        changes: Mapping[str, Any],
        *,
        for_steps: int,
        for_s: float,
        reason: str,
        actor: str | None = None,
    ) -> SettingsView:
        """Change settings for a while: they return by themselves at whichever end comes first."""
        wanted = OverrideRequest(
            settings=dict(changes),
            expires_in_steps=for_steps,
            expires_in_s=for_s,
            reason=reason,
            actor=actor,
        )
        return self._ordered(run_id, "overrides", wanted)

    def end_override(
        self, run_id: str, number: int, *, reason: str | None = None, actor: str | None = None
    ) -> SettingsView:
        """End an override before its time."""
        order = Order(actor=actor, reason=reason)
        return self._ordered(run_id, f"overrides/{number}/end", order)

    # Orders

    def kill(
        self, run_id: str, *, reason: str | None = None, actor: str | None = None
    ) -> SettingsView:
        """Stop every intervention, until somebody re-arms the run."""
        return self._ordered(run_id, "kill", Order(actor=actor, reason=reason))

    def rearm(self, run_id: str, *, reason: str, actor: str | None = None) -> SettingsView:
        """Allow interventions again."""
        return self._ordered(run_id, "rearm", Order(actor=actor, reason=reason))

    def command(
        self,
        run_id: str,
        kind: Literal["save", "stop"],
        *,
        reason: str | None = None,
        actor: str | None = None,
    ) -> SettingsView:
        """Have the trainer save a checkpoint, or save one and stop."""
        wanted = CommandRequest(command=kind, actor=actor, reason=reason)
        return self._ordered(run_id, "commands", wanted)

    # How it goes

    def events(self, run_id: str, *, limit: int = 100) -> EventPage:
        """The newest events, newest first."""
        return self._http.get(EventPage, run_path(run_id, "events"), {"limit": limit})

    def diagnosis(self, run_id: str) -> Diagnosis:
        """What is wrong with the run, and what became of every knob."""
        return self._http.get(Diagnosis, run_path(run_id, "diagnosis"))

    def forecast(self, run_id: str) -> ForecastView:
        """The accuracy to expect at the end, and what that rests on."""
        return self._http.get(ForecastView, run_path(run_id, "forecast"))

    def result(self, run_id: str, *, accuracy: float, benchmark: str) -> Result:
        """Keep the final accuracy, a fraction in [0, 1]."""
        wanted = ResultRequest(accuracy=accuracy, benchmark=benchmark)
        return self._http.send(Result, "POST", run_path(run_id, "result"), wanted)

    def _ordered(self, run_id: str, what: str, order: Struct) -> SettingsView:
        return self._http.send(SettingsView, "POST", f"{run_path(run_id)}/{what}", order)
