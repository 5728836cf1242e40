"""Real training runs for the tests that need several processes."""

from pathlib import Path
from typing import Any

from tests.trainer.toys import arguments, config
from trainer import GRPOTrainer, MonitorClient
from trainer.config import GRPOConfig

OUTCOMES = ["right", "mixed", "wrong", "mixed", "half", "mixed", "wrong", "mixed"]


def client(args: GRPOConfig, **changes: Any) -> MonitorClient:
    """The client that the configuration describes."""
    assert args.monitor_url is not None
    assert args.run_id is not None
    return MonitorClient(
        args.monitor_url,
        run_id=args.run_id,
        profile=args.initial_profile,
        settings={**args.initial_changes(), "min_groups_per_unit": 1},
        redis_url=args.monitor_redis_url,
        **changes,
    )


def trainer(folder: Path, **changes: Any) -> GRPOTrainer:
    """An AVSPO run of a few steps that decides by the batch, whatever its size."""
    args = config(folder, **{"use_avspo": True, "acr_threshold_init": 0.4, **changes})
    link = client(args) if args.monitor_url else None
    return GRPOTrainer(**arguments(args, OUTCOMES), monitor=link)
