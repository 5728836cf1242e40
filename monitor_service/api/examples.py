"""An example of everything that is sent and answered: a run of one step, as the engine makes it."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import msgspec

from monitor_service import alert, resources, tokens, wire
from monitor_service.engine.advance import advance
from monitor_service.engine.changes import with_changes
from monitor_service.engine.events import Event
from monitor_service.engine.fields import FIELDS
from monitor_service.engine.forecast import forecast
from monitor_service.engine.headline import headline
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.engine.steering import controller

RUN_ID = "qwen-gsm8k"
AT_S = 1_760_000_000.0
REWARDS: list[list[float | None]] = [[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
"""One group with a signal, one without: ACR = 1/2."""
WHO: dict[str, Any] = {"actor": "ana", "reason": "is it the threshold?"}
CHANGE = {"threshold": 0.3}


@cache
def examples() -> Mapping[str, Any]:
    """By the name of the type, as JSON values."""
    made = _requests() | {type(one).__name__: one for one in _answers()}
    return MappingProxyType({name: msgspec.to_builtins(one) for name, one in made.items()})


def _requests() -> dict[str, Any]:
    return {
        "CreateRun": {"id": RUN_ID, "profile": "guarded", "tags": {"team": "math"}},
        "StepReport": {"step": 1, "rewards": REWARDS, "scalars": {"entropy": 0.42}},
        "SettingsChange": {**CHANGE, **WHO},
        "OverrideRequest": {
            "settings": {"mode": "shadow"},
            "expires_in_steps": 50,
            "expires_in_s": 3600,
            **WHO,
        },
        "Order": WHO,
        "CommandRequest": {"command": "save", **WHO},
        "EndOfRun": {"attempt": 1, "how": "finished"},
        "ResultRequest": {"accuracy": 0.412, "benchmark": "MATH-500"},
        "Description": {"tags": {"team": "math"}, "notes": "second try", **WHO},
        "DefaultsRequest": {"profile": "guarded", "settings": {"alpha": 0.4}, **WHO},
    }


def _answers() -> list[Any]:
    report = msgspec.convert(_requests()["StepReport"], wire.StepReport)
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
        headline=headline(state, [], has_reported=True),
        controller=controller(state.settings, figures, None),
        baselines={},
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
    return [
        run,
        resources.RunList(runs=[run], total=1, next_after=None),
        resources.Ack(
            results=[resources.StepResult(step=1, status="recorded")], settings=state.settings
        ),
        record,
        resources.StepPage(steps=[record], next_from=None, records_from=1),
        resources.StepColumns(
            run_id=RUN_ID,
            fields=["step", "acr"],
            total=1,
            steps_from=1,
            steps_to=1,
            next_from=None,
            columns={"step": [1], "acr": [figures.acr]},
        ),
        resources.StepBins(
            run_id=RUN_ID,
            fields=["step", "acr"],
            total=1,
            steps_per_bin=1,
            steps_from=1,
            steps_to=1,
            columns={"step": [1], "acr": [figures.acr]},
            low={"step": [1], "acr": [figures.acr]},
            high={"step": [1], "acr": [figures.acr]},
        ),
        resources.StepGroups(
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
        alert.AlertsView(
            sinks=[
                alert.SinkView(
                    name="slack",
                    place="hooks.slack.com",
                    delivered_at_s=AT_S,
                    failed_at_s=None,
                    error="",
                    pending=0,
                    outcomes={"delivered": 1, "failed": 0, "refused": 0, "expired": 0},
                )
            ],
            is_delivering=True,
        ),
        resources.SettingsView(settings=state.settings, changed=changed),
        resources.OrderPage(orders=[order], next=None),
        resources.EventPage(
            events=[resources.EventView(id=order.id, at_s=AT_S, event=event)], next=None
        ),
        resources.Diagnosis(
            run_id=RUN_ID, step=1, headline=run.headline, verdicts=[], failure="", knobs=[]
        ),
        resources.ForecastView(
            run_id=RUN_ID, forecast=forecast(state.health.first_hundred, []), result=None
        ),
        result,
        resources.Defaults(profile="guarded", settings={"alpha": 0.4}),
        tokens.Caller(name="ana", token_id="0f1e2d3c", scopes=frozenset({"control"})).me,
        resources.FieldList(fields=FIELDS),
        resources.Health(status="ok", version="1.0.0"),
    ]
