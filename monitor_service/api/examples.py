"""An example of everything that is sent and answered: a run of one step, as the engine makes it."""

from functools import cache
from types import MappingProxyType
from typing import Any

import msgspec

from monitor_service import resources, wire
from monitor_service.engine.advance import advance
from monitor_service.engine.changes import with_changes
from monitor_service.engine.events import Event
from monitor_service.engine.forecast import forecast
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState

RUN_ID = "qwen-gsm8k"
AT_S = 1_760_000_000.0
REWARDS: list[list[float | None]] = [[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
"""One group with a signal, one without: ACR = 1/2."""
WHO = {"actor": "ana", "reason": "is it the threshold?"}
CHANGE = {"threshold": 0.3}


@cache
def examples() -> MappingProxyType[Any, Any]:
    """By type, as JSON values; a change of settings, which has no type, by its name."""
    made: dict[Any, Any] = {**_requests(), **_answers()}
    return MappingProxyType({kind: msgspec.to_builtins(one) for kind, one in made.items()})


def _requests() -> dict[Any, Any]:
    return {
        wire.CreateRun: {"id": RUN_ID, "profile": "guarded", "tags": {"team": "math"}},
        wire.StepReport: {"step": 1, "rewards": REWARDS, "scalars": {"entropy": 0.42}},
        "SettingsChange": {**CHANGE, **WHO},
        resources.OverrideRequest: {
            "settings": {"mode": "shadow"},
            "expires_in_steps": 50,
            "expires_in_s": 3600,
            **WHO,
        },
        resources.Order: WHO,
        resources.CommandRequest: {"command": "save", **WHO},
        resources.EndOfRun: {"attempt": 1, "how": "finished"},
        resources.ResultRequest: {"accuracy": 0.412, "benchmark": "MATH-500"},
        resources.Description: {"tags": {"team": "math"}, "notes": "second try", **WHO},
        resources.DefaultsRequest: {"profile": "guarded", "settings": {"alpha": 0.4}, **WHO},
    }


def _answers() -> dict[Any, Any]:
    report = msgspec.convert(_requests()[wire.StepReport], wire.StepReport)
    before = with_changes(RunState(settings=Settings(session=f"{AT_S:.6f}-1")), CHANGE)
    state, figures, _ = advance(before, wire.observation(report), now_s=AT_S)
    version = before.settings.version
    origin = resources.Origin(address="10.0.0.7", token="ana", client="acr")
    changed = resources.Change(at_s=AT_S, changes=CHANGE, version=version, origin=origin, **WHO)
    record = resources.StepRecord(
        step=report.step,
        attempt=report.attempt,
        optimizer_step=None,
        at_s=AT_S,
        settings_version=state.settings.version,
        collapse=figures,
        components={},
        scalars=report.scalars,
        applied=None,
    )
    run = resources.Run(
        id=RUN_ID,
        created_at_s=AT_S,
        last_report_at_s=AT_S,
        step=1,
        attempt=1,
        config={"model": "Qwen2.5-0.5B"},
        tags={"team": "math"},
        ended=None,
        counters=state.counters,
        settings=state.settings,
        acting_mode=state.settings.acting_mode,
        acting_overrides=[],
        knobs=[],
        changed=changed,
        last=record,
        verdicts=[],
    )
    said: dict[str, Any] = {"old": {"threshold": 0.5}, "new": CHANGE}
    event = Event(kind="settings_changed", step=0, message="ana: why", data={**WHO, **said})
    order = resources.OrderView(
        id="1760000000000-0",
        at_s=AT_S,
        step=0,
        kind=event.kind,
        origin=origin,
        version=version,
        number=None,
        applied_step=1,
        ignored={},
        **WHO,
        **said,
    )
    result = resources.Result(
        run_id=RUN_ID, accuracy=0.412, benchmark="MATH-500", acr_100=None, at_s=AT_S
    )
    return {
        resources.Run: run,
        resources.RunList: resources.RunList(runs=[run], total=1, next_after=None),
        resources.Ack: resources.Ack(
            results=[resources.StepResult(step=1, status="recorded")], settings=state.settings
        ),
        resources.StepRecord: record,
        resources.StepPage: resources.StepPage(steps=[record], next_from=None, records_from=1),
        resources.StepColumns: resources.StepColumns(
            run_id=RUN_ID,
            fields=["step", "acr"],
            total=1,
            steps_from=1,
            steps_to=1,
            next_from=None,
            columns={"step": [1], "acr": [figures.acr]},
        ),
        resources.StepGroups: resources.StepGroups(
            run_id=RUN_ID,
            step=1,
            attempt=1,
            reward_low=None,
            reward_high=None,
            groups=[
                resources.Group(
                    outcome="mixed", scored=4, mean=0.5, std=0.5, rewards=REWARDS[0], primary=None
                ),
                resources.Group(
                    outcome="all_wrong", scored=4, mean=0, std=0, rewards=REWARDS[1], primary=None
                ),
            ],
        ),
        resources.SettingsView: resources.SettingsView(settings=state.settings, changed=changed),
        resources.OrderPage: resources.OrderPage(orders=[order], next=None),
        resources.EventPage: resources.EventPage(
            events=[resources.EventView(id=order.id, at_s=AT_S, event=event)], next=None
        ),
        resources.Diagnosis: resources.Diagnosis(
            run_id=RUN_ID, step=1, verdicts=[], failure="", knobs=[]
        ),
        resources.ForecastView: resources.ForecastView(
            run_id=RUN_ID, forecast=forecast(state.health.first_hundred, []), result=None
        ),
        resources.Result: result,
        resources.Defaults: resources.Defaults(profile="guarded", settings={"alpha": 0.4}),
        resources.Health: resources.Health(status="ok", version="1.0.0"),
    }
