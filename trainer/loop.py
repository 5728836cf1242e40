"""One turn of the control loop, framework aside: settings in, plan, report out.

Every rank holds a `ControlLoop`; only rank 0 has a link to the monitor. The settings of a batch
are taken once, before it is generated, and shared, so that all ranks decide alike.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from monitor_service.engine.advance import KILL_FILE_ACTOR
from monitor_service.engine.collapse import Matrix, Outcome
from monitor_service.engine.injection import Host
from monitor_service.engine.ledger import NOTHING_INJECTED, Ledger
from monitor_service.engine.orders import Command, Kill
from monitor_service.engine.plan import Context, Plan, plan
from monitor_service.engine.settings import Settings
from monitor_service.wire import Knob, Sampling, Scalars, StepReport, pack
from trainer import reporting
from trainer.doubts import doubts
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
        self._held = held
        if self._refusal:
            self.stand_aside(self._refusal)
        self._hear(held.settings.command, held.settings.session)
        return self._now.settings

    def stand_aside(self, reason: str) -> None:
        """Inject nothing into the batch under way; `begin_step` came before."""
        settings = self._now.settings
        if settings.mode != "off":
            self._held = Held(settings=replace(settings, mode="off"), note=reason)

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
        effective_acr: float | None = None,
        sampling: Sampling | None = None,
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
            effective_acr: share of the groups trained on that are without a signal, where
                something else than the plan gave or took signals.
            sampling: how dynamic sampling filled the batch; None without.
        """
        if self._link is None:
            return
        self._link.submit(
            StepReport(
                step=self._step,
                optimizer_step=optimizer_step,
                rewards=pack(rewards),
                primary=None if primary is None else pack(primary),
                components=reporting.components(components),
                scalars=scalars,
                applied=reporting.applied(
                    self._now,
                    decided,
                    ledger=self._ledger,
                    shadow_ledger=self._shadow_ledger,
                    effective_acr=_effective(decided, effective_acr),
                    sampling=sampling,
                    knobs=knobs or {},
                    kill=self._kill,
                    killed_after_rearms=self._killed_after_rearms,
                ),
            )
        )

    def close(self) -> None:
        """Training is over."""
        if self._link:
            self._link.close()

    def figures(self, decided: Plan, effective_acr: float | None = None) -> dict[str, float]:
        """What the trainer logs under its own metrics; a rate nobody can state is left out.

        Args:
            decided: the plan that was applied.
            effective_acr: as in `report`.
        """
        groups = decided.groups
        found = {
            "acr": groups.acr,
            "acr_wrong": groups.share(Outcome.ALL_WRONG),
            "acr_correct": groups.share(Outcome.ALL_CORRECT),
            "acr_effective": _effective(decided, effective_acr),
            "acr_threshold": self._now.settings.threshold,
        }
        return {name: rate for name, rate in found.items() if rate is not None}

    def _warn_once(self, decided: Plan, judged: Matrix) -> None:
        """Say what keeps interventions from being what the configuration asked for."""
        for name, text in doubts(decided, self._now.settings, judged, self._reward_names).items():
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
        link = self._link.state() if self._link else {}
        return {"step": self._step, "link": link, **msgspec.to_builtins(ledgers)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept; a part that is missing or unreadable starts afresh."""
        for name in ("ledger", "shadow_ledger"):
            try:
                setattr(self, f"_{name}", msgspec.convert(state.get(name, {}), Ledger))
            except msgspec.ValidationError as error:
                log.warning("the checkpoint's %s is unreadable and starts afresh: %s", name, error)
        link = state.get("link")
        if self._link and isinstance(link, dict):
            self._link.load(link)


def _effective(decided: Plan, effective_acr: float | None) -> float | None:
    if effective_acr is not None:
        return effective_acr
    return decided.effective_acr if decided.mode == "active" else decided.groups.acr


def _exists(file: Path) -> bool:
    """As `Path.exists`, which says no of a loop of links; raises OSError where nobody can say."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
