"""A monitor that writes down what it is told: every report of a cell, before it passes it on."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from monitor_service.engine.collapse import Matrix, Outcome, judge
from monitor_service.wire import StepReport, observation
from trainer.compare.results import Series
from trainer.link import Held, MonitorLink


class Recorder:
    """Stands between the trainer and its monitor, and fills a `Series`."""

    def __init__(
        self,
        link: MonitorLink,
        series: Series,
        *,
        on_step: Callable[[], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`on_step` is called for each report; `clock` tells seconds."""
        self._link = link
        self._series = series
        self._on_step = on_step
        self._clock = clock
        self._newest_s = clock()
        self._held: Held | None = None

    def start(self, after_step: int) -> None:  # noqa: D102 - the Protocol documents it
        self._newest_s = self._clock()
        self._link.start(after_step)

    def settings_for(self, step: int, wait_s: float) -> Held:  # noqa: D102
        self._held = self._link.settings_for(step, wait_s)
        return self._held

    def submit(self, report: StepReport) -> bool:  # noqa: D102
        self._record(report)
        self._on_step()
        return self._link.submit(report)

    def close(self) -> None:  # noqa: D102
        self._link.close()

    def state(self) -> dict[str, Any]:  # noqa: D102
        return self._link.state()

    def load(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        self._link.load(state)

    def _record(self, report: StepReport) -> None:
        assert self._held is not None, "settings are taken before a batch is reported"
        seen = observation(report)
        groups = judge(
            seen.rewards, reward_range=self._held.settings.reward_range, primary=seen.primary
        )
        now_s, series, applied = self._clock(), self._series, report.applied
        series.reward.append(groups.mean_reward)
        series.accuracy.append(_mean(groups.judged))
        series.acr.append(groups.acr)
        series.acr_wrong.append(groups.share(Outcome.ALL_WRONG))
        series.acr_correct.append(groups.share(Outcome.ALL_CORRECT))
        series.acr_effective.append(applied.effective_acr if applied else groups.acr)
        series.entropy.append(report.scalars.entropy)
        series.kl.append(report.scalars.kl)
        series.grad_norm.append(report.scalars.grad_norm)
        injected = applied.injected_wrong + applied.injected_correct if applied else 0
        series.injected_groups.append(injected)
        series.completions.append(seen.rewards.size)
        series.seconds.append(now_s - self._newest_s)
        self._newest_s = now_s


def _mean(values: Matrix) -> float | None:
    scored = values[~np.isnan(values)]
    return math.fsum(scored.tolist()) / scored.size if scored.size else None
