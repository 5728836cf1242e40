"""Whatever figures a trainer sends, its report is recorded, and the run can be read afterwards."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor_service.engine.health import alarms as health
from monitor_service.engine.health.rule import Rule
from monitor_service.engine.health.rules import RULES
from monitor_service.exposition import render
from monitor_service.monitor import Monitor
from monitor_service.store.redis import RedisStore
from monitor_service.wire import WATCHED_SCALARS, Component, CreateRun, Scalars
from tests.service.reports import CORRECT, MIXED, WRONG, new_run_id, recorded, report


@pytest.fixture
async def monitor(redis_url: str) -> AsyncIterator[Monitor]:
    store = RedisStore(redis_url)
    yield Monitor(store, lambda: 1000.0)
    await store.close()


STRANGE = (math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -1.0, 0.0)
figure = st.floats() | st.sampled_from(STRANGE)
scalars = st.dictionaries(st.sampled_from(WATCHED_SCALARS), figure)
component = st.builds(Component, mean=st.none() | figure, std=st.none() | figure)
components = st.dictionaries(st.sampled_from(["exact", "format"]), component)
group = st.sampled_from([MIXED, WRONG, CORRECT]) | st.lists(figure, min_size=1, max_size=4)
batch = st.lists(group, min_size=1, max_size=6)


@given(steps=st.lists(st.tuples(batch, scalars, components), min_size=1, max_size=30))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_report_is_recorded_and_every_run_can_be_read(redis_url, steps):
    store = RedisStore(redis_url)
    monitor = Monitor(store, lambda: 1000.0)
    run, _ = await monitor.create(CreateRun(id=new_run_id(), profile="guarded"))
    for step, (rewards, figures, functions) in enumerate(steps, start=1):
        found = report(step, rewards, scalars=Scalars(**figures), components=functions)
        is_new, _ = await recorded(monitor, run.id, found)
        assert is_new
    now = await monitor.run(run.id)
    assert now.counters.steps == len(steps)
    assert (await monitor.diagnosis(run.id)).failure == ""
    assert len((await monitor.history.steps(run.id, 1, None, 100)).steps) == len(steps)
    assert run.id.encode() in await asyncio.to_thread(render, [now], {})
    await store.close()


@pytest.mark.parametrize("value", STRANGE)
@pytest.mark.parametrize("name", WATCHED_SCALARS)
async def test_a_figure_that_stays_strange_spoils_nothing(monitor, name, value):
    run, _ = await monitor.create(CreateRun(id=new_run_id(), profile="guarded"))
    for step in range(1, 31):
        await recorded(monitor, run.id, report(step, scalars=Scalars(**{name: value})))
    assert (await monitor.run(run.id)).counters.steps == 30
    assert (await monitor.diagnosis(run.id)).failure == ""


def _broken(_: Any) -> float:
    raise ZeroDivisionError("a figure nobody thought of")


BROKEN = Rule(
    name="not_finite",
    severity="critical",
    watches="nothing",
    unit="count",
    read=_broken,
    raise_at=0.5,
    clear_at=0.5,
    raise_after=1,
    source="this test",
)


async def test_a_rule_that_fails_costs_no_step_and_is_told_once(monitor, monkeypatch, caplog):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    monkeypatch.setattr(health, "RULES", (*RULES, BROKEN))
    for step in (1, 2, 3):
        is_new, _ = await recorded(monitor, run.id, report(step))
        assert is_new
    found = await monitor.diagnosis(run.id)
    assert (found.step, found.failure.partition(",")[0]) == (3, "ZeroDivisionError in _broken")
    told = (await monitor.events(run.id, 10)).events
    (event,) = [view.event for view in told if view.event.kind == "health_failed"]
    assert event.step == 1
    assert "a figure nobody thought of" in event.message
    assert f"run {run.id}, step 1" in caplog.text
    # With the rule mended the run is judged again.
    monkeypatch.setattr(health, "RULES", RULES)
    await recorded(monitor, run.id, report(4))
    assert (await monitor.diagnosis(run.id)).failure == ""


async def test_alarms_raised_before_a_rule_failed_stay(monitor, monkeypatch):
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    for step in (1, 2):
        await recorded(monitor, run.id, report(step, scalars=Scalars(non_finite=["loss"])))
    before = (await monitor.diagnosis(run.id)).verdicts
    assert [found.rule for found in before] == ["not_finite"]
    monkeypatch.setattr(health, "RULES", (BROKEN,))
    await recorded(monitor, run.id, report(3))
    assert (await monitor.diagnosis(run.id)).verdicts == before
