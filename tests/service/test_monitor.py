"""What a run is: exactly once per step, people's changes, attempts and resumes."""

import itertools
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import asdict, replace

from monitor_service.engine.advance import advance
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.errors import (
    AttemptConflict,
    Contention,
    InvalidInput,
    RevisionConflict,
    RunNotFound,
    StepConflict,
)
from monitor_service.monitor import Monitor
from monitor_service.requests import EndOfRun, Order, ResultRequest
from monitor_service.resources import Run
from monitor_service.store.redis import RedisStore
from monitor_service.wire import CreateRun, observation, pack
from tests.service.reports import CORRECT, MIXED, WRONG, new_run_id, recorded, report


def ticking() -> Callable[[], float]:
    """A clock that is a second further at every look, from 1000."""
    return itertools.count(1000.0).__next__


@pytest.fixture
async def monitor(redis_url: str) -> AsyncIterator[Monitor]:
    store = RedisStore(redis_url)
    yield Monitor(store, ticking())
    await store.close()


async def started(monitor: Monitor, **fields) -> Run:
    run, is_new = await monitor.create(CreateRun(id=new_run_id(), **fields))
    assert is_new
    return run


async def kinds(monitor: Monitor, run_id: str) -> list[str]:
    """Of all events, oldest first."""
    return [view.event.kind for view in reversed((await monitor.events(run_id, 1000)).events)]


def folded(*rewards, settings: Settings | None = None) -> RunState:
    """The state after steps 1, 2, ... by the engine alone."""
    state = RunState(settings=replace(settings or Settings(), session="1000.000000-1"))
    for step, groups in enumerate(rewards, start=1):
        state, _, _ = advance(state, observation(report(step, groups)), now_s=1000.0)
    return state


async def test_a_new_run_is_what_its_profile_and_settings_say(monitor):
    run = await started(
        monitor, profile="grpo", settings={"alpha": 0.4}, config={"lr": 1e-6}, tags={"a": "b"}
    )
    assert run.settings == Settings(profile="grpo", mode="off", alpha=0.4, session="1000.000000-1")
    assert (run.step, run.attempt, run.last, run.last_report_at_s) == (0, 1, None, None)
    assert (run.config, run.tags, run.created_at_s) == ({"lr": 1e-6}, {"a": "b"}, 1000.0)
    assert await kinds(monitor, run.id) == ["created"]


async def test_creating_a_known_run_finds_it_and_changes_nothing(monitor):
    run = await started(monitor)
    again, is_new = await monitor.create(CreateRun(id=run.id, profile="grpo", config={"lr": 1}))
    assert (again, is_new) == (run, False)
    assert await kinds(monitor, run.id) == ["created"]


async def test_a_step_is_recorded_with_its_figures_and_answered_with_new_settings(monitor):
    run = await started(monitor)
    is_new, settings = await recorded(monitor, run.id, report(1, optimizer_step=3))
    assert is_new
    assert (settings.version, settings.through_step) == (2, 1)
    now = await monitor.run(run.id)
    assert now.settings == settings == (await monitor.settings(run.id)).settings
    assert now.last.collapse.acr == (1 + 1) / 4
    assert (now.last.optimizer_step, now.last.settings_version) == (3, 2)
    assert now.last_report_at_s == now.last.at_s > now.created_at_s
    assert (await monitor.history.steps(run.id, 1, None, 10)).steps == [now.last]


async def test_the_same_report_twice_counts_once(monitor):
    run = await started(monitor)
    await recorded(monitor, run.id, report(1))
    before = await monitor.run(run.id)
    packed = report(1, [MIXED]).__class__(step=1, rewards=pack(observation(report(1)).rewards))
    for repeated in (report(1), packed):
        assert await recorded(monitor, run.id, repeated) == (False, before.settings)
    assert await monitor.run(run.id) == before


