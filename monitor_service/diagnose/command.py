"""`acr diagnose`: reads logs that exist already, and says what is wrong with the run.

Exit status: 0 when every path could be read and judged; 1 when one could not, each other one
being judged all the same; 3 when `--fail-on` asks for it and a verdict of that severity stands at
the end. Wrong usage is 2.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monitor_service.diagnose import destination, machine, page, report, text
from monitor_service.diagnose.reading import (
    Format,
    GroupKey,
    GroupSize,
    RewardHigh,
    RewardKey,
    RewardLow,
    StepKey,
    opener,
    reading,
)
from monitor_service.diagnose.replay import SEVERITIES


def diagnose(
    paths: Annotated[
        list[str],
        typer.Argument(help="Logs, folders, globs; - is standard input.", show_default=False),
    ],
    format: Format = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write one self-contained page here.")
    ] = None,
    reward_low: RewardLow = None,
    reward_high: RewardHigh = None,
    step_key: StepKey = None,
    group_key: GroupKey = None,
    reward_key: RewardKey = None,
    group_size: GroupSize = None,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit 3 when a verdict stands: warning or critical.")
    ] = None,
) -> None:
    """Say what is wrong with a run, from logs it has written already."""
    if fail_on is not None and fail_on not in SEVERITIES[1:]:
        raise typer.BadParameter(f"--fail-on is warning or critical; got {fail_on!r}")
    found = reading(
        format=format,
        reward_low=reward_low,
        reward_high=reward_high,
        step_key=step_key,
        group_key=group_key,
        reward_key=reward_key,
        group_size=group_size,
    )
    if html is not None:
        destination.check(html)
    with opener() as opened:
        for argument in dict.fromkeys(paths):
            found.add(argument, opened)
    if html is not None:
        destination.write(html, page.of(found.judged, found.skipped))
    if as_json:
        typer.echo(json.dumps(machine.document(found.judged, found.skipped), allow_nan=False))
    else:
        _print(found.judged, found.skipped)
    for argument in paths:
        if re.fullmatch(r"\w[\w-]*", argument) and not Path(argument).exists():
            typer.echo(f"hint: if {argument} is a run of a monitor: acr show {argument}", err=True)
    if found.has_failed:
        raise typer.Exit(1)
    levels = SEVERITIES[SEVERITIES.index(fail_on) :] if fail_on is not None else ()
    if any(one.worst in levels for one in found.judged):
        raise typer.Exit(3)


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
