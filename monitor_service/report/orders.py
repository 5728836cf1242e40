"""What people ordered, as rows of a table and as points of a timeline."""

from collections.abc import Iterator, Sequence
from typing import Any

from monitor_service.diagnose.markup import Cell
from monitor_service.formats import moment, value
from monitor_service.resources import OrderView

HEAD = ("#", "when, UTC", "after step", "who", "what", "why", "applied")
NEAR = 0.04
"""Share of the steps within which the numbers of two orders would cover each other."""


def rows(orders: Sequence[OrderView]) -> list[tuple[Cell, ...]]:
    """One for each, numbered from 1."""
    return [
        (number, moment(one.at_s), one.step, one.actor, _what(one), one.reason, _effect(one))
        for number, one in enumerate(orders, start=1)
    ]


def at(order: OrderView) -> int:
    """The first step made with it; the newest one when it was given while nobody says so."""
    return order.step if order.applied_step is None else order.applied_step


def points(orders: Sequence[OrderView], num_steps: float) -> Iterator[tuple[float, str]]:
    """Their numbers where they acted; those of orders that are near each other together."""
    groups: list[list[int]] = []
    for index, order in enumerate(orders):
        if groups and at(order) - at(orders[groups[-1][0]]) < NEAR * num_steps:
            groups[-1].append(index)
        else:
            groups.append([index])
    for first, *others in groups:
        name = f"{first + 1}-{others[-1] + 1}" if others else str(first + 1)
        yield at(orders[first]), name


def killed(orders: Sequence[OrderView], newest: int) -> Iterator[tuple[float, float, str]]:
    """Spans in which the run was killed."""
    since: int | None = None
    for order in orders:
        if order.kind == "killed" and since is None:
            since = at(order)
        elif order.kind == "rearmed" and since is not None:
            yield since, at(order), "soft"
            since = None
    if since is not None:
        yield since, newest, "soft"


def _what(order: OrderView) -> str:
    number = "" if order.number is None else f" {order.number}"
    name = f"{order.kind.replace('_', ' ')}{number}"
    if order.kind in ("killed", "rearmed"):
        return name
    if order.kind == "command_given":
        return f"{name}: {order.new['command']['kind']}"
    moved = [name for name, new in order.new.items() if order.old.get(name, ...) != new]
    changes = (f"{one}: {_known(order.old, one)} -> {value(order.new[one])}" for one in moved)
    return "\n".join((name, *changes))


def _known(settings: dict[str, Any], name: str) -> str:
    return value(settings[name]) if name in settings else "-"


def _effect(order: OrderView) -> str:
    if order.applied_step is None:
        return "no report says so"
    lines = [f"at step {order.applied_step}"]
    lines += [f"ignored: {name}: {why}" for name, why in order.ignored.items()]
    return "\n".join(lines)
