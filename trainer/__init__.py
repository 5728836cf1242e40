"""GRPO training that a monitor can see into and steer.

`GRPOConfig` and `GRPOTrainer` are drop-ins for TRL's; `MonitorClient` is for any other loop. All
three load on first use, so that `import trainer` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.client import MonitorClient
    from trainer.config import GRPOConfig
    from trainer.grpo import GRPOTrainer

__all__ = ["GRPOConfig", "GRPOTrainer", "MonitorClient"]

_HOMES = {
    "GRPOConfig": "trainer.config",
    "GRPOTrainer": "trainer.grpo",
    "MonitorClient": "trainer.client",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
