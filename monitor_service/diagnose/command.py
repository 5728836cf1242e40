"""`acr diagnose`: reads logs that exist already, and says what is wrong with the run.

Exit status: 0 when every path could be read and judged; 1 when one could not, each other one
being judged all the same; 3 when `--fail-on` asks for it and a verdict of that severity stands at
the end. Wrong usage is 2.
"""

import json
import re
import shutil
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

from monitor_service.diagnose import machine, page, recognise, report, text
from monitor_service.diagnose.intake import Keys
from monitor_service.diagnose.replay import SEVERITIES, replay
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


def diagnose(
    paths: Annotated[
        list[str],
        typer.Argument(help="Logs, folders, globs; - is standard input.", show_default=False),
    ],
    format: Annotated[
        str | None, typer.Option("--format", help=f"Do not guess: {', '.join(FORMATS)}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write one self-contained page here.")
    ] = None,
    reward_low: Annotated[
        float | None, typer.Option(help="Reward of a wrong answer, with --reward-high.")
    ] = None,
    reward_high: Annotated[
        float | None, typer.Option(help="Reward of a right answer, with --reward-low.")
    ] = None,
    step_key: Annotated[str | None, typer.Option(help="Column with the step.")] = None,
    group_key: Annotated[
        str | None, typer.Option(help="Column that says which group a rollout belongs to.")
    ] = None,
    reward_key: Annotated[str | None, typer.Option(help="Column with the reward.")] = None,
    group_size: Annotated[
        int | None,
        typer.Option(min=2, help="Rollouts come in groups of this many, one after another."),
    ] = None,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit 3 when a verdict stands: warning or critical.")
    ] = None,
) -> None:
    """Say what is wrong with a run, from logs it has written already."""
    if format is not None and format not in FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(FORMATS)}; got {format!r}")
    if fail_on is not None and fail_on not in SEVERITIES[1:]:
        raise typer.BadParameter(f"--fail-on is warning or critical; got {fail_on!r}")
    if html is not None and (reason := page.missing() or _kept(html)) is not None:
        raise typer.BadParameter(reason)
    results = _Results(
        format=format,
        keys=Keys(step=step_key, group=group_key, reward=reward_key, group_size=group_size),
        declared=_declared(reward_low, reward_high),
    )
    with _opener() as opener:
        for argument in dict.fromkeys(paths):
            results.add(argument, opener)
    if html is not None:
        _write(html, page.of(results.judged, results.skipped))
    if as_json:
        typer.echo(json.dumps(machine.document(results.judged, results.skipped), allow_nan=False))
    else:
        _print(results.judged, results.skipped)
    for argument in paths:
        if re.fullmatch(r"\w[\w-]*", argument) and not Path(argument).exists():
            typer.echo(f"hint: if {argument} is a run of a monitor: acr show {argument}", err=True)
    if results.has_failed:
        raise typer.Exit(1)
    levels = SEVERITIES[SEVERITIES.index(fail_on) :] if fail_on is not None else ()
    if any(one.worst in levels for one in results.judged):
        raise typer.Exit(3)


@dataclass(slots=True)
class _Results:
    """What came of the arguments so far."""

    format: str | None
    keys: Keys
    declared: RewardRange | None
    judged: list[report.Diagnosis] = field(default_factory=list)
    skipped: list[report.Skipped] = field(default_factory=list)
    has_failed: bool = False

    def add(self, argument: str, opener: Opener) -> None:
        """Judge what an argument leads to; one bad file never stops the others."""
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


def _declared(low: float | None, high: float | None) -> RewardRange | None:
    if low is None and high is None:
        return None
    if low is None or high is None:
        raise typer.BadParameter("--reward-low and --reward-high go together")
    try:
        return RewardRange(low=low, high=high)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from error


def _kept(path: Path) -> str | None:
    """Why no page is written over what is there: `--html *.jsonl` would name a log."""
    try:
        if path.exists():
            with path.open("rb") as there:
                is_ours = there.read(len(page.START)) == page.START.encode()
            return None if is_ours else f"--html {path}: another file is there, and is kept"
    except OSError as error:
        return f"--html {path}: {error.strerror}"
    return None if path.parent.is_dir() else f"--html {path}: there is no folder {path.parent}"


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"--html {path}: {error.strerror}") from error


def _print(judged: list[report.Diagnosis], skipped: list[report.Skipped]) -> None:
    out = Console(highlight=False, soft_wrap=True)
    width = shutil.get_terminal_size((text.MAX_WIDTH, 24)).columns
    blocks = [text.of(one, width) for one in judged]
    if len(judged) > 1:
        blocks.append(text.summary(judged, width))
    if skipped:
        blocks.append(text.of_skipped(skipped, width))
    can_draw = out.encoding.lower().startswith("utf")
    for index, block in enumerate(blocks):
        if not can_draw:
            # The same length, so that the colours stay where they are.
            block.plain = text.in_ascii(block.plain)
        out.print(*([] if index == 0 else ["\n"]), block, sep="", end="")


@contextmanager
def _opener() -> Iterator[Opener]:
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
