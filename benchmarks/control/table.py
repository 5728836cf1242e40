"""The figures as tables. They are printed in Markdown, so that docs/control.md can take them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from rich.box import MARKDOWN
from rich.table import Table

from benchmarks.control.chance import RUNS
from benchmarks.control.laws import GUARDED, LAWS, OBSERVE, PAPER
from benchmarks.control.summary import FLAP_STEPS, Cell, LawFigures

NONE = "-"

Titled = tuple[str, Table]


def tables(cells: Sequence[Cell], chances: Mapping[tuple[str, int], float]) -> list[Titled]:
    """Every table with its title; `chances` are those of `benchmarks.control.chance`."""
    others = sorted({rule for cell in cells for rule in cell.alarms} - {"stall", "volatility"})
    return [
        _by_law(cells, "Duty: percent of steps at which a law says to inject", _duty),
        _by_law(cells, "Activations per run", lambda found: _short(found.activations)),
        _by_law(
            cells,
            f"Flaps per run: activations within {FLAP_STEPS} steps of an end",
            lambda found: _short(found.flaps),
        ),
        _chances(chances),
        _delays(cells),
        _by_scenario(
            cells,
            "The paper's law",
            {
                "tau at the end": lambda cell: f"{_paper(cell).threshold_end[1]:.2f}",
                "5-95 %, apart": lambda cell: f"{_apart(_paper(cell).threshold_end):.2f}",
                "duty, last 100": lambda cell: _percent(_paper(cell).duty_last),
                "never, % of runs": lambda cell: _percent(_paper(cell).never),
                "P(J rose)": lambda cell: f"{cell.rises:.2f}",
                "cov(sign, ACR)": lambda cell: f"{cell.covariance:+.3f}",
            },
        ),
        _by_scenario(
            cells,
            "What reaches the optimizer: percent of groups, and of the mass, the sum of |A|",
            {
                "paper: groups": lambda cell: _percent(_paper(cell).group_share),
                "paper: mass": lambda cell: _percent(_paper(cell).mass_share),
                f"{OBSERVE.name}: groups": lambda cell: _percent(_free(cell).group_share),
                f"{OBSERVE.name}: mass": lambda cell: _percent(_free(cell).mass_share),
                "most groups, pooled": lambda cell: _percent(_free(cell).most_groups),
                "most mass, pooled": lambda cell: _percent(_free(cell).most_mass),
            },
        ),
        _by_scenario(
            cells,
            "Benefit checks of guarded, all runs together; nothing here has a benefit",
            {
                "checks": lambda cell: str(cell.laws[GUARDED.name].checks),
                "passed by chance": lambda cell: str(cell.laws[GUARDED.name].benefits),
                "runs that lock, %": lambda cell: _percent(cell.laws[GUARDED.name].locked),
            },
        ),
        _by_scenario(
            cells,
            "Percent of runs in which an alarm was raised; 'raw' are the rules as published",
            {
                "stall, raw": lambda cell: _percent(cell.raw_stall),
                "stall": partial(_raised, "stall"),
                "volatility, raw": lambda cell: _percent(cell.raw_volatility),
                "volatility": partial(_raised, "volatility"),
                **{rule: partial(_raised, rule) for rule in others},
            },
        ),
    ]


def _by_scenario(
    cells: Sequence[Cell], title: str, columns: Mapping[str, Callable[[Cell], str]]
) -> Titled:
    """A row for each scenario, the values of all N in one place."""
    sizes = " / ".join(str(size) for size in sorted({cell.groups for cell in cells}))
    table = _table("scenario", "true ACR", *columns)
    for scenario in dict.fromkeys(cell.scenario for cell in cells):
        row = [cell for cell in cells if cell.scenario == scenario]
        texts = (" / ".join(map(text, row)) for text in columns.values())
        table.add_row(scenario.name, _range(row[0].true_acr), *texts)
    return f"{title}; at N = {sizes}", table


def _by_law(cells: Sequence[Cell], title: str, text: Callable[[LawFigures], str]) -> Titled:
    def of(law: str) -> Callable[[Cell], str]:
        # A law that would only repeat another at some N shows the other's values there.
        return lambda cell: text(cell.laws.get(law, cell.laws[PAPER.name]))

    return _by_scenario(cells, title, {law.name: of(law.name) for law in LAWS})


def _chances(chances: Mapping[tuple[str, int], float]) -> Titled:
    sizes = sorted({groups for _, groups in chances})
    table = _table("scenario", *(f"N = {size}" for size in sizes))
    for name in dict.fromkeys(name for name, _ in chances):
        table.add_row(name, *(f"{100 * chances[name, size]:.2f}" for size in sizes))
    title = f"Percent of {RUNS} runs in which chance activates guarded where nothing is wrong"
    return title, table


def _delays(cells: Sequence[Cell]) -> Titled:
    laws = (PAPER, OBSERVE)
    table = _table(
        *("scenario", "N"),
        *(f"{law.name}: {what}" for law in laws for what in ("median (5-95 %)", "missed")),
    )
    for cell in cells:
        figures = [cell.laws[law.name] for law in laws]
        if figures[0].missed is None:
            continue
        row: list[str] = []
        for found in figures:
            row += [_spread(found.delay), f"{_percent(found.missed)} %"]
        table.add_row(cell.scenario.name, str(cell.groups), *row)
    return "Steps from the first at which the true all-wrong share is above the entry level", table


def _paper(cell: Cell) -> LawFigures:
    return cell.laws[PAPER.name]


def _free(cell: Cell) -> LawFigures:
    return cell.laws[OBSERVE.name]


def _duty(found: LawFigures) -> str:
    return _percent(found.duty)


def _raised(rule: str, cell: Cell) -> str:
    return _percent(cell.alarms.get(rule, 0.0))


def _table(*columns: str) -> Table:
    table = Table(box=MARKDOWN)
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at else "left", no_wrap=True)
    return table


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f}"


def _short(value: float) -> str:
    if not value or value >= 10:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"


def _range(ends: Iterable[float]) -> str:
    first, last = ends
    return f"{first:.2f}" if round(first, 2) == round(last, 2) else f"{first:.2f} to {last:.2f}"


def _apart(spread: tuple[float, float, float]) -> float:
    return spread[2] - spread[0]


def _spread(values: tuple[float, float, float] | None) -> str:
    if values is None:
        return NONE
    low, middle, high = (f"{value:.0f}" for value in values)
    return middle if low == high else f"{middle} ({low}-{high})"
