"""How logs are read: what people say about them, and what comes of each path."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from monitor_service.diagnose import recognise, report
from monitor_service.diagnose.intake import Keys
from monitor_service.diagnose.replay import replay
from monitor_service.diagnose.sources import (
    STANDARD_INPUT,
    NotALog,
    Opener,
    Source,
    Unreadable,
    find,
    piped,
)
from monitor_service.engine.collapse import RewardRange
from monitor_service.errors import InvalidInput

SHOW_PROGRESS_BYTES = 20_000_000
"""Files below this are read before a bar could be of use."""

FORMATS = tuple(recognise.READERS)

PANEL = "How a log is read"

Format = Annotated[
    str | None,
    typer.Option("--format", help=f"Do not guess: {', '.join(FORMATS)}.", rich_help_panel=PANEL),
]
RewardLow = Annotated[
    float | None,
    typer.Option(help="Reward of a wrong answer, with --reward-high.", rich_help_panel=PANEL),
]
RewardHigh = Annotated[
    float | None,
    typer.Option(help="Reward of a right answer, with --reward-low.", rich_help_panel=PANEL),
]
StepKey = Annotated[str | None, typer.Option(help="Column with the step.", rich_help_panel=PANEL)]
GroupKey = Annotated[
    str | None,
    typer.Option(help="Column that says which group a rollout belongs to.", rich_help_panel=PANEL),
]
RewardKey = Annotated[
    str | None, typer.Option(help="Column with the reward.", rich_help_panel=PANEL)
]
GroupSize = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Rollouts come in groups of this many, one after another.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(slots=True)
class Reading:
    """What came of the paths so far; one bad file never stops the others."""

    format: str | None
    keys: Keys
    declared: RewardRange | None
    judged: list[report.Diagnosis] = field(default_factory=list)
    skipped: list[report.Skipped] = field(default_factory=list)
    has_failed: bool = False

    def add(self, argument: str, opener: Opener) -> None:
        """Judge what a path leads to: a file, a folder's files, a glob's, or standard input."""
        before = len(self.judged)
        with ExitStack() as stack:
            if argument == STANDARD_INPUT:
                folder = stack.enter_context(TemporaryDirectory(prefix="acr-"))
                found = piped(sys.stdin.buffer, Path(folder))
            else:
                found = find(argument)
            if found.error is not None:
                self._skip(argument, "unreadable", found.error)
            for source in found.sources:
                self._judge(source, opener)
        self.has_failed = self.has_failed or len(self.judged) == before

    def _judge(self, source: Source, opener: Opener) -> None:
        try:
            log = recognise.read(source, format=self.format, keys=self.keys, opener=opener)
        except Unreadable as error:
            self._skip(source.name, "unreadable", str(error), error.line, error.column)
        except NotALog as error:
            self._skip(source.name, "not_a_log", str(error))
        else:
            self.judged.append(report.diagnosis(log, replay(log, self.declared)))

    def _skip(
        self,
        path: str,
        status: report.Status,
        reason: str,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        self.has_failed = self.has_failed or status == "unreadable"
        self.skipped.append(
            report.Skipped(path=path, status=status, reason=reason, line=line, column=column)
        )


def reading(
    *,
    format: str | None,
    reward_low: float | None,
    reward_high: float | None,
    step_key: str | None,
    group_key: str | None,
    reward_key: str | None,
    group_size: int | None,
) -> Reading:
    """Nothing read yet; raises BadParameter for what cannot be meant."""
    if format is not None and format not in FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(FORMATS)}; got {format!r}")
    return Reading(
        format=format,
        keys=Keys(step=step_key, group=group_key, reward=reward_key, group_size=group_size),
        declared=_declared(reward_low, reward_high),
    )


def _declared(low: float | None, high: float | None) -> RewardRange | None:
    if low is None and high is None:
        return None
    if low is None or high is None:
        raise typer.BadParameter("--reward-low and --reward-high go together")
    try:
        return RewardRange(low=low, high=high)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def opener() -> Iterator[Opener]:
    """Opens files; on a terminal with a bar for the large ones."""
    if not sys.stderr.isatty():
        yield lambda path: path.open("rb")
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        console=Console(stderr=True),
        transient=True,
    )

    def opened(path: Path) -> IO[bytes]:
        size = path.stat().st_size
        if size < SHOW_PROGRESS_BYTES:
            return path.open("rb")
        for task in progress.task_ids:
            progress.remove_task(task)
        task = progress.add_task(path.name.replace("[", "("), total=size)
        return progress.wrap_file(path.open("rb"), total=size, task_id=task)

    with progress:
        yield opened
