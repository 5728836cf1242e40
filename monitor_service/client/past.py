"""What a run has been, and what becomes of it: steps, figures, events, orders, the stream."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from msgspec.structs import replace

from monitor_service.client.http import Http, run_path
from monitor_service.client.stream import OF_A_RUN, Message, follow
from monitor_service.resources import (
    EventPage,
    EventView,
    OrderPage,
    OrderView,
    StepBins,
    StepColumns,
    StepGroups,
    StepPage,
    StepRecord,
)

PAGE = 100
"""Things of a list that are asked for at once."""


class Past:
    """The half of `MonitorApi` that reads history; errors as there."""

    _http: Http

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
        limit: int | None = None,
    ) -> StepColumns:
        """Figures of the steps from `first` to `last` (default: the newest), a column each.

        With `points` at most so many steps of the range, chosen so that spikes survive; with
        `limit` at most so many, the first ones.
        """
        path = run_path(run_id, "steps")
        query = {"fields": ",".join(fields), "from": first, "to": last}
        query |= {"points": points, "limit": limit}
        found = page = self._http.get(StepColumns, path, query)
        while page.next_from is not None and limit is None:
            page = self._http.get(StepColumns, path, query | {"from": page.next_from})
            for name, column in found.columns.items():
                column += page.columns[name]
        return replace(found, steps_to=page.steps_to or found.steps_to, next_from=None)

    def newest(self, run_id: str, fields: Sequence[str], count: int) -> StepColumns:
        """Figures of the newest so many steps, 1 to 10,000; cheap however long the run is."""
        query = {"fields": ",".join(fields), "last": count}
        return self._http.get(StepColumns, run_path(run_id, "steps"), query)

    def binned(
        self,
        run_id: str,
        fields: Sequence[str],
        bins: int,
        *,
        first: int = 1,
        last: int | None = None,
    ) -> StepBins:
        """The steps from `first` to `last` (default: the newest) in 1 to 2,000 bins at most.

        Of each bin the mean, the least and the greatest of every column.
        """
        query = {"fields": ",".join(fields), "bins": bins, "from": first, "to": last}
        return self._http.get(StepBins, run_path(run_id, "steps"), query)

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

    def events(
        self, run_id: str, *, kinds: Sequence[str] = (), after: str | None = None
    ) -> Iterator[EventView]:
        """What happened, newest first, a page at a time; after an event, by its id, oldest first.

        Args:
            run_id: the run.
            kinds: only these; empty: all.
            after: an event that is known already.
        """
        order = "before" if after is None else "after"
        at = after
        while True:
            query = {"limit": PAGE, "kind": list(kinds), order: at}
            page = self._http.get(EventPage, run_path(run_id, "events"), query)
            yield from page.events
            if (at := page.next) is None:
                return

    def orders(self, run_id: str) -> Iterator[OrderView]:
        """What people ordered, newest first, and the step from which it acted."""
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            page = self._http.get(OrderPage, run_path(run_id, "settings", "history"), query)
            yield from page.orders
            if page.next is None:
                return
            query["before"] = page.next

    def stream(self, run_id: str, *, after: str | None = None) -> Iterator[Message]:
        """What happens to the run, while it happens and without an end; see `stream.follow`.

        Begins with the run as it stands; with `after`, the id of a message, behind that.
        """
        return follow(self._http, run_path(run_id, "stream"), OF_A_RUN, after=after)

    def export(self, run_id: str) -> Iterator[bytes]:
        """All that is kept of a run, as JSON lines in pieces of any size; see `acr export`."""
        with self._http.opened(run_path(run_id, "export")) as reply:
            yield from reply.iter_bytes()
