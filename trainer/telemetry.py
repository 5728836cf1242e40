"""TRL's own metrics -> the report's scalars. Names differ, meanings do not.

Figures of the optimizer step (entropy, loss, ...) are of the newest finished one, because a batch
is reported when it is scored, before it is trained on. Figures of completions are of the batch.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from monitor_service.wire import Scalars

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "entropy": "entropy",
        "kl": "kl",
        "grad_norm": "grad_norm",
        "loss": "loss",
        "learning_rate": "learning_rate",
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

    def on_log(self, logs: Mapping[str, object]) -> None:
        """Take over what TRL logs; other keys and non-numbers are ignored."""
        for field, name in _NAMES.items():
            value = logs.get(name)
            if isinstance(value, int | float) and not math.isnan(value):
                self._newest[field] = float(value)

    def scalars(self, pending: Mapping[str, Sequence[float]]) -> Scalars:
        """The newest figures; `pending` is what TRL has gathered since its last log."""
        self.on_log({name: values[-1] for name, values in pending.items() if values})
        return Scalars(**self._newest)
