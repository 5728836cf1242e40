"""`acr groups`: the rewards of one step, group by group."""

from typing import Annotated

import typer
from rich.text import Text

from monitor_service.cli.client import monitor_at
from monitor_service.cli.options import DEFAULT_URL, AsJson, RunId, Url
from monitor_service.cli.terminal import drawn, for_machines, out, parts
from monitor_service.formats import NOTHING, plural
from monitor_service.resources import Group, StepGroups

SHADES = "░▒▓█"
"""From the reward of a wrong answer to that of a right one."""
NOT_SCORED = "·"
STYLES = {
    "mixed": "",
    "all_correct": "bright_blue",
    "all_wrong": "red",
    "uniform_other": "magenta",
    "unscored": "dim",
}


def groups(
    run: RunId,
    step: Annotated[
        int, typer.Argument(metavar="STEP", min=1, show_default=False, help="Which step.")
    ],
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Of an attempt that another has replaced.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the rewards of a step: a row for each group, a cell for each completion."""
    with monitor_at(url) as monitor:
        found = monitor.groups(run, step, attempt=attempt)
    if as_json:
        for_machines(found)
        return
    counts = {kind: sum(one.outcome == kind for one in found.groups) for kind in STYLES}
    told = ", ".join(f"{count} {_word(kind)}" for kind, count in counts.items() if count)
    out.print(
        parts(
            (found.run_id, "bold"),
            f"  step {found.step}, attempt {found.attempt}: {plural(len(found.groups), 'group')}: ",
            told,
        )
    )
    low, high = _range(found)
    scale = f"{low:g} {SHADES} {high:g}, {NOT_SCORED} not scored"
    out.print(drawn(parts((f"rewards: {scale}", "dim"))))
    for number, group in enumerate(found.groups, start=1):
        out.print(drawn(_line(number, group, low, high)))


def _line(number: int, group: Group, low: float, high: float) -> Text:
    cells = "".join(_shade(value, low, high) for value in group.rewards)
    mean = NOTHING if group.mean is None else f"{group.mean:.3g}"
    style = STYLES[group.outcome]
    return parts((f"{number:>5}  ", "dim"), (cells, style), f"  {mean:>6}  ", _told(group))


def _told(group: Group) -> tuple[str, str]:
    return ("" if group.outcome == "mixed" else _word(group.outcome), STYLES[group.outcome])


def _word(outcome: str) -> str:
    return outcome.replace("_", " ")


def _range(found: StepGroups) -> tuple[float, float]:
    """Of the declared rewards; without bounds, of those of the step."""
    if found.reward_low is not None and found.reward_high is not None:
        return found.reward_low, found.reward_high
    known = [value for one in found.groups for value in one.rewards if value is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _shade(value: float | None, low: float, high: float) -> str:
    if value is None:
        return NOT_SCORED
    share = min(1.0, max(0.0, (value - low) / (high - low or 1.0)))
    return SHADES[round(3 * share)]
