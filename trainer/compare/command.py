"""`acr-train compare PLAN.yaml`: arms x seeds, paired, resumable; a table, plots, files."""

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
from rich.console import Console

from monitor_service.errors import InvalidInput
from trainer.compare import plan as plans
from trainer.compare import plots, results, tables
from trainer.compare.plan import Plan
from trainer.compare.results import Result
from trainer.compare.runner import run_all
from trainer.compare.summary import Summary, summarise

INTERRUPTED = 130
"""Status of a program that SIGINT ended, as shells count it."""
FAILED_CELLS = 3
"""Status when the comparison ended, and some of its cells did not."""
OUTPUTS = Path("outputs")
WIDTH = 120
"""Columns of the tables where there is no terminal to ask."""


def main(argv: Sequence[str]) -> None:
    """Run the program; `argv` follows the word compare. A mistake ends it with one line."""
    options = _parser().parse_args(argv)
    console = Console(stderr=True)
    try:
        plan = plans.load(options.plan)
        folder = options.output or OUTPUTS / plan.name
        _check_writable(folder)
        if not options.report:
            _run(plan, folder, options, console)
        found = _found(plan, folder)
        if not found:
            raise InvalidInput("report", str(folder), "a folder with results of this plan")
    except (OSError, ValueError) as error:
        _end(1, f"acr-train compare: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        _end(
            INTERRUPTED,
            "acr-train compare: interrupted; finished cells are kept, the same command goes on",
        )
    summary = summarise(plan, found)
    _show(summary, plan, found, folder, options, console)
    if any(result.error for result in found.values()):
        sys.exit(FAILED_CELLS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="acr-train compare",
        description="Train every arm of a plan with every seed, and compare the arms in pairs. "
        "Cells that are finished are not run again unless their settings change.",
    )
    parser.add_argument("plan", type=Path, metavar="PLAN.yaml")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help=f"results (default: {OUTPUTS}/NAME of the plan)"
    )
    parser.add_argument(
        "--jobs", type=_count, default=1, help="worker processes (default: 1, this process)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="SEED", help="run only these seeds of the plan"
    )
    parser.add_argument(
        "--monitor-url", metavar="URL", help="post every cell as a run PLAN-ARM-SEED"
    )
    parser.add_argument(
        "--report", action="store_true", help="run nothing, report what is finished"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the report as a section of a page"
    )
    return parser


def _run(plan: Plan, folder: Path, options: argparse.Namespace, console: Console) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidInput("WORLD_SIZE", os.environ["WORLD_SIZE"], "1: a cell is one process")
    unknown = set(options.seeds or ()) - set(plan.seeds)
    if unknown:
        allowed = f"seeds of the plan: {', '.join(map(str, plan.seeds))}"
        raise InvalidInput("seeds", sorted(unknown), allowed)
    console.print(f"{plan.name}: checking {len(plan.arms)} arms", highlight=False)
    _quieten()
    from trainer.compare import cell  # Heavy: TRL and torch.

    cell.check(plan)
    wanted = [
        one
        for one in plan.cells()
        if (options.seeds is None or one.seed in options.seeds)
        and results.finished(folder, one) is None
    ]
    total = len(plan.arms) * len(options.seeds or plan.seeds)
    console.print(
        f"{total - len(wanted)} of {total} cells are finished in {folder}; {len(wanted)} to run",
        highlight=False,
    )
    if wanted:
        run_all(
            wanted,
            folder,
            jobs=min(options.jobs, len(wanted)),
            monitor_url=options.monitor_url,
            console=console,
        )


def _quieten() -> None:
    import datasets
    import transformers

    # TRL and transformers disagree about names; nobody who compares arms can act on it.
    warnings.filterwarnings("ignore", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()


def _found(plan: Plan, folder: Path) -> dict[tuple[str, int], Result]:
    """Results that belong to the plan as it stands."""
    found = {}
    for cell in plan.cells():
        result = results.read(results.file_of(folder, cell))
        if result and result.settings_hash == cell.settings_hash:
            found[cell.arm, cell.seed] = result
    return found


def _show(
    summary: Summary,
    plan: Plan,
    found: dict[tuple[str, int], Result],
    folder: Path,
    options: argparse.Namespace,
    console: Console,
) -> None:
    text = msgspec.json.format(msgspec.json.encode(summary)).decode() + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    if reason := plots.missing():
        console.print(reason, highlight=False)
    else:
        names = " ".join(file.name for file in plots.draw(summary, plan, found, folder))
        if names:
            console.print(f"plots in {folder}: {names}", highlight=False, soft_wrap=True)
    if options.markdown:
        command = f"acr-train compare {shlex.quote(str(options.plan))}"
        options.markdown.write_text(tables.markdown(summary, command), encoding="utf-8")
    if options.json:
        sys.stdout.write(text)
        return
    out = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    with out.capture() as shown:
        out.print(tables.terminal(summary))
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in shown.get().splitlines())


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise InvalidInput("--output", str(folder), "a folder that can be written")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _end(status: int, text: str) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(status)
