"""`acr-train evaluate`: accuracy and pass@k of a model on benchmarks."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

import httpx
import msgspec
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from monitor_service.errors import InvalidInput
from monitor_service.requests import ResultRequest
from monitor_service.urls import HTTP_SCHEMES, checked, without_password
from trainer.evaluate.arguments import USAGE, Arguments, help_text, parse
from trainer.evaluate.results import Entry
from trainer.evaluate.running import OnProgress, run
from trainer.logs import to_standard_error
from trainer.transport import Refused, auth_for, post

INTERRUPTED = 130
"""Status of a program that SIGINT ended, as shells count it."""
POST_TIMEOUT_S = 10.0

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Run the program; a mistake ends it with one line and status 1.

    Args:
        argv: a YAML file, or options, or both.
    """
    to_standard_error(logging.INFO)
    if {"-h", "--help"} & set(argv):
        sys.stdout.write(help_text())
        return
    if not argv:
        _end(2, USAGE)
    try:
        arguments = parse(argv)
        find_monitor(arguments, os.environ)
        with _progress() as on_progress:
            entries = run(arguments, on_progress)
    except (OSError, ValueError) as error:
        _end(1, f"acr-train evaluate: {' '.join(str(error).split())}")
    except torch.OutOfMemoryError as error:
        reason = str(error).partition("\n")[0]
        _end(1, f"acr-train evaluate: out of memory, try a smaller batch_size: {reason}")
    except KeyboardInterrupt:
        _end(INTERRUPTED, "acr-train evaluate: interrupted; finished benchmarks are kept")
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(entries).decode() + "\n")
    else:
        Console().print(_table(arguments, entries))
        sys.stdout.writelines(f"{line}\n" for line in _unscored(entries))
    if arguments.run_id is not None:
        tell_monitor(arguments, entries[0])


def find_monitor(arguments: Arguments, environ: Mapping[str, str]) -> None:
    """Fill in where the monitor is from ACR_MONITOR_URL, unless it is given or nothing is posted.

    Raises:
        InvalidInput: a run is named, and there is no monitor; or ACR_TOKEN can be no token.
    """
    if arguments.run_id is not None and arguments.monitor_url is None:
        url = environ.get("ACR_MONITOR_URL")
        if not url:
            raise InvalidInput("monitor_url", None, "must be given with run_id")
        arguments.monitor_url = checked("ACR_MONITOR_URL", url, HTTP_SCHEMES)
    if arguments.monitor_url is not None:
        auth_for(httpx.URL(arguments.monitor_url))


def tell_monitor(arguments: Arguments, entry: Entry) -> None:
    """Post the accuracy as the run's result; where that fails, warn and go on.

    The name says how it was measured: the monitor compares results of the same name only.
    """
    how = "greedy" if arguments.temperature is None else f"temperature {arguments.temperature:g}"
    result = ResultRequest(accuracy=entry.accuracy, benchmark=f"{entry.benchmark}, {how}")
    url = arguments.monitor_url or ""
    try:
        auth = auth_for(httpx.URL(url))
        with httpx.Client(base_url=url, auth=auth, timeout=POST_TIMEOUT_S) as http:
            post(http, f"/v1/runs/{arguments.run_id}/result", result)
    except (httpx.HTTPError, Refused) as error:
        logger.warning(
            "the monitor at %s did not take the result of run %s: %s",
            without_password(url),
            arguments.run_id,
            str(error) or type(error).__name__,
        )
    else:
        logger.info("posted %.4f on %s to %s", result.accuracy, result.benchmark, arguments.run_id)


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """A bar for each benchmark on standard error; none where that is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("completions"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    bars = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def advance(benchmark: str, done: int, total: int) -> None:
            if benchmark not in bars:
                bars[benchmark] = progress.add_task(benchmark, total=total)
            progress.advance(bars[benchmark], done)

        yield advance


def _table(arguments: Arguments, entries: Sequence[Entry]) -> Table:
    how = "greedy" if arguments.temperature is None else f"temperature {arguments.temperature:g}"
    table = Table(
        title=Text(f"{arguments.model}, {how}, {arguments.num_samples} a problem"),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("benchmark", overflow="fold")
    interval = f"{arguments.confidence:.0%} interval"
    for name in ("problems", "k", "pass@k", interval, "cut off", "tokens", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        about = (Text(entry.benchmark), str(entry.num_problems - entry.num_unscored))
        costs = (f"{entry.truncated:.1%}", f"{entry.mean_tokens:.0f}", f"{entry.seconds:.0f} s")
        for k in arguments.ks:
            shown = entry.pass_at[str(k)]
            figures = (str(k), f"{shown['value']:.3f}", f"{shown['low']:.3f}-{shown['high']:.3f}")
            table.add_row(*about, *figures, *costs)
            about, costs = (Text(), ""), ("", "", "")
    return table


def _unscored(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        if entry.num_unscored:
            yield (
                f"{entry.benchmark}: {entry.num_unscored} of {entry.num_problems} gold answers "
                "are missing or cannot be read; those problems are left out"
            )


def _end(status: int, text: str) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(status)
