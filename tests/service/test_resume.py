"""A trainer that starts again: what goes back, what stays, and what only ever grows."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import asdict, replace

from monitor_service.errors import AttemptConflict
from monitor_service.monitor import Monitor
from monitor_service.resources import Run
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun
from tests.service.reports import CORRECT, MIXED, WRONG, new_run_id, recorded, report

REWARDS = {
    1: [WRONG, WRONG, WRONG, MIXED],
    2: [MIXED, MIXED, MIXED, WRONG],
    3: [CORRECT, CORRECT, MIXED, WRONG],
    4: [CORRECT, CORRECT, CORRECT, MIXED],
}


@pytest.fixture
async def monitor(redis_url: str) -> AsyncIterator[Monitor]:
    store = RedisStore(redis_url)
    yield Monitor(store, lambda: 1000.0)
    await store.close()


@pytest.fixture
async def history(monitor: Monitor) -> list[Run]:
    """A run as it stood after steps 0 to 4."""
    run, _ = await monitor.create(CreateRun(id=new_run_id(), settings={"min_groups_per_unit": 1}))
    states = [run]
    for step, rewards in REWARDS.items():
        await recorded(monitor, run.id, report(step, rewards))
        states.append(await monitor.run(run.id))
    return states


async def resumed(monitor: Monitor, run: Run, step: int) -> Run:
    found, is_new = await monitor.create(CreateRun(id=run.id, resume_from_step=step))
    assert not is_new
    return found


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4])
async def test_statistics_go_back_to_the_step_and_only_the_version_grows(monitor, history, step):
    then, newest = history[step], history[-1]
    run = await resumed(monitor, newest, step)
    assert (run.step, run.attempt) == (step, 2)
    version = newest.settings.version + 1
    assert run.settings == replace(then.settings, version=version, session="1000.000000-2")
    assert run.settings.through_step == step


async def test_the_threshold_moves_on_from_where_it_was_at_that_step(monitor, history):
    # Otherwise the test above could not tell the steps apart.
    assert len({run.settings.threshold for run in history[1:]}) == 4
    run = await resumed(monitor, history[-1], 2)
    await recorded(monitor, run.id, report(3, REWARDS[3], attempt=2))
    again = await monitor.run(run.id)
    assert again.settings.threshold == history[3].settings.threshold
    assert again.settings.memory == history[3].settings.memory


async def test_counters_never_fall_and_count_repeated_steps_again(monitor, history):
    before = asdict(history[-1].counters)
    run = await resumed(monitor, history[-1], 2)
    assert asdict(run.counters) == before
    await recorded(monitor, run.id, report(3, REWARDS[3], attempt=2))
    after = asdict((await monitor.run(run.id)).counters)
    # Step 3 again: 4 groups of 4 completions, 2 correct, 1 mixed, 1 wrong.
    added = {"steps": 1, "completions": 16, "all_correct": 2, "mixed": 1, "all_wrong": 1}
    assert after == {name: value + added.get(name, 0) for name, value in before.items()}


async def test_what_a_person_set_stays_whatever_step_the_trainer_goes_back_to(monitor, history):
    run = history[-1]
    await monitor.control.change(run.id, {"alpha": 0.3, "mode": "off"}, actor="ana", reason="why")
    again = await resumed(monitor, run, 1)
    assert (again.settings.alpha, again.settings.mode) == (0.3, "off")
    assert again.changed is not None
    assert (again.settings.revision, again.changed.actor) == (2, "ana")


async def test_a_fixed_threshold_is_a_decision_and_stays(monitor, history):
    run = history[-1]
    changes = {"controller": "fixed", "threshold": 0.77}
    await monitor.control.change(run.id, changes, actor="ana", reason="pinned")
    again = await resumed(monitor, run, 1)
    assert again.settings.threshold == 0.77
    assert again.settings.memory == history[1].settings.memory


async def test_the_replaced_attempt_is_refused_and_its_steps_are_history_no_more(monitor, history):
    run = await resumed(monitor, history[-1], 2)
    with pytest.raises(AttemptConflict):
        await recorded(monitor, run.id, report(5))
    await recorded(monitor, run.id, report(3, [WRONG, MIXED, MIXED, MIXED], attempt=2))
    found = (await monitor.history.steps(run.id, 1, None, 10)).steps
    assert [(record.step, record.attempt) for record in found] == [(1, 1), (2, 1), (3, 2)]
    assert found[-1].collapse.acr == 1 / 4


async def test_a_second_resume_finds_the_states_of_both_attempts(monitor, history):
    run = await resumed(monitor, history[-1], 2)
    await recorded(monitor, run.id, report(3, [WRONG, MIXED, MIXED, MIXED], attempt=2))
    third = await monitor.run(run.id)
    await recorded(monitor, run.id, report(4, REWARDS[4], attempt=2))
    back = await resumed(monitor, run, 3)
    assert (back.attempt, back.settings.memory) == (3, third.settings.memory)
    further_back = await resumed(monitor, run, 1)
    assert further_back.attempt == 4
    assert further_back.settings.memory == history[1].settings.memory


async def test_beyond_the_newest_step_it_continues_after_the_newest_and_tells_the_gap(
    monitor, history
):
    run = await resumed(monitor, history[-1], 10)
    assert (run.step, run.attempt) == (4, 2)
    await recorded(monitor, run.id, report(11, attempt=2))
    # Steps 5 to 10 were trained, and never reported.
    assert (await monitor.run(run.id)).counters.missing_steps == 6


async def test_an_unknown_run_starts_at_the_step_without_a_gap(monitor):
    run, is_new = await monitor.create(CreateRun(id=new_run_id(), resume_from_step=100))
    assert is_new
    assert (run.step, run.attempt, run.settings.through_step) == (100, 1, 100)
    await recorded(monitor, run.id, report(101))
    now = await monitor.run(run.id)
    assert (now.step, now.counters.steps, now.counters.missing_steps) == (101, 1, 0)
    assert [r.step for r in (await monitor.history.steps(run.id, 1, None, 10)).steps] == [101]
    assert (await monitor.history.steps(run.id, 1, 50, 10)).steps == []


@pytest.mark.parametrize("start", [0, 100])
async def test_a_trainer_that_starts_again_before_its_first_report_is_no_new_attempt(
    monitor, start
):
    run, _ = await monitor.create(CreateRun(id=new_run_id(), resume_from_step=start))
    again, is_new = await monitor.create(CreateRun(id=run.id, resume_from_step=start))
    assert (again, is_new) == (run, False)


async def test_a_run_that_started_late_can_go_back_to_its_start_and_before(monitor):
    run, _ = await monitor.create(CreateRun(id=new_run_id(), resume_from_step=100))
    await recorded(monitor, run.id, report(101))
    again = await resumed(monitor, run, 100)
    assert (again.step, again.attempt) == (100, 2)
    assert again.settings == replace(run.settings, version=3, session="1000.000000-2")
    before = await resumed(monitor, run, 40)
    assert (before.step, before.settings.through_step, before.attempt) == (40, 40, 3)
    await recorded(monitor, run.id, report(41, attempt=3))
    assert (await monitor.run(run.id)).counters.missing_steps == 0
    assert [r.step for r in (await monitor.history.steps(run.id, 1, None, 100)).steps] == [41]


async def test_a_resume_is_an_event(monitor, history):
    run = await resumed(monitor, history[-1], 2)
    event = (await monitor.events(run.id, 1)).events[0].event
    assert (event.kind, event.step) == ("resumed", 2)
    assert event.message == "attempt 2 continues after step 2"


async def test_a_repeated_start_opens_no_second_attempt(monitor, history):
    run = history[-1]
    start = CreateRun(id=run.id, resume_from_step=2, start_id="one")
    first, _ = await monitor.create(start)
    again, is_new = await monitor.create(start)
    assert (first.attempt, again.attempt, is_new) == (2, 2, False)
    assert again.settings == first.settings


async def test_a_start_whose_answer_comes_late_keeps_the_attempt_it_was_given(monitor, history):
    run = history[-1]
    older = CreateRun(id=run.id, resume_from_step=2, start_id="older")
    await monitor.create(older)
    newer, _ = await monitor.create(CreateRun(id=run.id, resume_from_step=2, start_id="newer"))
    late, _ = await monitor.create(older)
    assert (newer.attempt, late.attempt) == (3, 2)
    with pytest.raises(AttemptConflict):
        await recorded(monitor, run.id, report(3, REWARDS[3], attempt=late.attempt))


async def test_a_new_runs_first_start_can_be_repeated_too(monitor):
    start = CreateRun(id=new_run_id(), resume_from_step=0, start_id="one")
    first, _ = await monitor.create(start)
    again, is_new = await monitor.create(start)
    assert (first.attempt, again.attempt, is_new) == (1, 1, False)


async def test_a_threshold_a_person_set_after_the_checkpoint_survives_the_resume(monitor, history):
    run = history[-1]
    await monitor.control.change(run.id, {"threshold": 0.77}, actor="ana", reason="earlier")
    again = await resumed(monitor, run, 2)
    assert again.settings.threshold == 0.77
    # What was set before the step one goes back to is a statistic again.
    await recorded(monitor, run.id, report(3, REWARDS[3], attempt=2))
    after_three = (await monitor.run(run.id)).settings.threshold
    await recorded(monitor, run.id, report(4, REWARDS[2], attempt=2))
    assert (await resumed(monitor, run, 3)).settings.threshold == after_three
