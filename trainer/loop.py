"""One turn of the control loop, framework aside: settings in, plan, report out.

Every rank holds a `ControlLoop`; only rank 0 has a link to the monitor. The settings of a batch
are taken once, before it is generated, and shared, so that all ranks decide alike.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from monitor_service.engine.advance import KILL_FILE_ACTOR
from monitor_service.engine.collapse import COLLAPSE_STD, Matrix, Outcome
from monitor_service.engine.injection import Host
from monitor_service.engine.ledger import NOTHING_INJECTED, Ledger
from monitor_service.engine.orders import Command, Kill
from monitor_service.engine.plan import Context, Plan, plan
from monitor_service.engine.settings import Settings
from monitor_service.engine.smoothing import MIN_GROUPS
from monitor_service.wire import (
    MAX_NAME_CHARS,
    MAX_REASON_CHARS,
    Applied,
    Component,
    Injection,
    Knob,
    Scalars,
    StepReport,
    pack,
)
from trainer.link import Held, MonitorLink

log = logging.getLogger(__name__)


class ControlLoop:
    """Counts generation batches, and takes each through the loop."""

    def __init__(
        self,
        link: MonitorLink | None,
        *,
        share: Callable[[Held | None], Held],
        host: Host,
        wait_s: float = 0.0,
        refusal: str | None = None,
        reward_names: Sequence[str] = (),
        kill_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """A loop for one rank.

        Args:
            link: the monitor; None on every rank but 0.
            share: gives every rank what rank 0 passed in; called by all ranks together.
            host: how the trainer normalises rewards.
            wait_s: bound of the wait for the newest settings, on rank 0.
            refusal: why nothing may be injected under the trainer's configuration.
            reward_names: of the reward functions, for messages.
            kill_file: while it exists, and after it until a person re-arms, nothing intervenes.
            clock: tells Unix time in seconds; overrides end by it.
        """
        self._link = link
        self._share = share
        self._host = host
        self._wait_s = wait_s
        self._refusal = refusal
        self._reward_names = ", ".join(reward_names)
        self._kill_file = kill_file
        self._clock = clock
        self._step = 0
        self._held: Held | None = None
        self._ledger = self._shadow_ledger = NOTHING_INJECTED
        self._kill: Kill | None = None
        self._killed_after_rearms: int | None = None
        self._killed_in = ""
        self._last_command = ("", 0)
        self._command: Command | None = None
        self._warned: set[str] = set()

    def start(self, after_step: int) -> None:
        """Training begins; `after_step` generation batches lie behind it."""
        self._step = after_step
        # A kill that the monitor heard of comes back with its settings.
        self._kill = self._killed_after_rearms = self._command = None
        if self._link:
            self._link.start(after_step)

    def begin_step(self) -> Settings:
        """A new generation batch: take the settings that it will be decided with."""
        self._step += 1
        held = self._share(self._taken() if self._link else None)
        if self._refusal and held.settings.mode != "off":
            held = Held(settings=replace(held.settings, mode="off"), note=self._refusal)
        self._held = held
        self._hear(held.settings.command, held.settings.session)
        return held.settings

    def _hear(self, command: Command | None, session: str) -> None:
        # A monitor that lost its data counts from 1 again, under the name of another session.
        known_session, newest = self._last_command
        if command is None or (session == known_session and command.number <= newest):
            return
        self._last_command = (session, command.number)
        log.warning(
            "step %d: %s asked to %s: %s",
            *(self._step, command.actor, command.kind, command.reason),
        )
        # Stopping saves too, and was promised already.
        if self._command is None or self._command.kind != "stop":
            self._command = command

    def _taken(self) -> Held:
        """What is in force at this step, on rank 0."""
        assert self._link is not None
        held = self._link.settings_for(self._step, self._wait_s)
        settings, note = held.settings, held.note
        try:
            is_killed = self._kill_file is not None and _exists(self._kill_file)
        except OSError as error:
            note = f"the kill file cannot be looked for ({error}): plain GRPO"
            return Held(settings=settings.without_interventions(), note=note)
        settings = replace(settings, kill=self._kill_in_force(settings, is_killed))
        return Held(settings=settings.in_force(step=self._step, now_s=self._clock()), note=note)

    def _kill_in_force(self, settings: Settings, is_killed: bool) -> Kill | None:
        """The kill to obey: the monitor's, that of the file, or one the monitor has lost."""
        known = self._killed_after_rearms
        is_news = settings.session != self._killed_in
        self._killed_in = settings.session
        if is_killed and known != settings.rearms:
            log.warning("step %d: %s exists: plain GRPO", self._step, self._kill_file)
            reason = f"{self._kill_file} was found"
            found = Kill(actor=KILL_FILE_ACTOR, reason=reason, step=self._step, at_s=self._clock())
            self._kill, known = settings.kill or found, settings.rearms
        elif settings.kill and known is None:
            self._kill = settings.kill
        elif self._kill and is_news and not settings.rearms:
            # The monitor lost its data, or was not heard before. Nobody has re-armed: stay killed.
            known = settings.rearms
        elif known is not None and is_news:
            known = settings.rearms
        elif known is None or settings.rearms > known:
            self._kill = known = None
        self._killed_after_rearms = known
        return settings.kill or self._kill

    def taken_command(self) -> Command | None:
        """The command to carry out now; each is handed out once."""
        command, self._command = self._command, None
        return command

    def decide(
        self,
        rewards: Matrix,
        primary: Matrix | None,
        *,
        truncated: npt.NDArray[np.bool_] | None = None,
        prompts: Sequence[str] = (),
        epoch: int = 0,
    ) -> Plan:
        """The plan for the batch, the same on every rank.

        Args:
            rewards: `[N, G]` of all ranks, NaN where a completion was not scored.
            primary: `[N, G]` the accuracy component, or None.
            truncated: `[N, G]` bool, completions cut at the length limit, where it is known.
            prompts: `[N]` a name for each group's prompt, where they are known.
            epoch: the pass over the data, from 0.
        """
        settings = self._now.settings
        is_shadow = settings.acting_mode == "shadow"
        context = Context(
            truncated=truncated,
            prompts=prompts,
            epoch=epoch,
            ledger=self._shadow_ledger if is_shadow else self._ledger,
        )
        decided = plan(
            rewards,
            settings,
            step=self._step,
            primary=primary,
            host=self._host,
            context=context,
        )
        self._ledger = decided.booked(self._ledger, context, is_injected=decided.mode == "active")
        self._shadow_ledger = decided.booked(
            self._shadow_ledger, context, is_injected=decided.mode in ("active", "shadow")
        )
        if self._link and settings.mode != "off":
            self._warn_once(decided, rewards if primary is None else primary)
        return decided

    def report(
        self,
        decided: Plan,
        rewards: Matrix,
        primary: Matrix | None,
        *,
        components: Mapping[str, npt.ArrayLike],
        scalars: Scalars,
        optimizer_step: int,
        knobs: Mapping[str, Knob] | None = None,
    ) -> None:
        """Hand the batch to the monitor; does nothing on other ranks than 0.

        Args:
            decided: the plan that was applied.
            rewards: `[N, G]` as given to `decide`.
            primary: `[N, G]` as given to `decide`.
            components: name of each reward function -> its `[B]` rewards, NaN where unscored.
            scalars: what the trainer measured.
            optimizer_step: optimizer steps finished so far.
            knobs: what became of the trainer's parameters that the settings ask for.
        """
        if self._link is None:
            return
        self._link.submit(
            StepReport(
                step=self._step,
                optimizer_step=optimizer_step,
                rewards=pack(rewards),
                primary=None if primary is None else pack(primary),
                components={
                    # The folder of a reward model may give it no name at all.
                    name[:MAX_NAME_CHARS] or f"reward_{at}": _component(values)
                    for at, (name, values) in enumerate(components.items(), 1)
                },
                scalars=scalars,
                applied=self._applied(decided, knobs or {}),
            )
        )

    def close(self) -> None:
        """Training is over."""
        if self._link:
            self._link.close()

    def figures(self, decided: Plan) -> dict[str, float]:
        """What the trainer logs under its own metrics; a rate nobody can state is left out."""
        groups = decided.groups
        found = {
            "acr": groups.acr,
            "acr_wrong": groups.share(Outcome.ALL_WRONG),
            "acr_correct": groups.share(Outcome.ALL_CORRECT),
            "acr_effective": self._effective_acr(decided),
            "acr_threshold": self._now.settings.threshold,
        }
        return {name: rate for name, rate in found.items() if rate is not None}

    def _warn_once(self, decided: Plan, judged: Matrix) -> None:
        """Say what keeps interventions from being what the configuration asked for."""
        settings = self._now.settings
        if settings.reward_range is None:
            return
        low, high = settings.reward_range.low, settings.reward_range.high
        excess = max(np.nanmax(judged, initial=high) - high, low - np.nanmin(judged, initial=low))
        found = {}
        groups = decided.groups
        other = groups.count(Outcome.UNIFORM_OTHER)
        remedy = (
            f"set primary_reward to the one of {self._reward_names} that tells right from wrong"
            if "," in self._reward_names
            else "set reward_low and reward_high"
        )
        if excess > COLLAPSE_STD:
            found["range"] = (
                f"rewards lie outside [{low:g}, {high:g}], so groups that collapse there are never "
                f"injected; {remedy}"
            )
        elif 2 * other > groups.num_collapsed:
            found["other"] = (
                f"{other} of {groups.num_collapsed} collapsed groups are neither wrong ({low:g}) "
                f"nor right ({high:g}) and are never injected; {remedy}"
            )
        is_small = decided.acr_source != settings.acr_source and settings.controller != "guarded"
        if groups.num_scored and is_small:
            found["source"] = (
                f"{decided.groups.num_scored} scored groups a step are fewer than "
                f"min_groups_per_unit={settings.min_groups_per_unit}: the smoothed ACR decides, "
                f"once {MIN_GROUPS} groups were seen"
            )
        for name, text in found.items():
            if name not in self._warned:
                self._warned.add(name)
                log.warning("step %d: %s", self._step, text)

    @property
    def step(self) -> int:
        """Generation batches taken through the loop, those before a resume included."""
        return self._step

    @property
    def _now(self) -> Held:
        assert self._held is not None, "begin_step comes first"
        return self._held

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        ledgers = {"ledger": self._ledger, "shadow_ledger": self._shadow_ledger}
        return {"step": self._step, **msgspec.to_builtins(ledgers)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept; a part that is missing or unreadable starts afresh."""
        for name in ("ledger", "shadow_ledger"):
            try:
                setattr(self, f"_{name}", msgspec.convert(state.get(name, {}), Ledger))
            except msgspec.ValidationError as error:
                log.warning("the checkpoint's %s is unreadable and starts afresh: %s", name, error)

    @staticmethod
    def _effective_acr(decided: Plan) -> float | None:
        return decided.effective_acr if decided.mode == "active" else decided.groups.acr

    def _applied(self, decided: Plan, knobs: Mapping[str, Knob]) -> Applied:
        settings = self._now.settings
        done = (
            _injection(decided, self._ledger)
            if decided.mode == "active"
            else Injection(
                mass_fraction_pooled=self._ledger.mass_fraction,
                group_fraction_pooled=self._ledger.group_fraction,
                effective_acr=decided.groups.acr,
            )
        )
        return Applied(
            **msgspec.structs.asdict(done),
            settings_version=settings.version,
            through_step=settings.through_step,
            mode=settings.acting_mode,
            threshold=settings.threshold,
            triggered=decided.triggered,
            acr=decided.acr,
            acr_source=decided.acr_source,
            stage=settings.arming.stage,
            decisions=decided.counts(),
            shadow=_injection(decided, self._shadow_ledger) if decided.mode == "shadow" else None,
            overrides=[override.number for override in settings.overrides],
            knobs={name: _told(knob) for name, knob in knobs.items()},
            command=settings.command.number if settings.command else None,
            kill=None if self._killed_after_rearms is None else self._kill,
            killed_after_rearms=self._killed_after_rearms,
            note=_shortened(self._now.note),
        )


def _exists(file: Path) -> bool:
    """As `Path.exists`, which says no of a loop of links; raises OSError where nobody can say."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _injection(decided: Plan, ledger: Ledger) -> Injection:
    sizes = np.abs(decided.advantages[decided.is_injected])
    return Injection(
        injected_wrong=decided.num_injected(Outcome.ALL_WRONG),
        injected_correct=decided.num_injected(Outcome.ALL_CORRECT),
        num_virtual=int(decided.num_virtual.max(initial=0)),
        advantage_abs_max=float(sizes.max(initial=0.0)),
        virtual_mass_fraction=decided.virtual_mass_fraction,
        mass_fraction_pooled=ledger.mass_fraction,
        group_fraction_pooled=ledger.group_fraction,
        mass_scale=decided.mass_scale,
        effective_acr=decided.effective_acr,
    )


def _told(knob: Knob) -> Knob:
    return msgspec.structs.replace(knob, reason=_shortened(knob.reason))


def _shortened(text: str | None) -> str | None:
    # Other people's errors have any length, and a report with a longer text is refused.
    return text and text[:MAX_REASON_CHARS]


def _component(values: npt.ArrayLike) -> Component:
    scored = np.asarray(values, dtype=np.float64)
    scored = scored[np.isfinite(scored)]
    if not scored.size:
        return Component()
    return Component(mean=float(scored.mean()), std=float(scored.std()))
