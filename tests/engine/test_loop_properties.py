"""No sequence of reports, orders and restarts makes an intervention exceed what was allowed."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from monitor_service.engine.advance import advance
from monitor_service.engine.changes import (
    killed,
    rearmed,
    resumed,
    with_changes,
    with_override,
    without_override,
)
from monitor_service.engine.collapse import Matrix, Outcome
from monitor_service.engine.injection import Host
from monitor_service.engine.ledger import NOTHING_INJECTED, Ledger
from monitor_service.engine.plan import Context, Plan, plan
from monitor_service.engine.profiles import PROFILES, from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import Observation, RunState
from monitor_service.errors import InvalidInput
from monitor_service.wire import decode_settings

NOISE = 1e-9
PROMPTS = tuple("abcdefghijklmnop")
# 24 groups a step: 14 all wrong, and 10 with a signal.
WARM = np.array([[0.0] * 4] * 14 + [[0.0, 1.0, 0.0, 1.0]] * 10)

fractions = st.sampled_from([0.3, 0.5, 1.0, 0.05])
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "mode": st.sampled_from(["active", "active", "active", "shadow", "off"]),
    "controller": st.sampled_from(["guarded", "guarded", "paper", "fixed"]),
    "threshold": st.sampled_from([0.25, 0.05, 0.5]),
    "exit_threshold": st.sampled_from([0.2, 0.01, 0.4]),
    "target": st.sampled_from(["both", "wrong", "correct"]),
    "strategy": st.sampled_from(["stratified", "stratified", "random_uniform", "none"]),
    "scale_wrong": st.sampled_from([0.5, 1.0]),
    "skip_degenerate": st.just(False),
    "max_advantage": st.none() | st.sampled_from([0.01, 0.2, 1.0]),
    "max_group_fraction": fractions,
    "max_mass_fraction": fractions,
    "prompt_budget": st.none() | st.integers(1, 3),
    "min_groups_per_unit": st.sampled_from([1, 16]),
    "eta": st.just(1.0),
    "acr_source": st.sampled_from(["batch", "ewma", "window"]),
    "heed_alarms": st.sampled_from([False, False, True]),
    "beta": st.none() | st.just(0.1),
    "reward_high": st.sampled_from([1.0, 2.0]),
}
mostly = st.sampled_from([True, True, True, False])
changes = st.fixed_dictionaries({}, optional=CHANGES)
# Activations, cooldowns and locks within the few steps of an example.
short = st.fixed_dictionaries(
    {"max_active_steps": st.integers(1, 4), "cooldown_steps": st.integers(0, 2)}, optional=CHANGES
)
# Shares of all-wrong and of all-correct groups.
KINDS = (
    *((0.6, 0.0), (0.5, 0.2), (0.3, 0.1), (0.9, 0.0), (0.0, 0.7)),
    *((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.2, 0.0)),
)
REPORTED: tuple[dict[str, Any], ...] = (
    *({}, {}, {}, {"scalars": {"grad_norm": 1.0, "entropy": 0.5}}),
    *({"scalars": {"grad_norm": 90.0, "entropy": 0.01}}, {"non_finite": ("loss", "kl")}),
)


def batch(draw: np.random.Generator) -> Matrix:
    """Rewards `[N, G]` of 0 and 1, N up to 40 and G up to 8, some of them NaN."""
    num_groups = draw.choice([1, 2, 3, 4, 8, 15, 16, 24, 40])
    shape = (num_groups, draw.choice([1, 2, 4, 5, 8, 8]))
    wrong, correct = KINDS[draw.integers(len(KINDS))]
    rewards = draw.integers(0, 2, shape).astype(float)
    side = draw.random(num_groups)
    rewards[side < wrong + correct] = 1.0
    rewards[side < wrong] = 0.0
    rewards[draw.random(shape) < draw.choice([0.0, 0.0, 0.1, 0.7])] = np.nan
    return rewards


@dataclass(frozen=True, kw_only=True)
class Account:
    """What the trainer keeps, and what we know about it ourselves."""

    ledger: Ledger = NOTHING_INJECTED
    epoch: int = 0
    spent: dict[str, int] = field(default_factory=dict)
    pooled: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Injected groups, groups, injected mass, other mass: newer batches weigh more."""
    highest_cap: dict[str, float] = field(default_factory=lambda: {"mass": 0.0, "groups": 0.0})

    @property
    def group_fraction(self) -> float:
        injected, weight, _, _ = self.pooled
        return injected / weight if weight else 0.0

    @property
    def mass_fraction(self) -> float:
        _, _, virtual, healthy = self.pooled
        return virtual / (virtual + healthy) if virtual else 0.0

    def booked(self, found: Plan, context: Context, acting: Settings, counts: bool) -> "Account":
        """With one more batch, by our own count beside the ledger's."""
        if not found.groups.num_scored:
            return self
        spent = dict(self.spent) if context.epoch == self.epoch else {}
        highest = dict(self.highest_cap)
        if counts:
            for prompt in np.array(context.prompts)[found.is_injected].tolist():
                spent[prompt] = spent.get(prompt, 0) + 1
            highest["mass"] = max(highest["mass"], acting.max_mass_fraction)
            highest["groups"] = max(highest["groups"], acting.max_group_fraction)
        injected = np.count_nonzero(found.is_injected) if counts else 0
        virtual = (np.abs(found.advantages) * found.groups.sizes).sum() if counts else 0.0
        past = 0.5 ** (found.groups.num_scored / 64)
        batch_sums = (injected, found.groups.num_scored, virtual, found.healthy_mass)
        pooled = [
            past * before + (1 - past) * now / found.groups.num_scored
            for before, now in zip(self.pooled, batch_sums, strict=True)
        ]
        return Account(
            ledger=found.booked(self.ledger, context, is_injected=counts),
            epoch=context.epoch,
            spent=spent,
            pooled=(pooled[0], pooled[1], pooled[2], pooled[3]),
            highest_cap=highest,
        )


