"""What is new since a place is all that happened since, whoever asks, when and however often."""

import asyncio
import itertools
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor_service.monitor import Monitor
from monitor_service.requests import CommandRequest
from monitor_service.resources import EventView, StepRecord
from monitor_service.store import news
from monitor_service.store.news import Item, News, Place, read_place
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun
from tests.service.reports import new_run_id, report

moves = st.lists(
    st.one_of(
        # Steps in one request, each so far from the one before.
        st.tuples(st.just("report"), st.lists(st.integers(1, 3), min_size=1, max_size=4)),
        st.tuples(st.just("order"), st.none()),
        # How many steps to go back.
        st.tuples(st.just("resume"), st.integers(0, 12)),
        st.tuples(st.just("look"), st.none()),
    ),
    max_size=14,
)


class Reader:
    """Somebody who came at some time, and what they were told since."""

    def __init__(self, place: Place, num_steps: int, num_events: int) -> None:
        self.place = place
        self.num_steps, self.num_events = num_steps, num_events
        """Steps and events there were before."""
        self.told: list[Item] = []

    async def read(self, store: RedisStore, run_id: str) -> None:
        is_all = False
        while not is_all:
            items, is_all = await News(store.redis).since(run_id, read_place(str(self.place)))
            self.told += items
            self.place = items[-1].place if items else self.place

    def steps(self) -> list[tuple[int, int]]:
        found = (one.data for one in self.told if one.kind == "step")
        records = [msgspec.json.decode(data, type=StepRecord) for data in found]
        return [(record.attempt, record.step) for record in records]

    def events(self) -> list[EventView]:
        found = (one.data for one in self.told if one.kind == "event")
        return [msgspec.json.decode(data, type=EventView) for data in found]


async def check(redis_url: str, wanted: list[tuple[str, Any]]) -> None:
    """Play, with readers who come and read on whenever somebody looks."""
    store = RedisStore(redis_url)
    monitor = Monitor(store, lambda: 1000.0)
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    steps: list[tuple[int, int]] = []
    readers: list[Reader] = []
    for kind, content in [("look", None), *wanted, ("look", None)]:
        if kind == "report":
            numbers = list(itertools.accumulate(content, initial=run.step))[1:]
            reports = [report(step, attempt=run.attempt) for step in numbers]
            await monitor.recorder.record(run.id, reports)
            steps += [(run.attempt, step) for step in numbers]
        elif kind == "order":
            await monitor.control.command(run.id, CommandRequest(command="save"))
        elif kind == "resume":
            after = max(0, run.step - content)
            start_id = f"start {run.attempt}"
            await monitor.create(CreateRun(id=run.id, resume_from_step=after, start_id=start_id))
        run = await monitor.run(run.id)
        if kind == "look":
            for reader in readers:
                await reader.read(store, run.id)
            place = Place(
                attempt=run.attempt,
                step=run.step,
                event=await News(store.redis).newest_event(run.id),
                version=run.settings.version,
            )
            num_events = len((await monitor.events(run.id, 1000)).events)
            readers.append(Reader(place, len(steps), num_events))
    events = (await monitor.events(run.id, 1000)).events[::-1]
    for reader in readers:
        assert reader.steps() == steps[reader.num_steps :]
        assert reader.events() == events[reader.num_events :]
    await store.close()
    monitor.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=moves)
def test_every_reader_is_told_everything_once_however_it_is_cut(redis_url, monkeypatch, wanted):
    with monkeypatch.context() as patch:
        patch.setattr(news, "AT_ONCE", 3)
        asyncio.run(check(redis_url, wanted))
