"""A monitor's clock that jumps: order comes from steps and versions, never from the time."""

import pytest

from monitor_service.errors import RevisionConflict
from monitor_service.listing import Wanted
from monitor_service.monitor import Monitor
from monitor_service.requests import OverrideRequest
from monitor_service.wire import CreateRun
from tests.service.reports import new_run_id, recorded, report

YEAR_S = 365 * 86_400.0


async def created(monitor: Monitor) -> str:
    run, _ = await monitor.create(CreateRun(id=new_run_id()))
    return run.id


@pytest.mark.parametrize("later_s", [0.0, 10.0, 1e10], ids=["to 1970", "back", "far ahead"])
async def test_steps_stay_in_order_and_nothing_is_refused_whatever_the_clock_shows(
    monitor, clock, later_s
):
    run_id = await created(monitor)
    for step, now_s in enumerate((1000.0, later_s, 999.0, later_s), start=1):
        clock.now_s = now_s
        is_new, settings = await recorded(monitor, run_id, report(step))
        assert (is_new, settings.through_step) == (True, step)
        assert (await recorded(monitor, run_id, report(step)))[0] is False
    page = await monitor.history.steps(run_id, 1, None, 10)
    assert [record.step for record in page.steps] == [1, 2, 3, 4]
    assert [record.at_s for record in page.steps] == [1000.0, later_s, 999.0, later_s]
    columns = await monitor.history.columns(run_id, ["at_s"], 1, None, limit=10, points=None)
    assert columns.columns["at_s"] == [1000.0, later_s, 999.0, later_s]


async def test_a_clock_that_goes_back_prolongs_no_override_beyond_its_steps(monitor, clock):
    run_id = await created(monitor)
    wanted = OverrideRequest(
        settings={"mode": "off"}, reason="why", expires_in_steps=3, expires_in_s=60
    )
    await monitor.control.override(run_id, wanted)
    clock.now_s = 0.0
    for step in (1, 2):
        await recorded(monitor, run_id, report(step))
        assert (await monitor.run(run_id)).acting_mode == "off"
    _, settings = await recorded(monitor, run_id, report(3))
    # Given after step 0 for three steps: steps 1, 2 and 3.
    assert settings.overrides == ()
    assert (await monitor.run(run_id)).acting_mode == "active"


async def test_a_clock_that_jumps_ahead_ends_overrides_and_is_no_reason_to_lose_a_step(
    monitor, clock
):
    run_id = await created(monitor)
    ends = {"expires_in_steps": 500, "expires_in_s": 60}
    wanted = OverrideRequest(settings={"mode": "off"}, reason="why", **ends)
    await monitor.control.override(run_id, wanted)
    clock.now_s += YEAR_S
    _, settings = await recorded(monitor, run_id, report(1))
    assert settings.overrides == ()
    clock.now_s -= YEAR_S
    _, settings = await recorded(monitor, run_id, report(2))
    assert (settings.overrides, settings.through_step) == ((), 2)


async def test_revisions_do_not_ask_the_clock(monitor, clock):
    run_id = await created(monitor)
    for revision, now_s in enumerate((1000.0, 0.0, 1e10), start=1):
        clock.now_s = now_s
        view = await monitor.control.change(
            run_id, {"seed": revision}, reason="why", if_revision=revision
        )
        assert view.settings.revision == revision + 1
        assert view.changed.at_s == now_s
    with pytest.raises(RevisionConflict):
        await monitor.control.change(run_id, {"seed": 9}, reason="why", if_revision=1)


async def test_a_report_from_the_future_is_no_silence_and_silence_is_told_after_a_jump(
    monitor, clock
):
    run_id = await created(monitor)
    await recorded(monitor, run_id, report(1))
    clock.now_s = 0.0
    await monitor.tell_silence()
    assert (await monitor.run(run_id)).verdicts == []
    clock.now_s = 1000.0 + YEAR_S
    await monitor.tell_silence()
    clock.now_s = 1000.0
    await monitor.tell_silence()
    events = (await monitor.events(run_id, 100)).events
    told = [view.event for view in events if view.event.kind == "alarm_raised"]
    assert [event.data["rule"] for event in told] == ["reports_stopped"]
    await recorded(monitor, run_id, report(2))
    kinds = [view.event.kind for view in (await monitor.events(run_id, 100)).events]
    assert kinds.count("alarm_resolved") == 1


async def test_a_run_that_starts_again_before_it_was_created_is_another_attempt_all_the_same(
    monitor, clock
):
    run_id = await created(monitor)
    await recorded(monitor, run_id, report(1))
    clock.now_s = 0.0
    again, is_new = await monitor.create(CreateRun(id=run_id, resume_from_step=1))
    assert (again.attempt, is_new) == (2, False)
    _, settings = await recorded(monitor, run_id, report(2, attempt=2))
    assert settings.session == again.settings.session
    listed = await monitor.runs(Wanted(text=run_id))
    assert [run.id for run in listed.runs] == [run_id]
