"""`acr audit`: what people ordered, from where and why, and what came of it."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import SEVERITY_STYLES, for_machines, out, parts, wrapped
from monitor_service.formats import clock, moves
from monitor_service.resources import OrderView, Origin


def audit(
    run: RunId,
    limit: Annotated[int, typer.Option(min=1, help="Most orders; the newest ones.")] = 20,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what people ordered, newest first: who, from where, why, and its effect."""
    with monitor_at(url) as monitor:
        orders = list(islice(monitor.orders(run), limit))
    if as_json:
        for_machines({"orders": orders})
        return
    if not orders:
        out.print(parts(f"{run}: nobody has ordered anything yet"))
    for order in orders:
        for line in _told(order):
            out.print(line)


def _told(order: OrderView) -> Iterator[Text]:
    kind = order.kind.replace("_", " ")
    number = "" if order.number is None else f" {order.number}"
    yield parts(
        f"{clock(order.at_s)}  ",
        (order.actor, "bold"),
        f"  {kind}{number}, after step {order.step}",
    )
    changed = ", ".join(moves(order.old, order.new))
    yield from wrapped("; ".join(filter(None, (changed, order.reason))), lead="  ")
    yield from _effect(order)
    if order.origin is not None and (place := _place(order.origin)):
        yield from wrapped(place, lead="  ", style="dim")


def _effect(order: OrderView) -> Iterator[Text]:
    if order.applied_step is None:
        yield parts(("  no report of the trainer says yet that it was applied", "dim"))
        return
    yield parts(f"  applied at step {order.applied_step}")
    for name, why in order.ignored.items():
        yield parts(("  ignored: ", SEVERITY_STYLES["warning"]), f"{name}: {why}")


def _place(origin: Origin) -> str:
    token = f"token {origin.token}" if origin.token else None
    return ", ".join(one for one in (origin.address, token, origin.client) if one)
