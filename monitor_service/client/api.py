"""The REST API of a monitor, in Python. Synchronous; prints nothing, reads no environment.

    with MonitorApi("http://127.0.0.1:8400") as monitor:
        for run in monitor.runs():
            ...

Every call raises ClientError when the monitor refuses, Unreachable when there is no answer, and
NotUnderstood when what answers is no monitor of this version. Calls that change something are sent
once: after Unreachable nobody knows whether it happened, and asking again is up to the caller.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from msgspec import Struct

from monitor_service.alert import AlertsView
from monitor_service.client.http import Http, run_path
from monitor_service.client.past import PAGE, Past
from monitor_service.client.stream import OF_ALL_RUNS, Message, follow
from monitor_service.engine.fields import Field
from monitor_service.requests import (
    CommandRequest,
    DefaultsRequest,
    Description,
    EndOfRun,
    Order,
    OverrideRequest,
    ResultRequest,
)
from monitor_service.resources import (
    Ack,
    Defaults,
    Diagnosis,
    FieldList,
    ForecastView,
    Health,
    Result,
    Run,
    RunList,
    SettingsView,
)
from monitor_service.tokens import Me
from monitor_service.wire import CreateRun, StepReport

TIMEOUT_S = 10.0
JSON_LINES = "application/x-ndjson"


class MonitorApi(Past):
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

    def me(self) -> Me:
        """What the token allows; without one, whether one is needed."""
        return self._http.get(Me, "/v1/me")

    def fields(self) -> tuple[Field, ...]:
        """Every setting that people may change: what it takes, and what it does."""
        return self._http.get(FieldList, "/v1/fields").fields

    def metrics(self) -> str:
        """Every run, as Prometheus reads it."""
        return self._http.get(str, "/metrics")

    def alerts(self) -> AlertsView:
        """Who is told of alarms, and how that goes."""
        return self._http.get(AlertsView, "/v1/alerts")

    # Runs

    def runs(
        self,
        *,
        state: str | None = None,
        tags: Mapping[str, str] | None = None,
        text: str | None = None,
    ) -> Iterator[Run]:
        """Runs, newest first, a page at a time.

        Args:
            state: only such, of `listing.STANDINGS`; None: all that are not deleted.
            tags: only runs with all of these.
            text: only runs with this in their id.
        """
        after: str | None = None
        while True:
            tag = [f"{name}:{found}" for name, found in (tags or {}).items()]
            query = {"limit": PAGE, "after": after, "state": state, "tag": tag, "q": text}
            page = self._http.get(RunList, "/v1/runs", query)
            yield from page.runs
            if (after := page.next_after) is None:
                return

    def run(self, run_id: str, *, deleted: bool = False) -> Run:
        """One run as it stands; with `deleted` even if it was deleted."""
        return self._http.get(Run, run_path(run_id), {"deleted": "true" if deleted else None})

    def stream_runs(self) -> Iterator[Message]:
        """A glance at each run that moves, while it moves and without an end."""
        return follow(self._http, "/v1/stream", OF_ALL_RUNS, after=None)

    def create(self, wanted: CreateRun) -> Run:
        """Create a run, find it, or open a new attempt of it."""
        return self._http.send(Run, "POST", "/v1/runs", wanted)

    def end(self, run_id: str, *, attempt: int, how: str = "finished") -> Run:
        """Say that the training is over."""
        ended = EndOfRun(attempt=attempt, how=how)
        return self._http.send(Run, "POST", run_path(run_id, "end"), ended)

    def describe(
        self,
        run_id: str,
        *,
        tags: Mapping[str, str | None] | None = None,
        notes: str | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> Run:
        """Merge tags into those of a run, None deleting one; with `notes`, replace its notes."""
        wanted = Description(tags=dict(tags or {}), notes=notes, reason=reason, actor=actor)
        return self._http.send(Run, "PATCH", run_path(run_id), wanted)

    def delete(self, run_id: str, *, reason: str | None = None, actor: str | None = None) -> Run:
        """Hide a run: it takes and shows nothing until it is restored."""
        query = {"reason": reason, "actor": actor}
        return self._http.send(Run, "DELETE", run_path(run_id), query=query)

    def purge(self, run_id: str) -> None:
        """Remove all that is kept of a deleted run, for good."""
        self._http.send(type(None), "DELETE", run_path(run_id), query={"purge": "true"})

    def restore(self, run_id: str, *, reason: str | None = None, actor: str | None = None) -> Run:
        """Bring a deleted run back, as it was."""
        order = Order(reason=reason, actor=actor)
        return self._http.send(Run, "POST", run_path(run_id, "restore"), order)

    def import_run(self, run_id: str, chunks: Iterator[bytes]) -> Run:
        """Take in what `export` gave, whole or not at all."""
        headers = {"content-type": JSON_LINES}
        path = run_path(run_id, "import")
        with self._http.opened(path, method="POST", body=chunks, headers=headers) as reply:
            reply.read()
            return self._http.understood(reply, Run)

    # What new runs start with

    def defaults(self) -> Defaults:
        """The profile of runs that name none, and settings on top of any profile."""
        return self._http.get(Defaults, "/v1/defaults")

    def change_defaults(
        self,
        *,
        profile: str | None = None,
        settings: Mapping[str, Any] | None = None,
        reason: str,
        actor: str | None = None,
        if_revision: int | None = None,
    ) -> Defaults:
        """Change them; settings that are given take the place of all there are."""
        wanted = DefaultsRequest(
            profile=profile,
            settings=None if settings is None else dict(settings),
            reason=reason,
            actor=actor,
        )
        headers = _if_match(if_revision)
        return self._http.send(Defaults, "PATCH", "/v1/defaults", wanted, headers=headers)

    # Steps

    def report(self, run_id: str, reports: StepReport | Sequence[StepReport]) -> Ack:
        """Report one step, or up to 256 in order; the answer has the newest settings.

        Repeating a report changes nothing. When one contradicts what is recorded, the `results` of
        the ClientError's problem say what became of each.
        """
        return self._http.send(Ack, "POST", run_path(run_id, "steps"), reports)

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
            headers=_if_match(if_revision),
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


def _if_match(revision: int | None) -> dict[str, str]:
    return {} if revision is None else {"if-match": f'"r{revision}"'}
