"""Reports of trainings that never were, as a trainer would send them."""

from collections.abc import Sequence
from itertools import islice

import msgspec
import numpy as np

from benchmarks.connection import request
from monitor_service.engine.collapse import Matrix
from monitor_service.wire import JSON, MSGPACK, Applied, Component, Scalars, StepReport, pack

_VARIANTS = 8
"""Different batches of rewards, taken in turn."""


def batches(groups: int, size: int) -> list[Matrix]:
    """Binary rewards `[groups, size]`; some groups are all right or all wrong, always the same."""
    rng = np.random.default_rng(0)
    rates = rng.beta(0.5, 0.5, (_VARIANTS, groups, 1))
    return list((rng.random((_VARIANTS, groups, size)) < rates).astype(np.float64))


class Reports:
    """The reports of one run, step after step; every run sends the same."""

    def __init__(self, groups: int, size: int) -> None:
        """`groups` of `size` completions in each step."""
        self._batches = batches(groups, size)
        self._packed = [pack(batch) for batch in self._batches]
        self._lists = [batch.tolist() for batch in self._batches]

    def of(self, step: int, media_type: str = MSGPACK) -> StepReport:
        """The report of a step, with its rewards packed, or as lists for JSON.

        It says that the settings of the step before were applied, as in an undisturbed training.
        """
        at = step % _VARIANTS
        batch = self._batches[at]
        mean, phase = float(batch.mean()), 0.01 * (step % 50)
        wrong, correct = int((batch.max(1) == 0).sum()), int((batch.min(1) == 1).sum())
        return StepReport(
            step=step,
            optimizer_step=step - 1,
            rewards=self._lists[at] if media_type == JSON else self._packed[at],
            components={
                "accuracy": Component(mean=mean, std=float(batch.std())),
                "format": Component(mean=0.9 + 0.1 * phase, std=0.3),
            },
            scalars=Scalars(
                entropy=1.5 + phase,
                kl=0.01 + 0.001 * phase,
                grad_norm=0.3 + 0.1 * phase,
                loss=0.02 * phase,
                learning_rate=1e-6,
                clip_fraction=0.01,
                completion_length_mean=312.5 + 10 * phase,
                completion_length_max=1024.0,
                truncated_fraction=0.03,
                temperature=1.0,
                num_tokens=1e5 * step,
                step_s=5.0 + phase,
            ),
            applied=Applied(
                settings_version=step,
                through_step=step - 1,
                mode="active",
                threshold=0.5,
                triggered=True,
                acr=(wrong + correct) / len(batch),
                injected_wrong=wrong,
                injected_correct=correct,
                num_virtual=4,
                advantage_abs_max=0.8,
                virtual_mass_fraction=0.2,
                effective_acr=0.0,
                decisions={
                    "mixed": len(batch) - wrong - correct,
                    "injected_wrong": wrong,
                    "injected_correct": correct,
                },
            ),
        )

    def requests(
        self, run_id: str, steps: Sequence[int], media_type: str, per_request: int
    ) -> list[bytes]:
        """The HTTP requests that report these steps, in order, so many in each.

        A single report in JSON is no list; the trainer's client sends lists of one, too.
        """
        path = f"/v1/runs/{run_id}/steps"
        reports = iter(self.of(step, media_type) for step in steps)
        found = []
        while some := list(islice(reports, per_request)):
            if media_type == MSGPACK:
                body = msgspec.msgpack.encode(some)
            else:
                body = msgspec.json.encode(some if per_request > 1 else some[0])
            found.append(request(path, body, media_type))
        return found


def creation(run_id: str) -> bytes:
    """The HTTP request that creates a run."""
    return request("/v1/runs", msgspec.json.encode({"id": run_id}))
