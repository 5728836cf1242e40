"""The monitor dies, the trainer starts again from an earlier checkpoint: nothing is different."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from monitor_service.engine.state import Counters, RunState
from monitor_service.store.redis import RedisStore
from tests.servers import AcrServe, acr_serve, short_folder
from tests.service.orders import applied
from tests.service.reports import CORRECT, MIXED, WRONG, new_run_id

STEPS = 40
CHECKPOINT = 12
KILLED_AFTER = 25

CONTROLLERS: dict[str, dict[str, Any]] = {
    "paper": {"profile": "paper"},
    "fixed": {"profile": "paper", "settings": {"controller": "fixed", "threshold": 0.4}},
    "guarded": {"profile": "guarded"},
    "observe": {"profile": "observe"},
    "guarded, that locks itself": {"profile": "guarded"},
    "grpo": {"profile": "grpo"},
}
BRIEF = {"max_active_steps": 4, "cooldown_steps": 3, "benefit_check": False}
LOCKING = {"max_active_steps": 11, "cooldown_steps": 3, "benefit_check": True}


def wanted(name: str) -> dict[str, Any]:
    """What the run is created with; guarded ones go through all their stages in a few steps."""
    found = CONTROLLERS[name]
    if found["profile"] in ("guarded", "observe"):
        return {**found, "settings": LOCKING if "locks" in name else BRIEF}
    return found


def content(step: int) -> dict[str, Any]:
    """Another batch at every step; collapse, reward, entropy and a knob that comes and goes."""
    num_wrong, num_correct = 20 - step // 2, step % 5
    knob = {"status": "ignored" if step % 10 < 5 else "applied", "value": 0.0, "reason": "why"}
    return {
        "step": step,
        "rewards": [WRONG] * num_wrong + [CORRECT] * num_correct + [MIXED] * (10 + step % 3),
        "scalars": {"entropy": 2.0 - step / 40, "kl": step / 100, "grad_norm": 1.0 + step % 4},
        "components": {"exact": {"mean": 0.5, "std": 0.0 if step > 5 else 0.5}},
        "applied": applied(knobs={"beta": knob}, shadow={"injected_wrong": step % 3}),
    }


@pytest.fixture(scope="module")
def server() -> Iterator[AcrServe]:
    with short_folder() as folder, acr_serve(folder) as running:
        yield running


@pytest.fixture
async def store(server: AcrServe) -> AsyncIterator[RedisStore]:
    opened = RedisStore(server.redis_url)
    yield opened
    await opened.close()


def report(server: AcrServe, run_id: str, steps: Sequence[int], attempt: int = 1) -> None:
    reports = [{**content(step), "attempt": attempt} for step in steps]
    reply = httpx.post(f"{server.url}/v1/runs/{run_id}/steps", json=reports, trust_env=False)
    assert reply.status_code == 200, reply.text


def create(server: AcrServe, run_id: str, **fields: Any) -> int:
    """The attempt that the start was given."""
    reply = httpx.post(f"{server.url}/v1/runs", json={"id": run_id, **fields}, trust_env=False)
    assert reply.is_success, reply.text
    return int(reply.json()["attempt"])


def comparable(state: RunState) -> RunState:
    """Without what tells the attempts of a run apart, and counters that count repeated steps."""
    settings = replace(state.settings, version=0, session="")
    return replace(
        state,
        settings=settings,
        attempt=1,
        attempts=((1, 0),),
        start_ids=("",),
        counters=Counters(),
    )


async def state_of(store: RedisStore, run_id: str) -> RunState:
    found = await store.load(run_id)
    assert found is not None
    return found.state


@pytest.mark.parametrize("name", CONTROLLERS)
async def test_after_a_kill_and_a_resume_the_run_is_as_if_nothing_had_happened(server, store, name):
    whole, broken = new_run_id(), new_run_id()
    for run_id in (whole, broken):
        create(server, run_id, **wanted(name))
    report(server, whole, range(1, STEPS + 1))
    report(server, broken, range(1, KILLED_AFTER + 1))
    server.kill9()
    server.start()
    attempt = create(server, broken, resume_from_step=CHECKPOINT, start_id="second")
    assert attempt == 2
    report(server, broken, range(CHECKPOINT + 1, STEPS + 1), attempt)
    expected, found = await state_of(store, whole), await state_of(store, broken)
    assert comparable(found) == comparable(expected)
    repeated = KILLED_AFTER - CHECKPOINT
    assert found.counters.steps == expected.counters.steps + repeated == STEPS + repeated
    # And so at every step on the way.
    wholes, brokens = [
        await store.steps(run_id, [(number, step) for step in range(CHECKPOINT + 1, STEPS + 1)])
        for run_id, number in ((whole, 1), (broken, 2))
    ]
    assert [one.collapse for one in brokens] == [one.collapse for one in wholes]


async def test_the_runs_compared_above_differ_from_step_to_step(server, store):
    stages: set[str] = set()
    thresholds: set[float] = set()
    alarms: set[str] = set()
    for name in CONTROLLERS:
        run_id = new_run_id()
        create(server, run_id, **wanted(name))
        for step in range(1, STEPS + 1):
            report(server, run_id, [step])
            state = await state_of(store, run_id)
            stages.add(state.settings.arming.stage)
            thresholds.add(state.settings.threshold)
            alarms |= state.health.raised.keys()
    assert stages == {"off", "armed", "active", "cooldown", "locked"}
    assert len(thresholds) > STEPS / 2
    assert len(alarms) >= 3
