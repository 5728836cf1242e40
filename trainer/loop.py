"""One turn of the control loop, framework aside: settings in, plan, report out.

Every rank holds a `ControlLoop`; only rank 0 has a link to the monitor. The settings of a batch
are taken once, before it is generated, and shared, so that all ranks decide alike.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from monitor_service.engine.collapse import COLLAPSE_STD, Matrix, Outcome
from monitor_service.engine.plan import Host, Plan, plan
from monitor_service.engine.smoothing import MIN_GROUPS
from monitor_service.wire import Applied, Component, Scalars, StepReport, pack
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
    ) -> None:
        """A loop for one rank.

        Args:
            link: the monitor; None on every rank but 0.
            share: gives every rank what rank 0 passed in; called by all ranks together.
            host: how the trainer normalises rewards.
            wait_s: bound of the wait for the newest settings, on rank 0.
            refusal: why nothing may be injected under the trainer's configuration.
            reward_names: of the reward functions, for messages.
        """
        self._link = link
        self._share = share
        self._host = host
        self._wait_s = wait_s
        self._refusal = refusal
        self._reward_names = ", ".join(reward_names)
        self._step = 0
        self._held: Held | None = None
        self._warned: set[str] = set()

    def start(self, after_step: int) -> None:
        """Training begins; `after_step` generation batches lie behind it."""
        self._step = after_step
        if self._link:
            self._link.start(after_step)

    def begin_step(self) -> None:
        """A new generation batch: take the settings that it will be decided with."""
        self._step += 1
        held = self._link.settings_for(self._step, self._wait_s) if self._link else None
        held = self._share(held)
        if self._refusal and held.settings.mode == "active":
            held = Held(settings=replace(held.settings, mode="off"), note=self._refusal)
        self._held = held

    def decide(self, rewards: Matrix, primary: Matrix | None) -> Plan:
        """The plan for the batch: `[N, G]` rewards of all ranks, the same on every rank."""
        settings = self._now.settings
        decided = plan(rewards, settings, step=self._step, primary=primary, host=self._host)
        if self._link and settings.mode == "active":
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
    ) -> None:
        """Hand the batch to the monitor; does nothing on other ranks than 0.

        Args:
            decided: the plan that was applied.
            rewards: `[N, G]` as given to `decide`.
            primary: `[N, G]` as given to `decide`.
            components: name of each reward function -> its `[B]` rewards, NaN where unscored.
            scalars: what the trainer measured.
            optimizer_step: optimizer steps finished so far.
        """
        if self._link is None:
            return
        self._link.submit(
            StepReport(
                step=self._step,
                optimizer_step=optimizer_step,
                rewards=pack(rewards),
                primary=None if primary is None else pack(primary),
                components={name: _component(values) for name, values in components.items()},
                scalars=scalars,
                applied=self._applied(decided),
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
            "acr_effective": decided.effective_acr,
            "acr_threshold": self._now.settings.threshold,
        }
        return {name: rate for name, rate in found.items() if rate is not None}

    def _warn_once(self, decided: Plan, judged: Matrix) -> None:
        """Say what keeps interventions from being what the configuration asked for."""
        settings = self._now.settings
        low, high = settings.reward_low, settings.reward_high
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
        if groups.num_scored and decided.acr_source != settings.acr_source:
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

    def _applied(self, decided: Plan) -> Applied:
        settings = self._now.settings
        injected = decided.is_injected
        return Applied(
            settings_version=settings.version,
            through_step=settings.through_step,
            mode=settings.mode,
            threshold=settings.threshold,
            triggered=decided.triggered,
            acr=decided.acr,
            acr_source=decided.acr_source,
            injected_wrong=decided.num_injected(Outcome.ALL_WRONG),
            injected_correct=decided.num_injected(Outcome.ALL_CORRECT),
            num_virtual=int(decided.num_virtual.max(initial=0)),
            advantage_abs_max=float(np.abs(decided.advantages[injected]).max(initial=0.0)),
            virtual_mass_fraction=decided.virtual_mass_fraction,
            effective_acr=decided.effective_acr,
            note=self._now.note,
        )


def _component(values: npt.ArrayLike) -> Component:
    scored = np.asarray(values, dtype=np.float64)
    scored = scored[np.isfinite(scored)]
    if not scored.size:
        return Component()
    return Component(mean=float(scored.mean()), std=float(scored.std()))
