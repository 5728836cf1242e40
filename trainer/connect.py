"""The monitor that a configuration describes."""

import re
import secrets
from pathlib import Path

from trainer.client import MonitorClient
from trainer.config import GRPOConfig
from trainer.link import InProcessMonitor, MonitorLink


def link_for(args: GRPOConfig) -> MonitorLink:
    """The monitor that a configuration describes; connects to nothing yet."""
    if args.monitor_url is None:
        return InProcessMonitor(args.initial_settings())
    return MonitorClient(
        args.monitor_url,
        run_id=args.run_id or made_up_run_id(args.output_dir),
        run_id_is_made_up=args.run_id is None,
        profile=args.initial_profile,
        settings=args.initial_changes(),
        redis_url=args.monitor_redis_url,
        token=args.monitor_token,
        when_unreachable=args.monitor_unreachable,
        config={
            "num_generations": args.num_generations,
            "learning_rate": args.learning_rate,
            "beta": args.beta,
            "temperature": args.temperature,
            "loss_type": args.loss_type,
            "scale_rewards": args.scale_rewards,
            "method": args.method,
            "dynamic_sampling": args.dynamic_sampling,
            "loss_mask": args.loss_mask,
        },
        spool_dir=args.spool_path,
        spool_max_bytes=args.spool_max_bytes,
    )


def made_up_run_id(output_dir: str) -> str:
    """A name of its own for a run nobody named, after the folder it writes to."""
    folder = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(output_dir).resolve().name).strip("-.")
    return f"{folder[:64] or 'run'}-{secrets.token_hex(4)}"
