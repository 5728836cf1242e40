"""A run's story as annotations of Grafana, so that telling it twice is telling it once.

Each annotation carries the id of its mark as a tag, by which it is found again. Grafana has nothing
that would make two writers one: let one process annotate a run at a time.
"""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from dashboards.grafana.answers import Annotation
from dashboards.grafana.connection import Grafana, GrafanaFailed
from dashboards.grafana.story import QUIET_STEPS, Injected, Mark, Story
from monitor_service.client.api import MonitorApi
from monitor_service.client.stream import Lost, Reconnected, Told
from monitor_service.errors import InvalidInput
from monitor_service.resources import EventView, Run, StepRecord

MAX_TAG_CHARS = 100
"""What databases of Grafana hold before and after the first colon of a tag."""
ID_TAG = "event:"
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0


class Written(Struct, frozen=True, kw_only=True):
    """How many annotations were written, and how many were right already."""

    created: int
    updated: int
    unchanged: int


class Annotator:
    """Writes the marks of one run."""

    def __init__(self, grafana: Grafana, run_id: str, dashboard_uid: str | None = None) -> None:
        """Raises InvalidInput for an id that no tag can hold, or a dashboard that is not there."""
        if len(run_id) > MAX_TAG_CHARS:
            allowed = f"must have at most {MAX_TAG_CHARS} characters, to be a tag in Grafana"
            raise InvalidInput("RUN", run_id, allowed)
        grafana.check()
        if dashboard_uid is not None and grafana.dashboard(dashboard_uid) is None:
            raise InvalidInput("--dashboard-uid", dashboard_uid, "must be a dashboard of Grafana")
        self._grafana = grafana
        self._tags = ["acr", f"run:{run_id}"]
        self._dashboard_uid = dashboard_uid
        self._known: dict[str, Annotation] | None = None

    def write(self, story: Story) -> Written:
        """Create what is missing, and end what has ended; the rest is left as people have it.

        Raises:
            GrafanaFailed: some of it may be written; the next call looks that up.
        """
        known = self._there() if self._known is None else self._known
        self._known = None
        created = updated = 0
        for mark in story.marks.values():
            there = known.get(mark.id)
            if there is None:
                known[mark.id] = self._create(mark)
                created += 1
            elif there.time_end != mark.end_ms and mark.end_ms > mark.start_ms:
                ended = self._grafana.end(there, mark.end_ms, mark.end_text)
                known[mark.id] = ended or self._create(mark)
                updated += 1
        self._known = known
        return Written(
            created=created, updated=updated, unchanged=len(story.marks) - created - updated
        )

    def _there(self) -> dict[str, Annotation]:
        return {
            tag.removeprefix(ID_TAG): one
            for one in self._grafana.annotations(*self._tags)
            for tag in one.tags or ()
            if tag.startswith(ID_TAG)
        }

    def _create(self, mark: Mark) -> Annotation:
        return self._grafana.annotate(
            start_ms=mark.start_ms,
            end_ms=mark.end_ms,
            tags=[*self._tags, mark.topic, f"{ID_TAG}{mark.id}"],
            text=mark.end_text or mark.text,
            dashboard_uid=self._dashboard_uid,
        )


def story_of(monitor: MonitorApi, run_id: str, since: int = 0) -> Story:
    """What the monitor knows of a run, from a step on."""
    story = Story(since)
    events: Iterable[EventView | Injected] = reversed(list(monitor.events(run_id)))
    for told in heapq.merge(events, _steps(monitor, run_id, since), key=lambda one: one.at_s):
        story.tell(told)
    return story


def followed(
    monitor: MonitorApi,
    run_id: str,
    annotator: Annotator,
    since: int = 0,
    *,
    complain: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Written]:
    """Annotate a run as it happens, without an end; yields whenever something was looked at.

    When Grafana or the monitor is away it is tried again until it is back; `complain` is told once.

    Raises:
        GrafanaFailed: it was away to begin with, or refuses.
        ClientError, Unreachable, NotUnderstood: as `MonitorApi.stream`.
    """
    story: Story | None = None
    is_lost = False
    for message in monitor.stream(run_id):
        match message:
            case Told(content=Run()):
                # To begin with; or anew, when more was missed than the stream can tell.
                is_first, story = story is None, story_of(monitor, run_id, since)
                if is_first:
                    yield annotator.write(story)
                    continue
            case Told(content=EventView() as view) if story is not None:
                story.tell(view)
            case Told(content=StepRecord() as record) if story is not None:
                story.tell(_injected(record))
            case Lost(why=why):
                if not is_lost:
                    complain(f"the connection to the monitor is lost, and tried again: {why}")
                is_lost = True
                continue
            case Reconnected():
                is_lost = False
                continue
            case _:
                continue
        yield _written(annotator, story, complain, sleep)


def _written(
    annotator: Annotator,
    story: Story,
    complain: Callable[[str], None],
    sleep: Callable[[float], None],
) -> Written:
    retry_s = FIRST_RETRY_S
    while True:
        try:
            return annotator.write(story)
        except GrafanaFailed as error:
            if not error.is_passing:
                raise
            if retry_s == FIRST_RETRY_S:
                complain(f"{error}; it is tried again")
        sleep(retry_s)
        retry_s = min(LAST_RETRY_S, 2 * retry_s)


def _steps(monitor: MonitorApi, run_id: str, since: int) -> Iterator[Injected]:
    # An intervention that goes on at `since` has injected within the last quiet steps.
    first = max(1, since - QUIET_STEPS)
    names = ("attempt", "at_s", "injected_wrong", "injected_correct")
    columns = monitor.columns(run_id, names, first=first).columns
    for step, attempt, at_s, wrong, correct in zip(
        columns["step"], *(columns[name] for name in names), strict=True
    ):
        yield Injected(
            step=int(step or 0),
            attempt=int(attempt or 0),
            at_s=at_s or 0.0,
            wrong=int(wrong or 0),
            correct=int(correct or 0),
        )


def _injected(record: StepRecord) -> Injected:
    done = record.applied
    return Injected(
        step=record.step,
        attempt=record.attempt,
        at_s=record.at_s,
        wrong=done.injected_wrong if done else 0,
        correct=done.injected_correct if done else 0,
    )