class Loop(RuleBasedStateMachine):
    """A monitor, a trainer and a person, who may do anything in any order."""

    @initialize(
        profile=st.sampled_from(["guarded", "guarded", "paper", "paper", "observe", "grpo"]),
        host=st.builds(Host, scale=st.sampled_from(["group", "batch", "none"])),
        wanted=short,
        num_warm=st.sampled_from([3, 6, 10, 0]),
    )
    def begin(self, profile: str, host: Host, wanted: dict[str, Any], num_warm: int) -> None:
        try:
            configured = from_profile(profile, wanted)
        except InvalidInput:
            configured = from_profile(profile, {"max_active_steps": 2})
        self.state = RunState(settings=configured)
        self.host = host
        self.now_s = 0.0
        self.step = self.epoch = 0
        self.real = self.shadow = Account()
        self.held = configured
        self.kept = {0: (msgspec.json.encode(self.state), self.real, self.shadow)}
        # Override -> (recorded steps it may still act at, Unix time of its end), by our own count.
        self.left: dict[int, tuple[int, float]] = {}
        # Three are enough for every law to decide, and some more for the guarded one to lock.
        for _ in range(num_warm):
            self.take(WARM, ["z"] * len(WARM), True, {})

    def publish(self, state: RunState, *, may_unlock: bool = False) -> None:
        before = self.state.settings
        assert state.settings.version > before.version or state is self.state
        if before.acting_mode == "locked" and not may_unlock:
            assert state.settings.acting_mode == "locked"
        self.state = state

    @rule(seed=st.integers(0, 2**32), num_batches=st.integers(1, 10), is_heard=mostly)
    def train(self, seed: int, num_batches: int, is_heard: bool) -> None:
        for at in range(num_batches):
            # Rewards come from the seed: as draws of their own they would take all the time.
            draw = np.random.default_rng((seed, at))
            rewards = batch(draw)
            prompts = draw.choice(PROMPTS, len(rewards)).tolist()
            reported = REPORTED[draw.integers(len(REPORTED))] if draw.random() < 0.8 else None
            self.take(rewards, prompts, is_heard, reported)

    def take(
        self, rewards: Matrix, prompts: list[str], is_heard: bool, reported: dict[str, Any] | None
    ) -> None:
        """One batch; `reported` is what its report says beside the rewards, None without one."""
        self.step += 1
        if is_heard:
            self.held = decode_settings(msgspec.json.encode(self.state.settings))
            assert self.held == self.state.settings
        acting = self.held.in_force(step=self.step, now_s=self.now_s)
        self.check_overrides(acting)
        rewards = rewards * (acting.reward_high or 1.0)
        mode = acting.acting_mode
        account = self.shadow if mode == "shadow" else self.real
        context = Context(prompts=prompts, epoch=self.epoch, ledger=account.ledger)
        found = plan(rewards, acting, step=self.step, host=self.host, context=context)
        self.real = self.real.booked(found, context, acting, mode == "active")
        self.shadow = self.shadow.booked(found, context, acting, mode in ("active", "shadow"))
        self.check_mode(found, acting)
        self.check_sizes(found, acting)
        self.check_account(found, acting, account, self.shadow if mode == "shadow" else self.real)
        if reported is not None:
            self.record(rewards, reported)

    def record(self, rewards: Matrix, reported: dict[str, Any]) -> None:
        seen = Observation(step=self.step, rewards=rewards, **reported)
        passed = self.step - self.state.step
        for number, (steps, until_s) in self.left.items():
            self.left[number] = (steps - passed, until_s)
        state, _, _ = advance(self.state, seen, now_s=self.now_s)
        self.publish(state)
        self.kept[self.step] = (msgspec.json.encode(state), self.real, self.shadow)

    def check_overrides(self, acting: Settings) -> None:
        ahead = self.step - self.state.step
        alive = {
            number
            for number, (steps, until_s) in self.left.items()
            if ahead <= steps and self.now_s < until_s
        }
        found = {one.number for one in acting.overrides}
        assert found <= alive
        if not found and not self.held.kill and acting.mode == self.held.mode:
            assert acting == replace(self.held, overrides=())

    def check_mode(self, found: Plan, acting: Settings) -> None:
        mode = acting.acting_mode
        assert found.mode == mode
        assert not found.is_rewritten.any() or mode == "active"
        assert not found.is_injected.any() or mode in ("active", "shadow")
        if self.held.kill:
            assert (mode, acting.knobs) == ("locked", {})
        if self.held.arming.stage == "locked":
            assert mode == "locked"
        if acting.heed_alarms and acting.holds.everything:
            assert not found.is_injected.any()
        if acting.heed_alarms and acting.holds.correct:
            assert not found.num_injected(Outcome.ALL_CORRECT)
        if acting.controller == "guarded" and acting.arming.stage != "active":
            assert not found.is_injected.any()

    def check_sizes(self, found: Plan, acting: Settings) -> None:
        assert not found.advantages[~found.is_injected].any()
        if acting.max_advantage is not None:
            assert acting.reward_range is not None
            width = acting.reward_range.high - acting.reward_range.low
            most = acting.max_advantage * (width if self.host.scale == "none" else 1.0)
            assert np.abs(found.advantages).max() <= most * (1 + NOISE)
        num_scored = found.groups.num_scored
        if num_scored >= acting.min_groups_per_unit:
            assert found.virtual_mass_fraction <= acting.max_mass_fraction + NOISE
            most_groups = acting.max_group_fraction * num_scored
            assert np.count_nonzero(found.is_injected) <= most_groups + NOISE

    def check_account(self, found: Plan, acting: Settings, before: Account, after: Account) -> None:
        """`before` and `after`: of the account that the plan was made by."""
        if found.is_injected.any():
            if acting.max_mass_fraction < 1:
                assert after.mass_fraction <= acting.max_mass_fraction + NOISE
            if acting.max_group_fraction < 1:
                assert after.group_fraction <= acting.max_group_fraction + NOISE
            if acting.prompt_budget is not None:
                for prompt in spent_on(before, after):
                    assert after.spent[prompt] <= acting.prompt_budget
        else:
            # Above a cap that a person lowered it stays, until batches bring it down.
            assert after.mass_fraction <= before.mass_fraction + NOISE
            assert after.group_fraction <= before.group_fraction + NOISE
        assert self.real.mass_fraction <= self.real.highest_cap["mass"] + NOISE
        assert self.real.group_fraction <= self.real.highest_cap["groups"] + NOISE
        assert self.real.ledger.spent == self.real.spent

    @rule(wanted=changes, profile=st.none() | st.sampled_from(sorted(PROFILES)))
    def change(self, wanted: dict[str, Any], profile: str | None) -> None:
        try:
            self.publish(
                with_changes(self.state, wanted | ({"profile": profile} if profile else {}))
            )
        except InvalidInput:
            return

    @rule(
        wanted=changes, steps=st.integers(1, 12), seconds=st.sampled_from([1.0, 90.0, 24 * 3600.0])
    )
    def override(self, wanted: dict[str, Any], steps: int, seconds: float) -> None:
        try:
            state = with_override(
                self.state,
                wanted,
                actor="a",
                reason="b",
                expires_in_steps=steps,
                expires_in_s=seconds,
                now_s=self.now_s,
            )
        except InvalidInput:
            return
        number = state.settings.overrides[-1].number
        assert number not in self.left
        self.left[number] = (steps, self.now_s + seconds)
        self.publish(state)

    @precondition(lambda self: self.state.settings.overrides)
    @rule(which=st.integers(0, 9))
    def end_override(self, which: int) -> None:
        overrides = self.state.settings.overrides
        number = overrides[which % len(overrides)].number
        self.publish(without_override(self.state, number))
        assert number not in {one.number for one in self.state.settings.overrides}

    @precondition(lambda self: not self.state.settings.kill)
    @rule(is_re_armed=st.sampled_from([True, True, False]))
    def kill(self, is_re_armed: bool) -> None:
        self.publish(killed(self.state, actor="a", reason="b", now_s=self.now_s))
        self.take(np.zeros((4, 4)), ["a"] * 4, True, {})
        assert self.state.settings.kill
        if is_re_armed:
            self.publish(rearmed(self.state), may_unlock=True)
            assert self.state.settings.acting_mode != "locked"

    @precondition(lambda self: self.state.settings.acting_mode == "locked")
    @rule()
    def rearm(self) -> None:
        self.publish(rearmed(self.state), may_unlock=True)
        assert self.state.settings.acting_mode != "locked"

    @rule(seconds=st.sampled_from([0.5, 60.0, 2 * 24 * 3600.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def next_epoch(self) -> None:
        self.epoch += 1

    @rule(
        which=st.integers(0, 50),
        is_ledger_kept=st.booleans(),
        seed=st.integers(0, 2**32),
        num_batches=st.integers(0, 10),
    )
    def restart(self, which: int, is_ledger_kept: bool, seed: int, num_batches: int) -> None:
        """The trainer dies, and goes on after an earlier step that it has a checkpoint of."""
        steps = sorted(step for step in self.kept if step <= self.state.step)
        step = steps[which % len(steps)]
        encoded, real, shadow = self.kept[step]
        before = self.state.settings
        earlier = msgspec.json.decode(encoded, type=RunState)
        self.publish(resumed(self.state, earlier), may_unlock=True)
        assert self.state.settings.kill == before.kill
        self.kept = {kept: what for kept, what in self.kept.items() if kept <= step}
        self.real, self.shadow = (real, shadow) if is_ledger_kept else (Account(), Account())
        self.step, self.epoch = step, self.real.epoch
        self.held = self.state.settings
        self.train(seed, num_batches, True)


def spent_on(before: Account, after: Account) -> list[str]:
    """Prompts that this batch spent on."""
    earlier = before.spent if after.epoch == before.epoch else {}
    return [name for name, count in after.spent.items() if count > earlier.get(name, 0)]


Loop.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_whatever_happens_the_caps_hold_and_what_has_expired_or_is_locked_does_not_act = Loop.TestCase
