"""What a store keeps is exact, and a run that starts again ends up where it would have been."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor_service.engine.advance import advance
from monitor_service.engine.changes import (
    commanded,
    killed,
    resumed,
    with_changes,
    with_override,
)
from monitor_service.engine.profiles import PROFILES, from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import Observation, RunState
from monitor_service.wire import decode_settings

LAWS: dict[str, dict[str, Any]] = {
    "paper": {},
    "fixed": {"controller": "fixed", "threshold": 0.3},
    # Every stage within a few steps; mixed batches bring benefits, hard ones do not.
    "guarded": {"max_active_steps": 4, "cooldown_steps": 2},
    "observe": {"max_active_steps": 4, "cooldown_steps": 2},
}


def fresh(law: str) -> RunState:
    profile = law if law in PROFILES else "paper"
    return RunState(settings=from_profile(profile, LAWS[law]))


def observation(step: int, seed: int, num_groups: int, share: float) -> Observation:
    """A batch of which about this share of groups is all wrong, with all that a report can say."""
    draw = np.random.default_rng((seed, step))
    rewards = draw.integers(0, 2, (num_groups, 6)).astype(float)
    rewards[draw.random(num_groups) < share] = 0.0
    rewards[draw.random((num_groups, 6)) < 0.05] = np.nan
    kl, length = draw.lognormal(-4, 1), draw.uniform(50, 200)
    return Observation(
        step=step,
        rewards=rewards,
        injected_wrong=int(draw.integers(0, num_groups)),
        scalars={
            "entropy": float(draw.lognormal(-1, 0.3)),
            "kl": float(kl),
            "grad_norm": float(draw.lognormal(0, 2)),
            "completion_length_mean": float(length),
            "truncated_fraction": float(draw.random()),
        },
        non_finite=("loss",) if draw.random() < 0.05 else (),
        components={"accuracy": (float(draw.random()), 0.0), "format": (None, None)},
        settings_lag_steps=int(draw.integers(0, 3)),
    )


def stored(state: RunState) -> RunState:
    """The state as it comes back from a store."""
    kept = msgspec.json.decode(msgspec.json.encode(state), type=RunState)
    assert kept == state
    return kept


def ran(state: RunState, seen: list[Observation]) -> RunState:
    for one in seen:
        state = stored(advance(state, one, now_s=float(one.step))[0])
    return state


def without_bookkeeping(state: RunState) -> RunState:
    """The state without what says how it came about: attempts, versions and totals."""
    return replace(
        state,
        attempt=1,
        attempts=((1, 0),),
        start_ids=("",),
        counters=RunState(settings=Settings()).counters,
        settings=replace(state.settings, version=1),
    )


@pytest.mark.parametrize("law", sorted(LAWS))
@pytest.mark.parametrize("resumed_at", [0, 3, 7, 8, 11, 19])
def test_a_killed_run_that_repeats_its_steps_ends_in_the_state_of_one_that_was_not(law, resumed_at):
    seen = [observation(step, 7, 12, 0.6) for step in range(1, 21)]
    never_killed = ran(fresh(law), seen)
    kept = ran(fresh(law), seen[:resumed_at])
    again = stored(resumed(never_killed, kept, "start 2"))
    assert (again.step, again.attempt) == (resumed_at, 2)
    repeated = ran(again, seen[resumed_at:])
    assert without_bookkeeping(repeated) == without_bookkeeping(never_killed)
    assert repeated.settings.version == never_killed.settings.version + 1 + 20 - resumed_at
    assert repeated.counters.steps == 20 + 20 - resumed_at


@pytest.mark.parametrize(
    ("law", "stages"),
    [
        ("guarded", {"off", "active", "locked"}),
        ("observe", {"off", "active", "cooldown"}),
    ],
)
def test_the_repeated_steps_above_pass_through_these_stages(law, stages):
    state, found = fresh(law), set()
    for step in range(1, 21):
        state, figures, _ = advance(state, observation(step, 7, 12, 0.6), now_s=0.0)
        found.add(figures.stage)
    assert found == stages


def test_a_paper_run_moves_its_threshold_there_and_back():
    seen = [observation(step, 7, 20, 0.6) for step in range(1, 21)]
    half, whole = ran(fresh("paper"), seen[:10]), ran(fresh("paper"), seen)
    assert len({0.5, half.settings.threshold, whole.settings.threshold}) == 3
    assert resumed(whole, half).settings.threshold == half.settings.threshold


histories = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.floats(0, 1)), min_size=1, max_size=14
)


@settings(max_examples=60)
@given(st.sampled_from(sorted(LAWS)), histories, st.integers(0, 9), st.data())
def test_restarts_leave_no_trace_whatever_was_reported(law, history, seed, data):
    # Steps may be missing; a run may be killed again and again.
    seen, step = [], 0
    for gap, num_groups, share in history:
        step += gap
        seen.append(observation(step, seed, num_groups, share))
    never_killed = ran(fresh(law), seen)
    states = [fresh(law)]
    state = states[0]
    for _ in range(data.draw(st.integers(1, 3))):
        reached = data.draw(st.integers(len(states) - 1, len(seen)))
        for one in seen[len(states) - 1 : reached]:
            state = ran(state, [one])
            states.append(state)
        back = data.draw(st.integers(0, len(states) - 1))
        states = states[: back + 1]
        state = resumed(state, states[-1])
    state = ran(state, seen[len(states) - 1 :])
    assert without_bookkeeping(state) == without_bookkeeping(never_killed)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_state_and_its_settings_survive_json_exactly(profile):
    state = RunState(settings=from_profile(profile, {"max_active_steps": 3}))
    stages = set()
    for step in range(1, 16):
        state = stored(advance(state, observation(step, 3, 24, 0.7), now_s=1.5 * step)[0])
        assert decode_settings(msgspec.json.encode(state.settings)) == state.settings
        stages.add(state.settings.arming.stage)
    assert ("active" in stages) == (profile in ("guarded", "observe"))
    ordered = with_changes(state, {"beta": 0.1, "loss_mask": False, "prompt_budget": None})
    ordered = with_override(
        ordered,
        {"alpha": 0.3, "target": "both", "seed": 2**63 - 1, "max_advantage": None},
        actor="ann",
        reason="\N{SNOWMAN}",
        expires_in_steps=5,
        expires_in_s=0.1 + 60,
        now_s=1e9 / 3,
    )
    ordered = commanded(ordered, "save", actor="ann", reason="a")
    ordered = killed(ordered, actor="bob", reason="b", now_s=1e9 / 7)
    for each in (ordered, resumed(ordered, state, "start")):
        assert stored(each).settings == each.settings
        assert decode_settings(msgspec.json.encode(each.settings)) == each.settings
