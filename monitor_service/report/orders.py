"""What people ordered, as rows of a table and as points of a timeline."""

from collections.abc import Iterable, Iterator, Sequence

from monitor_service.diagnose.markup import Cell
from monitor_service.formats import moment, moves
from monitor_service.resources import EventView, OrderView

HEAD = ("#", "when, UTC", "after step", "who", "what", "why", "applied")
NEAR = 0.04
"""Share of the steps within which the numbers of two orders would cover each other."""


def rows(orders: Sequence[OrderView]) -> list[tuple[Cell, ...]]:
    """One for each, numbered from 1."""
    return [
        (number, moment(one.at_s), one.step, one.actor, _what(one), one.reason, _effect(one))
        for number, one in enumerate(orders, start=1)
    ]


def places(orders: Iterable[OrderView], resumes: Iterable[EventView]) -> list[int]:
    """The first step made with each; the newest one when it was given while nobody says so.

    What people set outlives a resume: where a later attempt goes back behind it, the first of that.
    """
    starts = [(view.at_s, view.event.step + 1) for view in resumes]
    return [
        min(
            [one.step if one.applied_step is None else one.applied_step]
            + [step for at_s, step in starts if at_s > one.at_s]
        )
        for one in orders
    ]


def points(at: Sequence[int], num_steps: float) -> Iterator[tuple[float, str]]:
    """Numbers of orders at their places; those that are near each other together."""
    groups: list[list[int]] = []
    for index, step in enumerate(at):
        if groups and step - at[groups[-1][0]] < NEAR * num_steps:
            groups[-1].append(index)
        else:
            groups.append([index])
    for first, *others in groups:
        name = f"{first + 1}-{others[-1] + 1}" if others else str(first + 1)
        yield at[first], name


def killed(
    orders: Sequence[OrderView], at: Sequence[int], newest: int
) -> Iterator[tuple[float, float, str]]:
    """Spans in which the run was killed; `at` has the places of the orders."""
    since: int | None = None
    for order, step in zip(orders, at, strict=True):
        if order.kind == "killed" and since is None:
            since = step
        elif order.kind == "rearmed" and since is not None:
            yield since, step, "soft"
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
    return "\n".join((name, *moves(order.old, order.new)))


def _effect(order: OrderView) -> str:
    if order.applied_step is None:
        return "no report says so"
    lines = [f"at step {order.applied_step}"]
    lines += [f"ignored: {name}: {why}" for name, why in order.ignored.items()]
    return "\n".join(lines)
