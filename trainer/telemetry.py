"""TRL's own metrics -> the report's scalars. Names differ, meanings do not.

A batch is reported when it is scored, before it is trained on: figures of the optimizer step
(entropy, KL, clip fraction) are of the newest finished one, figures of completions of the batch.
Loss, gradient norm and learning rate exist only in TRL's log lines, so they are of the newest line,
a mean over `logging_steps`.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from monitor_service.wire import Scalars

log = logging.getLogger(__name__)

_LOGGED_ONLY = ("grad_norm", "loss", "learning_rate")

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "entropy": "entropy",
        "kl": "kl",
        "clip_fraction": "clip_ratio/region_mean",
        "completion_length_mean": "completions/mean_length",
        "completion_length_max": "completions/max_length",
        "truncated_fraction": "completions/clipped_ratio",
        "num_tokens": "num_tokens",
        "step_s": "step_time",
    }
)


class Telemetry:
    """Keeps the newest value of each figure."""

    def __init__(self, temperature: float) -> None:
        self._newest: dict[str, float] = {"temperature": temperature}
        self._non_finite: set[str] = set()

    def set_temperature(self, temperature: float) -> None:
        """What the next batch is sampled at."""
        self._newest["temperature"] = temperature

    def forget(self, field: str) -> None:
        """A figure that is not measured any more."""
        self._newest.pop(field, None)
        self._non_finite.discard(field)

    def on_log(self, logs: Mapping[str, object]) -> None:
        """Take over what only TRL's log line says."""
        for field in _LOGGED_ONLY:
            self._take(field, logs.get(field))

    def on_step(self, gathered: Mapping[str, Sequence[float]]) -> None:
        """Take over the newest of what TRL has gathered since its last log line."""
        for field, name in _NAMES.items():
            values = gathered.get(name)
            if values:
                self._take(field, values[-1])

    def scalars(self) -> Scalars:
        """The newest figures, finite ones; the others by name only."""
        return Scalars(**self._newest, non_finite=sorted(self._non_finite))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the first batch of a resumed run is reported with these."""
        kept: dict[str, Any] = msgspec.to_builtins(self.scalars())
        return kept

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept; what is unreadable starts afresh."""
        try:
            kept = msgspec.to_builtins(msgspec.convert(state, Scalars))
        except msgspec.ValidationError as error:
            log.warning("the checkpoint's telemetry is unreadable and starts afresh: %s", error)
            return
        self._non_finite = set(kept.pop("non_finite", ()))
        self._newest |= kept

    def _take(self, field: str, value: object) -> None:
        if not isinstance(value, int | float):
            return
        if math.isfinite(value):
            self._newest[field] = float(value)
            self._non_finite.discard(field)
        else:
            self._newest.pop(field, None)
            self._non_finite.add(field)