@pytest.mark.parametrize(
    "other",
    [report(1, [MIXED, MIXED, WRONG, WRONG]), report(1, optimizer_step=1)],
    ids=["other rewards", "another figure"],
)
async def test_a_step_with_other_content_is_a_conflict_and_changes_nothing(monitor, other):
    run = await started(monitor)
    await recorded(monitor, run.id, report(1))
    before = await monitor.run(run.id)
    with pytest.raises(StepConflict, match="other content"):
        await recorded(monitor, run.id, other)
    assert await monitor.run(run.id) == before


async def test_a_step_that_comes_too_late_is_a_conflict(monitor):
    run = await started(monitor)
    await recorded(monitor, run.id, report(1))
    await recorded(monitor, run.id, report(3))
    with pytest.raises(StepConflict, match="step 2 was never reported"):
        await recorded(monitor, run.id, report(2))
    assert (await monitor.run(run.id)).counters.steps == 2


async def test_a_gap_is_counted_and_told(monitor):
    run = await started(monitor)
    await recorded(monitor, run.id, report(1))
    await recorded(monitor, run.id, report(5))
    counters = (await monitor.run(run.id)).counters
    # Steps 2, 3 and 4.
    assert (counters.steps, counters.missing_steps) == (2, 3)
    assert await kinds(monitor, run.id) == ["created", "acr_source_fallback", "gap"]
    assert [record.step for record in (await monitor.history.steps(run.id, 1, None, 10)).steps] == [
        1,
        5,
    ]


async def test_a_run_nobody_created_is_not_found(monitor):
    unknown = new_run_id()
    for ask in (
        monitor.run(unknown),
        monitor.settings(unknown),
        monitor.events(unknown, 1),
        monitor.history.steps(unknown, 1, None, 1),
        recorded(monitor, unknown, report(1)),
        monitor.control.change(unknown, {"alpha": 0.4}, actor="ana", reason="why"),
    ):
        with pytest.raises(RunNotFound, match=unknown):
            await ask
    assert unknown not in {run.id for run in (await monitor.runs()).runs}


async def test_history_comes_in_pages_that_join_without_overlap(monitor):
    run = await started(monitor)
    for step in range(1, 6):
        await recorded(monitor, run.id, report(step))
    pages, at = [], 1
    while at is not None:
        page = await monitor.history.steps(run.id, at, None, 2)
        pages.append([record.step for record in page.steps])
        at = page.next_from
    assert pages == [[1, 2], [3, 4], [5]]
    assert [r.step for r in (await monitor.history.steps(run.id, 2, 3, 10)).steps] == [2, 3]
    beyond = await monitor.history.steps(run.id, 6, None, 10)
    assert (beyond.steps, beyond.next_from) == ([], None)


async def test_a_person_changes_settings_at_once_and_the_step_count_goes_on(monitor):
    run = await started(monitor)
    await recorded(monitor, run.id, report(1))
    view = await monitor.control.change(run.id, {"threshold": 0.3}, actor="ana", reason="too many")
    assert view.settings.threshold == 0.3
    # Version 1 at the start, 2 after the step, 3 after the change; revision 2 after the change.
    assert (view.settings.version, view.settings.revision) == (3, 2)
    assert view.settings.through_step == 1
    assert (view.changed.actor, view.changed.reason) == ("ana", "too many")
    assert view.changed.changes == {"threshold": 0.3}
    event = (await monitor.events(run.id, 1)).events[0].event
    assert (event.kind, event.message) == ("settings_changed", "ana: too many")
    expected = {"actor": "ana", "reason": "too many", "version": 3}
    expected |= {"old": {"threshold": 0.5}, "new": {"threshold": 0.3}}
    assert expected.items() <= event.data.items()


async def test_a_change_from_an_outdated_revision_shows_who_was_faster(monitor):
    run = await started(monitor)
    await monitor.control.change(run.id, {"alpha": 0.4}, actor="ana", reason="first", if_revision=1)
    before = await monitor.run(run.id)
    with pytest.raises(RevisionConflict, match=r"revision 1.*at 2; ana changed alpha: first") as at:
        await monitor.control.change(run.id, {"alpha": 0.6}, actor="bo", reason="x", if_revision=1)
    assert at.value.settings == before.settings
    assert await monitor.run(run.id) == before


