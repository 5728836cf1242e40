"""What is kept of a run's steps: exactly what the rule says, whatever trainers do."""

from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.changes import resumed
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import InvalidInput
from monitor_service.monitor import Monitor
from monitor_service.retention import (
    MAX_LEAVING,
    VARIABLES,
    At,
    Retention,
    is_replaced,
    newest_until,
    start_of,
)
from monitor_service.store.keys import RunKeys, read_field
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun
from tests.service.reports import MIXED, WRONG, new_run_id, recorded, report

SMALL = Retention(rewards_steps=3, states_steps=4, states_every=5, records_steps=1000)


def test_every_field_has_its_variable():
    assert VARIABLES.keys() == {field.name for field in fields(Retention)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("rewards_steps", -1), ("rewards_steps", 2**53 + 1)),
        *(("records_steps", -1), ("records_steps", 999)),
        *(("states_steps", 0), ("states_every", 0)),
        *(("metrics_idle_s", 0.0), ("metrics_idle_s", -1.0)),
        *(("metrics_idle_s", float("inf")), ("metrics_idle_s", float("nan"))),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(field, value):
    with pytest.raises(InvalidInput) as refused:
        Retention(**{field: value})
    assert refused.value.field == VARIABLES[field]


def reported(state: RunState, step: int) -> RunState:
    """As far as retention looks."""
    return RunState(
        settings=state.settings, step=step, attempts=state.attempts, attempt=state.attempt
    )


class Kept:
    """Steps dropped as they leave, beside steps gone through with the rule after each report."""

    def __init__(self, start: int) -> None:
        settings = Settings(through_step=start)
        self.state = RunState(settings=settings, step=start, attempts=((1, start),))
        self.states: set[At] = {(1, start)}
        self.rewards: set[At] = set()
        self.states_by_rule, self.rewards_by_rule = set(self.states), set(self.rewards)

    def report(self, gap: int) -> None:
        step = self.state.step + 1 + gap
        leaving = SMALL.leaving(self.state, step)
        self.state = reported(self.state, step)
        at = (self.state.attempt, step)
        self.states = (self.states - set(leaving.states)) | {at}
        self.rewards = (self.rewards - set(leaving.rewards)) | {at}
        start = start_of(self.state)
        self.states_by_rule = {
            one
            for one in self.states_by_rule | {at}
            if one == start or SMALL.keeps_state(one[1], step)
        }
        self.rewards_by_rule = {
            one for one in self.rewards_by_rule | {at} if SMALL.keeps_rewards(one[1], step)
        }

    def resume(self, step: int) -> None:
        earlier = reported(self.state, min(step, self.state.step))
        self.state = resumed(self.state, earlier)

    def counting(self, kept: set[At]) -> set[At]:
        return {at for at in kept if not is_replaced(self.state, at)}


@given(
    start=st.integers(0, 20),
    moves=st.lists(
        st.one_of(
            st.tuples(st.just("report"), st.integers(0, 12) | st.just(0)),
            st.tuples(st.just("resume"), st.integers(0, 60)),
        ),
        max_size=60,
    ),
)
def test_what_leaves_step_by_step_leaves_exactly_what_the_rule_keeps(start, moves):
    run = Kept(start)
    for name, number in moves:
        getattr(run, name)(number)
        assert run.counting(run.states) == run.counting(run.states_by_rule)
        assert run.counting(run.rewards) == run.counting(run.rewards_by_rule)
        assert start_of(run.state) in run.states
        for step in range(start, run.state.step + 1):
            found = newest_until(run.state, run.states, step)
            by_hand = [at for at in run.counting(run.states) if at[1] <= step]
            by_hand = [at for at in by_hand if at[0] == run.state.attempt_of(at[1])]
            assert found == max(by_hand, key=lambda at: at[1], default=None)


@pytest.mark.parametrize("gap", [10**4, 2**52])
def test_the_longest_gap_costs_no_more_than_its_limit(gap):
    kept = Retention(rewards_steps=10**6)
    state = RunState(settings=Settings(), step=10**5)
    leaving = kept.leaving(state, state.step + gap)
    counts = [len(leaving.rewards), len(leaving.records), len(leaving.states)]
    assert max(counts) <= MAX_LEAVING
    assert all(step <= state.step for _, step in leaving.records)


def test_one_step_leaves_for_one_that_comes():
    state = RunState(settings=Settings(), step=50_000, attempts=((1, 0), (2, 30_000)))
    leaving = Retention().leaving(state, 50_001)
    # 50,001 - 200, - 20,000 and - 1,000.
    assert leaving.rewards == ((2, 49_801),)
    assert leaving.records == ((2, 30_001),)
    assert leaving.states == ((2, 49_001),)


def test_without_a_limit_no_record_leaves():
    state = RunState(settings=Settings(), step=50_000)
    assert Retention(records_steps=0).leaving(state, 50_001).records == ()


@pytest.fixture
async def monitor(redis_url: str, clock) -> AsyncIterator[Monitor]:
    store = RedisStore(redis_url)
    monitor = Monitor(store, clock, SMALL)
    yield monitor
    monitor.close()
    await store.close()


