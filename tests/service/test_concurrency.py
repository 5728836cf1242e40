"""Many writers of one run, through two monitors on one Redis, as replicas behind a balancer."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor_service.engine.advance import advance
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import StepConflict
from monitor_service.monitor import Monitor
from monitor_service.requests import CommandRequest, Order, OverrideRequest
from monitor_service.resources import SettingsView
from monitor_service.store.redis import RedisStore
from monitor_service.wire import Applied, CreateRun, observation
from tests.service.reports import CORRECT, MIXED, WRONG, new_run_id, recorded, report

REPORTERS = 20
EACH = 8
"""Orders of each kind."""
STEPS = 15


@pytest.fixture
async def replicas(redis_url: str) -> AsyncIterator[list[Monitor]]:
    stores = [RedisStore(redis_url), RedisStore(redis_url)]
    yield [Monitor(store, lambda: 1000.0) for store in stores]
    for store in stores:
        await store.close()


async def created(monitor: Monitor) -> str:
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    return run.id


def rewards(step: int) -> list[list[float]]:
    """Another ACR at every step, so that the order of steps shows in the state."""
    return [WRONG] * (step % 5) + [CORRECT] * (step % 3) + [MIXED] * 4


def folded(steps: int) -> RunState:
    """The state after so many steps, one after the other, by the engine alone."""
    state = RunState(settings=Settings(session="1000.000000-1"))
    for step in range(1, steps + 1):
        state, _, _ = advance(state, observation(report(step, rewards(step))), now_s=1000.0)
    return state


async def test_every_step_counts_once_however_many_report_it(replicas):
    run_id = await created(replicas[0])

    async def reporter(monitor: Monitor) -> list[int]:
        outcomes = [await recorded(monitor, run_id, report(n, rewards(n))) for n in steps]
        return [step for step, (is_new, _) in zip(steps, outcomes, strict=True) if is_new]

    steps = range(1, STEPS + 1)
    found = await asyncio.gather(*(reporter(replicas[n % 2]) for n in range(REPORTERS)))
    assert Counter(step for steps_of_one in found for step in steps_of_one) == Counter(steps)
    run, expected = await replicas[0].run(run_id), folded(STEPS)
    assert (run.settings, run.counters) == (expected.settings, expected.counters)
    page = await replicas[1].history.steps(run_id, 1, None, 1000)
    assert [record.step for record in page.steps] == list(steps)
    # One settings version for each step, in order.
    assert [record.settings_version for record in page.steps] == [step + 1 for step in steps]


async def test_of_reports_that_contradict_each_other_one_counts(replicas):
    run_id = await created(replicas[0])
    contradicting = [
        recorded(replicas[n % 2], run_id, report(1, optimizer_step=n)) for n in range(REPORTERS)
    ]
    outcomes = await asyncio.gather(*contradicting, return_exceptions=True)
    (winner,) = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, tuple)]
    assert sum(isinstance(outcome, StepConflict) for outcome in outcomes) == REPORTERS - 1
    run = await replicas[0].run(run_id)
    assert (run.counters.steps, run.last.optimizer_step) == (1, winner)


async def test_no_persons_change_is_lost_between_steps(replicas):
    run_id = await created(replicas[0])

    async def trainer() -> None:
        for step in range(1, STEPS + 1):
            await recorded(replicas[0], run_id, report(step, rewards(step)))

    people = [
        replicas[n % 2].control.change(run_id, {"seed": n}, actor=f"person {n}", reason="mine")
        for n in range(REPORTERS)
    ]
    await asyncio.gather(trainer(), *people)
    run = await replicas[1].run(run_id)
    # Version and revision start at 1; a step is a version, a change is a version and a revision.
    assert run.settings.version == 1 + STEPS + REPORTERS
    assert run.settings.revision == 1 + REPORTERS
    assert run.settings.threshold == folded(STEPS).settings.threshold
    events = (await replicas[0].events(run_id, 1000)).events
    changes = [view.event.data for view in events if view.event.kind == "settings_changed"]
    assert {change["new"]["seed"] for change in changes} == set(range(REPORTERS))
    assert len({change["version"] for change in changes}) == REPORTERS


async def test_of_people_who_saw_the_same_revision_one_succeeds(replicas):
    run_id = await created(replicas[0])
    attempts = [
        replicas[n % 2].control.change(run_id, {"seed": n}, actor="a", reason="r", if_revision=1)
        for n in range(REPORTERS)
    ]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 1
    assert (await replicas[0].settings(run_id)).settings.revision == 2


async def test_a_run_created_by_many_at_once_is_new_to_one(replicas):
    run_id = new_run_id()
    outcomes = await asyncio.gather(
        *(replicas[n % 2].create(CreateRun(id=run_id)) for n in range(REPORTERS))
    )
    assert sum(is_new for _, is_new in outcomes) == 1
    assert len({run.created_at_s for run, _ in outcomes}) == 1
    assert len((await replicas[0].events(run_id, 100)).events) == 1


async def test_no_order_is_lost_however_many_give_them_while_steps_go_on(replicas):
    run_id = await created(replicas[0])
    ends = {"expires_in_steps": 500, "expires_in_s": 86_400}

    async def trainer() -> None:
        for step in range(1, STEPS + 1):
            await recorded(replicas[0], run_id, report(step, rewards(step)))

    def orders(number: int) -> list[Coroutine[Any, Any, SettingsView]]:
        control, actor = replicas[number % 2].control, f"person {number}"
        wanted = OverrideRequest(settings={"seed": number}, reason="mine", actor=actor, **ends)
        return [
            control.override(run_id, wanted),
            control.command(run_id, CommandRequest(command="save", actor=actor)),
            control.kill(run_id, Order(actor=actor)),
            control.rearm(run_id, Order(actor=actor, reason="mine")),
        ]

    many = [order for number in range(EACH) for order in orders(number)]
    await asyncio.gather(trainer(), *many)
    run = await replicas[1].run(run_id)
    told = [view.event for view in (await replicas[0].events(run_id, 1000)).events]
    actors = {f"person {number}" for number in range(EACH)}
    for kind in ("override_added", "command_given", "killed", "rearmed"):
        found = [event.data["actor"] for event in told if event.kind == kind]
        assert (set(found), len(found)) == (actors, EACH), kind
    assert [one.number for one in run.settings.overrides] == list(range(1, EACH + 1))
    assert {one.actor for one in run.settings.overrides} == actors
    assert run.settings.command is not None
    assert run.settings.command.number == EACH
    assert run.settings.rearms == EACH
    assert run.counters.steps == STEPS
    # Killing a dead run changes nothing; every other order is a version and a revision.
    changed = [event.data for event in told if event.kind in ("override_added", "command_given")]
    assert len({data["version"] for data in changed}) == 2 * EACH
    assert run.settings.version - run.settings.revision == STEPS


async def test_a_kill_file_and_a_re_arming_at_once_end_re_armed_in_either_order(replicas):
    run_id = await created(replicas[0])
    applied = Applied(
        settings_version=1,
        through_step=0,
        mode="locked",
        threshold=0.5,
        triggered=False,
        killed_after_rearms=0,
    )
    await asyncio.gather(
        *(recorded(replicas[0], run_id, report(n, applied=applied)) for n in [1]),
        replicas[1].control.rearm(run_id, Order(reason="file removed")),
    )
    # The file was found before anybody re-armed, whichever was written first.
    settings = (await replicas[0].run(run_id)).settings
    assert (settings.kill, settings.rearms) == (None, 1)


async def test_of_a_kill_and_a_change_to_active_the_kill_wins_in_either_order(replicas):
    run_id = await created(replicas[0])
    await asyncio.gather(
        replicas[0].control.change(run_id, {"mode": "active"}, actor="bo", reason="go"),
        replicas[1].control.kill(run_id, Order(actor="ana")),
    )
    assert (await replicas[0].run(run_id)).acting_mode == "locked"


reward = st.none() | st.sampled_from([0.0, 0.5, 1.0]) | st.floats(-1e13, 1e13)
group = st.lists(reward, min_size=1, max_size=4)
batch = st.lists(group | st.just(WRONG) | st.just(CORRECT), min_size=1, max_size=20)
gap = st.integers(1, 4)


@given(steps=st.lists(st.tuples(gap, batch), max_size=8))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_the_stored_state_is_the_fold_of_the_reports(redis_url, steps):
    store = RedisStore(redis_url)
    monitor = Monitor(store, lambda: 1000.0)
    run_id = await created(monitor)
    expected = [RunState(settings=Settings(session="1000.000000-1"))]
    at = 0
    for distance, groups in steps:
        at += distance
        state, figures, _ = advance(expected[-1], observation(report(at, groups)), now_s=1000.0)
        expected.append(state)
        await recorded(monitor, run_id, report(at, groups))
        run = await monitor.run(run_id)
        assert (run.settings, run.counters) == (state.settings, state.counters)
        assert run.last is not None
        assert run.last.collapse == figures
    stored = await store.load(run_id)
    assert stored is not None
    assert stored.state == expected[-1]
    assert [await store.state_at(stored, state.step) for state in expected] == expected
    await store.close()