async def test_a_change_from_a_revision_that_never_was_is_refused_too(monitor):
    run = await started(monitor)
    with pytest.raises(RevisionConflict, match=r"you saw revision 7, the settings are at 1$"):
        await monitor.control.change(run.id, {"alpha": 0.6}, actor="bo", reason="x", if_revision=7)


async def test_steps_do_not_outdate_a_persons_revision(monitor):
    run = await started(monitor)
    await recorded(monitor, run.id, report(1))
    await monitor.control.change(run.id, {"alpha": 0.4}, actor="ana", reason="why", if_revision=1)


@pytest.mark.parametrize(
    ("changes", "reason", "actor", "field"),
    [
        ({"threshold": 7}, "why", "ana", "threshold"),
        ({"version": 9}, "why", "ana", "version"),
        ({}, "why", "ana", "settings"),
        ({"alpha": 0.4}, " ", "ana", "reason"),
        ({"alpha": 0.4}, None, "ana", "reason"),
        ({"alpha": 0.4}, "x" * 501, "ana", "reason"),
        ({"alpha": 0.4}, "why", "", "actor"),
        ({"alpha": 0.4}, "why", 7, "actor"),
    ],
)
async def test_a_bad_change_is_refused_by_field_and_changes_nothing(
    monitor, changes, reason, actor, field
):
    run = await started(monitor)
    with pytest.raises(InvalidInput) as refused:
        await monitor.control.change(run.id, changes, actor=actor, reason=reason)
    assert refused.value.field == field
    assert await monitor.run(run.id) == run


@pytest.mark.parametrize("run_id", ["", "a/b", "a b", "{a}", "-a", "a\n", "é", "a" * 129])
async def test_a_run_id_that_could_break_a_key_or_a_label_is_refused(monitor, run_id):
    with pytest.raises(InvalidInput, match="id: "):
        await monitor.create(CreateRun(id=run_id))
    with pytest.raises(InvalidInput, match="id: "):
        await monitor.run(run_id)


async def test_what_is_stored_is_what_the_engine_alone_computes(monitor):
    run = await started(monitor)
    rewards = [[MIXED] * 4, [WRONG] * 4, [CORRECT, CORRECT, MIXED, WRONG], [MIXED, WRONG] * 2]
    for step, groups in enumerate(rewards, start=1):
        await recorded(monitor, run.id, report(step, groups))
    now, expected = await monitor.run(run.id), folded(*rewards)
    assert now.settings == expected.settings
    assert asdict(now.counters) == asdict(expected.counters)


async def test_old_attempts_and_those_that_never_were_are_refused(monitor):
    run = await started(monitor)
    await recorded(monitor, run.id, report(1))
    await monitor.create(CreateRun(id=run.id, resume_from_step=1))
    before = await monitor.run(run.id)
    for attempt in (1, 3):
        with pytest.raises(AttemptConflict, match=f"attempt {attempt}; the run is at attempt 2"):
            await recorded(monitor, run.id, report(2, attempt=attempt))
    assert await monitor.run(run.id) == before


class AlwaysLate(RedisStore):
    """A store in which another writer is always faster."""

    async def commit(self, *_args, **_kwargs) -> None:
        return None


async def test_a_writer_that_loses_every_race_gives_up_and_says_so(monitor, redis_url):
    run = await started(monitor)
    late = AlwaysLate(redis_url)
    loser = Monitor(late, ticking())
    for attempt in (
        recorded(loser, run.id, report(1)),
        loser.control.change(run.id, {"alpha": 0.4}, actor="ana", reason="why"),
        loser.control.kill(run.id, Order()),
        loser.end(run.id, EndOfRun(attempt=1)),
        loser.result(run.id, ResultRequest(accuracy=0.4, benchmark="MATH-500")),
        loser.create(CreateRun(id=new_run_id())),
    ):
        with pytest.raises(Contention, match="too many writers"):
            await attempt
    await late.close()
    assert (await monitor.forecast(run.id)).result is None
    assert await kinds(monitor, run.id) == ["created"]
    assert await monitor.run(run.id) == run
