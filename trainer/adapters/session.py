"""A training loop of one's own under the monitor: needs torch, and no framework.

`ControlLoop`, which the TRL trainer runs too, wants its calls in order and the figures in the
shapes of a report. A `Session` is that order in two calls a step: `begin` before the completions
are sampled, where the loop follows the settings' knobs, and `step` when they are scored.

N = groups of the batch, G = completions of the largest group.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from msgspec.structs import replace

from monitor_service.engine.collapse import Matrix
from monitor_service.engine.injection import Host
from monitor_service.engine.orders import Command
from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput
from monitor_service.wire import Knob, Scalars
from trainer import avspo
from trainer.link import Held, MonitorLink
from trainer.loop import ControlLoop

Rewards = torch.Tensor | npt.ArrayLike
"""`[N, G]`, NaN where a completion was not scored, and behind the end of a shorter group."""

_SCALARS = frozenset(Scalars.__struct_fields__) - {"non_finite"}


class Session:
    """One process in the control loop; also a context manager, which opens and closes it."""

    def __init__(
        self,
        link: MonitorLink,
        *,
        host: Host = Host(),
        wait_s: float = 0.0,
        saved: Mapping[str, Any] | None = None,
        takes_commands: bool = False,
        refusal: str | None = None,
        kill_file: Path | None = None,
    ) -> None:
        """Connects to nothing until `open`.

        Args:
            link: the monitor: a `MonitorClient`, or an `InProcessMonitor`.
            host: how the caller normalises rewards, so that injected groups are in its units.
            wait_s: bound of the wait for the newest settings at each step.
            saved: what `state` gave, when the training resumes; None begins at step 1.
            takes_commands: the caller looks at `command` after each step and carries it out.
                Otherwise the monitor is not told that a command to save or stop is carried out.
            refusal: why nothing may be injected, when nothing may.
            kill_file: while it exists, and after it until a person re-arms, nothing intervenes.
        """
        self._loop = ControlLoop(
            link,
            share=_as_it_is if takes_commands else _without_command,
            host=host,
            wait_s=wait_s,
            refusal=refusal,
            kill_file=kill_file,
        )
        self._saved = saved or {}
        self._settings: Settings | None = None
        self.figures: Mapping[str, float] = {}
        """Of the newest step: acr, acr_wrong, acr_correct, acr_effective, acr_threshold; a rate
        that nobody can state is left out."""

    def open(self) -> None:
        """Announce the run to the monitor."""
        self._loop.load(self._saved)
        self._loop.start(int(self._saved.get("step", 0)))

    def close(self) -> None:
        """Deliver what is queued, within a bound, and let go."""
        self._loop.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> Settings:
        """The settings of the batch that is about to be sampled; their `knobs` are requests."""
        self._settings = self._loop.begin_step()
        return self._settings

    def step(
        self,
        rewards: Rewards,
        advantages: torch.Tensor,
        *,
        primary: Rewards | None = None,
        truncated: npt.NDArray[np.bool_] | None = None,
        prompts: Sequence[str] = (),
        epoch: int = 0,
        components: Mapping[str, npt.ArrayLike] | None = None,
        optimizer_step: int | None = None,
        knobs: Mapping[str, float | bool] | None = None,
        **scalars: float | torch.Tensor,
    ) -> torch.Tensor:
        """Decide about a scored batch, report it, and correct its advantages.

        Args:
            rewards: `[N, G]` what the policy is trained on, of all groups of the batch.
            advantages: `[N, G]` what the caller made of them; places without a completion are
                not looked at.
            primary: `[N, G]` the accuracy component, when `rewards` is a sum of several.
            truncated: `[N, G]` bool, completions cut at the length limit, where it is known.
            prompts: `[N]` a name for each group's prompt, where they are known.
            epoch: the pass over the data, from 0.
            components: name of each reward function -> its rewards, NaN where unscored.
            optimizer_step: optimizer steps finished so far; None: one for each batch before.
            knobs: what is in force of the trainer's own parameters. A knob that the settings ask
                for is reported as applied when it stands here with the value asked for, as
                ignored otherwise.
            scalars: `entropy`, `kl` and the other figures of a report, as
                `monitor_service.wire.Scalars` names and defines them.

        Returns:
            `[N, G]`, dtype and device of `advantages`. Groups that the plan leaves alone keep the
            same bits.

        Raises:
            InvalidInput: shapes that do not match, or a figure that no report has.
        """
        rewards_NG = _matrix("rewards", rewards)
        primary_NG = None if primary is None else _matrix("primary", primary)
        for name, found in (("advantages", advantages), ("primary", primary_NG)):
            if found is not None and tuple(found.shape) != rewards_NG.shape:
                allowed = f"the shape of rewards {rewards_NG.shape}"
                raise InvalidInput(name, tuple(found.shape), allowed)
        measured = _scalars(scalars)
        settings = self._settings or self.begin()
        self._settings = None
        plan = self._loop.decide(
            rewards_NG, primary_NG, truncated=truncated, prompts=prompts, epoch=epoch
        )
        self._loop.report(
            plan,
            rewards_NG,
            primary_NG,
            components=components or {},
            scalars=measured,
            optimizer_step=self._loop.step - 1 if optimizer_step is None else optimizer_step,
            knobs=told(settings.knobs, knobs or {}, "this training loop does not drive it"),
        )
        self.figures = self._loop.figures(plan)
        flat = avspo.apply(plan, rewards_NG, advantages.reshape(-1), 0)
        return flat.reshape(advantages.shape)

    def command(self) -> Command | None:
        """What a person asked for: `kind` is save or stop. Each is handed out once."""
        return self._loop.taken_command()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, for `saved`; plain values."""
        return self._loop.state()


def told(
    requested: Mapping[str, float | bool], in_force: Mapping[str, float | bool], reason: str
) -> dict[str, Knob]:
    """What became of the knobs `requested`, by what is `in_force`; why the others are ignored."""
    return {
        name: Knob(status="applied", value=value)
        if in_force.get(name) == value
        else Knob(status="ignored", value=in_force.get(name), reason=reason)
        for name, value in requested.items()
    }


def _matrix(name: str, rewards: Rewards) -> Matrix:
    if isinstance(rewards, torch.Tensor):
        rewards = rewards.detach().to("cpu", torch.float64).numpy()
    found = np.asarray(rewards, dtype=np.float64)
    if found.ndim != 2 or not found.size:
        allowed = "[N, G]: one row for each group, shorter ones filled up with NaN"
        raise InvalidInput(name, found.shape, allowed)
    return found


def _scalars(found: Mapping[str, float | torch.Tensor]) -> Scalars:
    if unknown := sorted(found.keys() - _SCALARS):
        raise InvalidInput("scalars", unknown, f"of {', '.join(sorted(_SCALARS))}")
    values = {
        name: value.item() if isinstance(value, torch.Tensor) else float(value)
        for name, value in found.items()
    }
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    return Scalars(**finite, non_finite=sorted(values.keys() - finite.keys()))


def _as_it_is(held: Held | None) -> Held:
    assert held is not None, "there is one process, and it has the link"
    return held


def _without_command(held: Held | None) -> Held:
    held = _as_it_is(held)
    return Held(settings=replace(held.settings, command=None), note=held.note)