@pytest.fixture
def server(redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        yield client


async def trained(monitor: Monitor, *steps: int, attempt: int = 1, run_id: str = "") -> str:
    run_id = run_id or (await monitor.create(CreateRun(id=new_run_id())))[0].id
    for step in steps:
        rewards = [MIXED, WRONG] if step % 2 else [MIXED, MIXED, WRONG]
        await recorded(monitor, run_id, report(step, rewards, attempt=attempt))
    return run_id


def steps_in(server: redis.Redis, key: str) -> list[At]:
    names: Any = server.hkeys(key)
    return sorted((read_field(name) for name in names), key=lambda at: at[1])


async def test_a_run_keeps_the_newest_rewards_and_thinned_states(monitor, server):
    keys = RunKeys(await trained(monitor, *range(1, 24)))
    assert steps_in(server, keys.rewards) == [(1, 21), (1, 22), (1, 23)]
    # The start, every 5th, and the newest 4.
    assert [step for _, step in steps_in(server, keys.states)] == [0, 5, 10, 15, 20, 21, 22, 23]
    assert len(steps_in(server, keys.steps)) == len(steps_in(server, keys.digests)) == 23


async def test_a_report_of_many_steps_keeps_the_same(monitor, server):
    run_id = (await monitor.create(CreateRun(id=new_run_id())))[0].id
    await monitor.recorder.record(run_id, [report(step) for step in range(1, 101)])
    keys = RunKeys(run_id)
    assert [step for _, step in steps_in(server, keys.rewards)] == [98, 99, 100]
    assert [step for _, step in steps_in(server, keys.states)][-6:] == [90, 95, 97, 98, 99, 100]


async def test_between_two_states_that_are_kept_a_run_goes_back_to_the_older_and_loses_no_step(
    monitor,
):
    run_id = await trained(monitor, *range(1, 13))
    then, _ = await monitor.create(CreateRun(id=run_id, resume_from_step=5))
    await trained(monitor, *range(6, 24), attempt=2, run_id=run_id)
    run, _ = await monitor.create(CreateRun(id=run_id, resume_from_step=8))
    # The state after step 5, and the place of step 8.
    assert (run.step, run.attempt, run.settings.through_step) == (8, 3, 8)
    assert run.settings.memory == then.settings.memory
    await trained(monitor, 9, attempt=3, run_id=run_id)
    found = (await monitor.history.steps(run_id, 1, None, 100)).steps
    attempts = [(one.step, one.attempt) for one in found]
    # Attempt 2 began after step 5.
    assert attempts == [*((n, 1) for n in range(1, 6)), *((n, 2) for n in (6, 7, 8)), (9, 3)]
    assert (await monitor.run(run_id)).counters.missing_steps == 0


async def test_a_repeat_of_a_step_that_is_not_kept_is_a_conflict_that_says_so(monitor, server):
    run_id = await trained(monitor, 1, 2, 1002)
    assert [step for _, step in steps_in(server, RunKeys(run_id).digests)] == [1002]
    answer = await monitor.recorder.record(run_id, [report(1, [MIXED, WRONG])])
    assert "too old to tell" in str(answer.conflict)
    again = await monitor.recorder.record(run_id, [report(1002, [MIXED, MIXED, WRONG])])
    assert again.results[0].status == "duplicate"


async def test_a_sweep_drops_what_another_configuration_and_replaced_attempts_left(
    redis_url, clock, monitor, server
):
    store = RedisStore(redis_url)
    generous = Monitor(store, clock)
    run_id = await trained(generous, *range(1, 31))
    await generous.create(CreateRun(id=run_id, resume_from_step=20))
    await trained(generous, *range(21, 27), attempt=2, run_id=run_id)
    keys = RunKeys(run_id)
    # 30 steps and 6 of them again; and the start.
    assert len(steps_in(server, keys.rewards)) == 36
    assert len(steps_in(server, keys.states)) == 37
    await generous.sweep()
    assert len(steps_in(server, keys.rewards)) == 36
    before = await monitor.run(run_id)
    await monitor.sweep()
    assert steps_in(server, keys.rewards) == [(2, 24), (2, 25), (2, 26)]
    assert steps_in(server, keys.states) == [
        *((1, 0), (1, 5), (1, 10), (1, 15), (1, 20)),
        *((2, 23), (2, 24), (2, 25), (2, 26)),
    ]
    assert await monitor.run(run_id) == before
    generous.close()
    await store.close()


async def test_a_sweep_ends_what_a_long_gap_left_behind(redis_url, clock, monitor, server):
    store = RedisStore(redis_url)
    generous = Monitor(store, clock, Retention(records_steps=0))
    run_id = (await generous.create(CreateRun(id=new_run_id())))[0].id
    for first in range(1, 1501, 250):
        await generous.recorder.record(run_id, [report(n) for n in range(first, first + 250)])
    keys = RunKeys(run_id)
    await trained(monitor, 10**6, run_id=run_id)
    # 1,500 were recorded, and 256 of those that leave left at once.
    assert server.hlen(keys.digests) == server.hlen(keys.steps) == 1500 - MAX_LEAVING + 1
    await monitor.sweep()
    assert steps_in(server, keys.digests) == steps_in(server, keys.steps) == [(1, 10**6)]
    generous.close()
    await store.close()
