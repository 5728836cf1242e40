"""`acr report`: the story of a run on one page, from a monitor or from its logs."""

import os
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from monitor_service.__about__ import __version__
from monitor_service.cli.client import monitor_at
from monitor_service.cli.completion import run_ids
from monitor_service.cli.options import DEFAULT_URL, Url
from monitor_service.cli.terminal import complain, hint
from monitor_service.client.http import ClientError, Unreachable
from monitor_service.diagnose import destination
from monitor_service.diagnose.reading import (
    Format,
    GroupKey,
    GroupSize,
    Reading,
    RewardHigh,
    RewardKey,
    RewardLow,
    StepKey,
    opener,
    reading,
)
from monitor_service.diagnose.report import Diagnosis, Skipped
from monitor_service.diagnose.sources import STANDARD_INPUT
from monitor_service.errors import InvalidInput
from monitor_service.formats import moment
from monitor_service.report import comparison, page
from monitor_service.report.story import Story, gathered
from monitor_service.urls import run_page, without_password
from monitor_service.wire import check_run_id

MOST_NAMED = 3
"""Logs of a folder that an error names."""


def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Id of a run; or a log: a file or folder that is here, - for standard input.",
            show_default=False,
            autocompletion=run_ids,
        ),
    ],
    html: Annotated[Path, typer.Option("--html", help="Page to write; it needs nothing else.")],
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help=f"A run, or a log, to put beside it; up to {comparison.MOST - 1} times.",
            autocompletion=run_ids,
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    format: Format = None,
    reward_low: RewardLow = None,
    reward_high: RewardHigh = None,
    step_key: StepKey = None,
    group_key: GroupKey = None,
    reward_key: RewardKey = None,
    group_size: GroupSize = None,
) -> None:
    """Write the story of a run as one page: alarms, charts, interventions, settings, forecast."""
    options: dict[str, Any] = {
        "format": format,
        "reward_low": reward_low,
        "reward_high": reward_high,
        "step_key": step_key,
        "group_key": group_key,
        "reward_key": reward_key,
        "group_size": group_size,
    }
    names = [run, *(compare or [])]
    _check(names)
    found = reading(**options)
    destination.check(html)
    logs = _read(names, found)
    runs = [name for name in names if name not in logs]
    given = {name: value for name, value in options.items() if value is not None and logs}
    if runs:
        given["url"] = without_password(url)
    about = [
        ("Made", f"{moment(time.time())} UTC, by acr {__version__}"),
        ("Again", _command(names, html, given)),
    ]
    with monitor_at(url) as monitor, _explained(runs):
        subject = logs[run] if run in logs else gathered(monitor, run)
        contenders = [
            comparison.of_log(logs[name]) if name in logs else comparison.of_run(monitor, name)
            for name in (names if compare else ())
        ]
        live = ""
        if isinstance(subject, Story):
            shown = without_password(url)
            about.append(("Monitor", f"acr {subject.version} at {shown}"))
            live = run_page(shown, run)
        written = page.of(subject, contenders, about, live)
    destination.write(html, written)
    print(f"{html}: {html.stat().st_size} bytes")


def _check(names: Sequence[str]) -> None:
    """Raise BadParameter for what is neither a log that is here nor the id of any run."""
    for name in names:
        if names.count(name) > 1:
            raise typer.BadParameter(f"{name} is named twice")
        if _is_here(name):
            continue
        try:
            check_run_id(name)
        except InvalidInput as error:
            text = f"{name!r} is no file or folder here, and no run has such an id: {error.allowed}"
            raise typer.BadParameter(text) from error
    if len(names) > comparison.MOST:
        text = f"--compare: at most {comparison.MOST - 1} times; got {len(names) - 1}"
        raise typer.BadParameter(text)


def _is_here(name: str) -> bool:
    return name == STANDARD_INPUT or os.path.exists(name)


def _read(names: Iterable[str], found: Reading) -> dict[str, Diagnosis]:
    """The log behind each name that is one; ends the program at one that holds none, or several."""
    logs = {}
    with opener() as opened:
        for name in filter(_is_here, names):
            before, skipped = len(found.judged), len(found.skipped)
            found.add(name, opened)
            its = found.judged[before:]
            if len(its) != 1:
                complain(_unfit(name, its, found.skipped[skipped:]))
                raise typer.Exit(1)
            logs[name] = its[0]
    return logs


def _unfit(name: str, judged: Sequence[Diagnosis], skipped: Sequence[Skipped]) -> str:
    if judged:
        paths = ", ".join(one.path for one in judged[:MOST_NAMED])
        more = f" and {len(judged) - MOST_NAMED} more" if len(judged) > MOST_NAMED else ""
        return (
            f"{name} holds {len(judged)} logs, and a report tells of one: {paths}{more}; name it, "
            "or see all with `acr diagnose`"
        )
    reasons = "; ".join(f"{one.place}: {one.reason}" for one in skipped[:MOST_NAMED])
    return f"{name} is here, so no monitor was asked; but it is no log: {reasons}"


@contextmanager
def _explained(runs: Sequence[str]) -> Iterator[None]:
    """Say why a monitor was asked, when that led nowhere."""
    try:
        yield
    except (ClientError, Unreachable) as error:
        if isinstance(error, Unreachable) or error.kind == "run-not-found":
            hint(f"no file or folder here is named so, so a monitor was asked: {', '.join(runs)}")
        raise


def _command(names: Sequence[str], html: Path, options: Mapping[str, Any]) -> str:
    """What to type for the same page."""
    run, *others = names
    words = ["acr", "report", run]
    words += [word for name in others for word in ("--compare", name)]
    words += ["--html", str(html)]
    words += [word for name, at in options.items() for word in (_option(name), str(at))]
    return shlex.join(words)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
