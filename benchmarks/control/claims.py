"""What docs/control.md says of the laws, each with the numbers that carry or refute it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.control.laws import GUARDED, OBSERVE, PAPER
from benchmarks.control.scenarios import (
    FLAT_MID,
    HARD,
    HEALTHY,
    IMPROVING,
    NOISY,
    REGRESSING,
    SATURATING,
    Scenario,
)
from benchmarks.control.summary import Cell

NEARLY_ALL = 0.95
"""Share of runs that counts as nearly all of them."""

RARELY = 0.01
"""Share of runs up to which chance may activate what should stay quiet."""

Check = Callable[[Sequence[Cell]], tuple[bool, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A claim, whether it holds, and why."""

    claim: str
    holds: bool
    numbers: str


def judged(cells: Sequence[Cell], chances: Mapping[tuple[str, int], float]) -> list[Verdict]:
    """Every claim against these cells, which have to include every scenario.

    `chances`: (scenario, N) -> share of runs in which chance alone activates guarded.
    """
    found = []
    for claim, check in _CLAIMS:
        holds, numbers = check(cells)
        found.append(Verdict(claim=claim, holds=holds, numbers=numbers))
    (name, groups), most = max(chances.items(), key=lambda one: one[1])
    rarely = Verdict(
        claim=f"where nothing is wrong, chance activates guarded in at most {RARELY:.0%} of runs",
        holds=most <= RARELY,
        numbers=f"at most {most:.2%} ({name}, N = {groups})",
    )
    return [rarely, *found]


def _of(cells: Sequence[Cell], *scenarios: Scenario) -> list[Cell]:
    return [cell for cell in cells if cell.scenario in scenarios]


def _stays_quiet(*scenarios: Scenario) -> Check:
    def check(cells: Sequence[Cell]) -> tuple[bool, str]:
        chosen = _of(cells, *scenarios)
        count = sum(
            round(cell.laws[law.name].activations * cell.runs)
            for cell in chosen
            for law in (OBSERVE, GUARDED)
        )
        return count == 0, f"{count} activations in {2 * sum(cell.runs for cell in chosen)} runs"

    return check


def _acts(cells: Sequence[Cell]) -> tuple[bool, str]:
    shares = [
        (cell.scenario.name, cell.groups, 1 - cell.laws[OBSERVE.name].never)
        for cell in _of(cells, HARD, REGRESSING)
    ]
    name, groups, least = min(shares, key=lambda found: found[2])
    return least >= NEARLY_ALL, f"in at least {least:.0%} of the runs ({name}, N = {groups})"


def _caps(cells: Sequence[Cell]) -> tuple[bool, str]:
    figures = [cell.laws[OBSERVE.name] for cell in cells]
    groups = max(found.most_groups or 0.0 for found in figures)
    mass = max(found.most_mass or 0.0 for found in figures)
    settings = OBSERVE.settings
    holds = (
        groups <= settings.max_group_fraction + 1e-9 and mass <= settings.max_mass_fraction + 1e-9
    )
    return holds, f"at most {groups:.3f} of the groups and {mass:.3f} of the sum of |A|"


def _steady(cells: Sequence[Cell]) -> tuple[bool, str]:
    most = max(cell.laws[law.name].flaps for cell in cells for law in (OBSERVE, GUARDED))
    return most == 0, f"{most:g} flaps a run at most"


def _wide(cells: Sequence[Cell]) -> tuple[bool, str]:
    """The paper's duty depends on N: compared within the scenario where it differs most."""
    spans = []
    for scenario in dict.fromkeys(cell.scenario for cell in cells):
        duties = [(cell.laws[PAPER.name].duty, cell.groups) for cell in _of(cells, scenario)]
        spans.append((max(duties)[0] - min(duties)[0], scenario.name, min(duties), max(duties)))
    span, name, (least, at), (most, high) = max(spans)
    return span > 0.25, f"{name}: {least:.2f} at N = {at}, {most:.2f} at N = {high}"


def _typed(cells: Sequence[Cell]) -> tuple[bool, str]:
    """Down on all-wrong groups and up on all-correct ones, at the smallest N."""
    smallest = min(cell.groups for cell in cells)
    ends = {
        cell.scenario: cell.laws[PAPER.name].threshold_end[1]
        for cell in cells
        if cell.groups == smallest
    }
    low, high = ends[HARD], ends[SATURATING]
    holds = low < 0.11 and high > 0.89
    return holds, f"N = {smallest}: median tau {low:.2f} on flat hard, {high:.2f} on saturating"


def _covarying(cells: Sequence[Cell]) -> tuple[bool, str]:
    down = max(cell.covariance for cell in _of(cells, HARD, REGRESSING))
    up = min(cell.covariance for cell in _of(cells, SATURATING))
    return down < 0 < up, f"at most {down:+.3f} on flat hard and regressing, at least {up:+.3f}"


def _coin(cells: Sequence[Cell]) -> tuple[bool, str]:
    large = max(cell.groups for cell in cells)
    shares = [
        cell.rises / (cell.rises + cell.falls)
        for cell in _of(cells, IMPROVING, REGRESSING)
        if cell.groups == large
    ]
    holds = all(abs(share - 0.5) < 0.05 for share in shares)
    return holds, f"N = {large}: {shares[0]:.3f} when improving, {shares[-1]:.3f} when regressing"


def _stuck(cells: Sequence[Cell]) -> tuple[bool, str]:
    large = max(cell.groups for cell in cells)
    never = [cell.laws[PAPER.name].never for cell in _of(cells, IMPROVING) if cell.groups == large]
    return min(never) >= 0.9, f"N = {large}: {min(never):.0%} of improving runs never trigger"


_CLAIMS: Sequence[tuple[str, Check]] = (
    (
        "guarded makes no activation on improving, flat-mid, healthy and noisy runs, at any N",
        _stays_quiet(IMPROVING, FLAT_MID, HEALTHY, NOISY),
    ),
    (
        "guarded ignores convergence: no activation on saturating runs, at any N",
        _stays_quiet(SATURATING),
    ),
    ("guarded acts on flat hard and regressing runs, at every N", _acts),
    ("guarded never flaps", _steady),
    ("the caps of guarded hold over the last groups at every step, at every N", _caps),
    ("the duty of the paper's law depends on N", _wide),
    ("its tau follows the type of collapse, not progress", _typed),
    ("sign(dJ) goes with ACR: below 0 on wrong data, above 0 on saturating data", _covarying),
    ("sign(dJ) is nearly a coin toss, whether reward rises or falls", _coin),
    ("with many groups it hardly leaves its start, and misses moderate collapse", _stuck),
)
"""In words, and how each is checked."""
