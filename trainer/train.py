"""`acr-train CONFIG.yaml [--key value ...]`: parse, build, train, save.

`acr-train evaluate`, `difficulty` and `compare` are programs of their own, loaded when called.
"""

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from transformers.trainer_utils import get_last_checkpoint

from trainer.arguments import PARTS, ScriptArguments, key_help, parse
from trainer.build import build_trainer
from trainer.config import GRPOConfig
from trainer.link import MonitorUnreachable
from trainer.logs import to_standard_error

__all__ = ["PARTS", "ScriptArguments", "build_trainer", "main", "parse"]

INTERRUPTED = 130
"""Status of a program that SIGINT ended, as shells count it."""
USAGE = """usage: acr-train CONFIG.yaml [--key value ...]
       acr-train evaluate|difficulty|compare ..."""

SUBCOMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "evaluate": "trainer.evaluate.command",
        "difficulty": "trainer.difficulty.command",
        "compare": "trainer.compare.command",
    }
)
"""First argument -> module whose `main(argv)` takes the rest."""

logger = logging.getLogger(__name__)


def help_text() -> str:
    """Usage, the other programs, and the keys that are ours."""
    return f"""{USAGE}

Train with GRPO, watched and steered by the ACR monitor. A key stands in the file, or on
the command line, which wins. Every key of TRL's GRPOConfig and ModelConfig works too.

  evaluate    accuracy and pass@k of a model on benchmarks
  difficulty  sort problems into levels by how often a base model solves them
  compare     methods x seeds, paired, from one plan
{key_help()}"""


def check_checkpoint(training: GRPOConfig) -> None:
    """Refuse to resume from nowhere, before anything is built.

    Raises:
        ValueError: `resume_from_checkpoint` is no folder, or true and there is no checkpoint.
    """
    wanted = training.resume_from_checkpoint
    if isinstance(wanted, str) and not Path(wanted).is_dir():
        raise ValueError(f"resume_from_checkpoint: no such folder: {wanted}")
    if wanted is True and _last_checkpoint(training) is None:
        raise ValueError(f"resume_from_checkpoint: no checkpoint in {training.output_dir}")


def _last_checkpoint(training: GRPOConfig) -> str | None:
    folder = training.output_dir
    return get_last_checkpoint(folder) if Path(folder).is_dir() else None


def find_monitor(training: GRPOConfig, environ: Mapping[str, str]) -> None:
    """Fill in where the monitor is from ACR_MONITOR_URL and ACR_REDIS_URL, unless it is given."""
    if training.monitor_url is None:
        training.monitor_url = environ.get("ACR_MONITOR_URL") or None
        training.monitor_redis_url = (
            training.monitor_redis_url or environ.get("ACR_REDIS_URL") or None
        )


def main() -> None:
    """Run the program; a mistake in the configuration ends it with one line and status 1."""
    to_standard_error(logging.INFO)
    # TRL 1.16 still speaks older names to transformers: nothing that a user could change.
    warnings.filterwarnings("ignore", category=FutureWarning)
    argv = sys.argv[1:]
    if argv and argv[0] in SUBCOMMANDS:
        import_module(SUBCOMMANDS[argv[0]]).main(argv[1:])
        return
    if {"-h", "--help"} & set(argv):
        sys.stdout.write(help_text())
        return
    if not argv or argv[0].startswith("-"):
        _end(2, USAGE)
    if not Path(argv[0]).suffix and not Path(argv[0]).exists():
        _end(2, f"acr-train: neither a file nor {', '.join(SUBCOMMANDS)}: {argv[0]}\n{USAGE}")
    try:
        script, training, model = parse(argv)
        find_monitor(training, os.environ)
        check_checkpoint(training)
        trainer = build_trainer(script, training, model)
    except (OSError, ValueError) as error:
        _end(1, f"acr-train: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        _end(INTERRUPTED, "acr-train: interrupted before the first step")
    try:
        trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    except MonitorUnreachable as error:
        _end(1, f"acr-train: {error}")
    except KeyboardInterrupt:
        # Ends the progress bar, and delivers the reports that are still queued.
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
        checkpoint, step = _last_checkpoint(training), trainer.state.global_step
        how = f"continue with --resume_from_checkpoint {checkpoint}"
        if checkpoint is None:
            how = f"no checkpoint in {training.output_dir}"
        _end(INTERRUPTED, f"acr-train: interrupted after optimizer step {step}; {how}")
    trainer.save_model(training.output_dir)
    logger.info("saved the model to %s", training.output_dir)
    trainer.end()


def _end(status: int, text: str) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
