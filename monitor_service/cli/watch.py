"""`acr watch`: a run in the terminal, as it happens."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from monitor_service.cli import events
from monitor_service.cli.board import board, injected
from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import INTERRUPTED, drawn, for_machines, hint, out, parts
from monitor_service.cli.watched import KEPT_EVENTS, KEPT_STEPS, START_STEPS, Line, Watched
from monitor_service.client.api import MonitorApi
from monitor_service.client.http import ClientError, NotUnderstood, Unreachable
from monitor_service.client.stream import Lost, Message, Reconnected, Told
from monitor_service.engine.settings import Settings
from monitor_service.formats import NOTHING, age, figure, rate
from monitor_service.resources import EventView, Run, StepRecord

REDRAWN_PER_S = 4
ASKED_AGAIN_S = 1.0
"""What the stream does not tell, such as verdicts, is asked for so often while it tells things."""


def watch(
    run: RunId,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End when the training has ended.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Watch a run live; Ctrl-C ends it.

    Where the output is no terminal: a line for each step and event; with --json, a line of JSON for
    each message.
    """
    screen = Console(highlight=False)
    try:
        with monitor_at(url) as monitor:
            if as_json:
                _as_json(monitor.stream(run), until_end)
            elif screen.is_terminal and not screen.is_dumb_terminal:
                _on_screen(screen, _watched(monitor, run), until_end)
            else:
                _as_lines(monitor.stream(run), until_end)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _on_screen(screen: Console, states: Iterator[Watched], until_end: bool) -> None:
    """Draw what is known again and again; what was seen last stays when it ends."""
    seen = next(states)

    def drawing() -> Group:
        return Group(*map(drawn, board(seen, time.time(), screen.width, screen.height)))

    try:
        with Live(
            get_renderable=drawing,
            console=screen,
            screen=True,
            refresh_per_second=REDRAWN_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            while not (until_end and seen.run.ended is not None):
                seen = next(states)
    finally:
        screen.print(drawing())


def _watched(monitor: MonitorApi, run_id: str) -> Iterator[Watched]:
    """The run, anew with each message."""
    seen: Watched | None = None
    asked_at_s, is_outdated = 0.0, False
    for message in monitor.stream(run_id):
        now_s = time.time()
        if isinstance(message, Told) and isinstance(message.content, Run):
            seen = _begun(monitor, message.content, Line(state="live", since_s=now_s))
        elif seen is None:
            continue
        elif isinstance(message, Lost):
            seen = seen.with_line("lost", now_s)
        elif isinstance(message, Reconnected):
            note = f"lost for {age(message.after_s)}, resumed at step {seen.run.step}"
            seen = seen.with_line("live", now_s, note)
        else:
            seen = _told(seen, message)
            is_outdated = is_outdated or message.kind == "event"
            is_due = is_outdated or now_s - asked_at_s > ASKED_AGAIN_S
            if message.kind == "settings" and is_due:
                with suppress(ClientError, NotUnderstood, Unreachable):
                    seen = replace(seen, run=monitor.run(run_id))
                asked_at_s, is_outdated = now_s, False
        yield seen


def _told(seen: Watched, message: Told) -> Watched:
    match message.content:
        case StepRecord() as record:
            return seen.with_steps([record])
        case EventView() as view:
            return seen.with_events([view])
        case Settings() as settings:
            return seen.with_settings(settings)
    return seen


def _begun(monitor: MonitorApi, run: Run, line: Line) -> Watched:
    """A run with what is known of its past."""
    first = monitor.columns(run.id, ["entropy"], limit=START_STEPS).columns["entropy"]
    seen = Watched(
        run=run, line=line, start=tuple(entropy for entropy in first if entropy is not None)
    )
    newest = list(islice(monitor.events(run.id), KEPT_EVENTS))
    steps = monitor.steps(run.id, first=max(1, run.step - KEPT_STEPS + 1))
    return seen.with_events(reversed(newest)).with_steps(steps)


def _as_lines(messages: Iterable[Message], until_end: bool) -> None:
    shown, is_lost = 0, False
    for message in messages:
        match message:
            case Lost(why=why):
                if not is_lost:
                    hint(f"the connection is lost, and tried again: {why}")
                is_lost = True
            case Reconnected(after_s=after_s):
                hint(f"connected again after {age(after_s)}")
                is_lost = False
            case Told(content=Run() as run):
                # To begin with; or anew, when more was missed than the monitor can tell.
                if run.last is not None and run.last.step > shown:
                    out.print(_line(run.last))
                    shown = run.last.step
            case Told(content=StepRecord() as record):
                out.print(_line(record))
                shown = record.step
            case Told(content=EventView() as view):
                out.print(events.as_line(view))
        if until_end and _is_end(message):
            return


def _as_json(messages: Iterable[Message], until_end: bool) -> None:
    for message in messages:
        match message:
            case Told(kind=kind, id=place, content=content):
                for_machines({"kind": kind, "id": place, "data": content})
            case Lost() | Reconnected():
                for_machines({"kind": type(message).__name__.lower(), "data": message})
        if until_end and _is_end(message):
            return


def _is_end(message: Message) -> bool:
    match message:
        case Told(content=Run(ended=str())):
            return True
        case Told(content=EventView(event=event)):
            return event.kind == "ended"
    return False


def _line(record: StepRecord) -> Text:
    """A step on a line."""
    found, done = record.collapse, record.applied
    effective = rate(done.effective_acr if done else None)
    split = (
        f"wrong {rate(found.acr_wrong)}, correct {rate(found.acr_correct)}, "
        f"other {rate(found.acr_other)}"
    )
    return parts(
        (f"step {record.step}", "bold"),
        f"  ACR {rate(found.acr)} ({split})  effective {effective}",
        f"  threshold {found.threshold:.3f}  injected {injected(record) if done else NOTHING}",
        f"  reward {figure(found.reward_mean)}  entropy {figure(record.scalars.entropy)}",
    )
