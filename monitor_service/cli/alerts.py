"""`acr alerts`: whether the people who should hear of alarms would."""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from uuid import uuid4

import msgspec
import typer

from monitor_service.alert import Alert
from monitor_service.alerts import post
from monitor_service.alerts.config import AlertConfig, from_environment
from monitor_service.alerts.courier import Pace
from monitor_service.alerts.sink import Answer, Sink
from monitor_service.alerts.sinks import sinks
from monitor_service.cli.options import AsJson, actor
from monitor_service.cli.terminal import FINE, SEVERITY_STYLES, complain, out, parts


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A try as `--json` prints it."""

    sink: str
    place: str
    outcome: str
    answer: str


def try_all(as_json: AsJson = False) -> None:
    """Send a message through every sink that the ACR_ALERT_* variables name.

    From here, with the variables of this shell: run it where the monitor runs, as the monitor does.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    tries = asyncio.run(_tried(from_environment(os.environ)))
    if as_json:
        print(msgspec.json.encode([_shown(*one) for one in tries]).decode())
    elif not tries:
        complain("no sink: the log is off, and neither a webhook nor Slack has an address")
    else:
        for sink, answer in tries:
            style = FINE if answer.outcome == "delivered" else SEVERITY_STYLES["critical"]
            words = (f"{sink.name} ", ""), (answer.outcome, style)
            out.print(parts(*words, f": {sink.place}, {answer.text}"))
    if not tries or any(answer.outcome != "delivered" for _, answer in tries):
        raise typer.Exit(1)


def alerts() -> typer.Typer:
    """The commands as a group of their own."""
    group = typer.Typer(no_args_is_help=True, help="Try the sinks of alerts.")
    group.callback()(lambda: None)  # Or the one command would be the group.
    group.command("test")(try_all)
    return group


async def _tried(config: AlertConfig) -> Sequence[tuple[Sink, Answer]]:
    alert = Alert(
        id=f"test:{uuid4().hex}",
        status="test",
        run_id="test",
        rule=None,
        severity="info",
        step=0,
        since_step=None,
        at_s=time.time(),
        message=f"{actor()} tries whether alerts arrive",
        advice="",
        evidence={},
        url=config.public_url,
    )
    async with post.client() as client:
        found = sinks(config, client, timeout_s=Pace().timeout_s, clock=time.time)
        answers = await asyncio.gather(*(sink.send(alert) for sink in found))
    return list(zip(found, answers, strict=True))


def _shown(sink: Sink, answer: Answer) -> Tried:
    return Tried(sink=sink.name, place=sink.place, outcome=answer.outcome, answer=answer.text)
