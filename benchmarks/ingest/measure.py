"""CPU time of a report, in rounds: every contender gets a burst, then the next, then again."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figures import Median, median
from benchmarks.ingest.contenders import BASELINE, Contender
from benchmarks.ingest.floors import Arithmetic
from benchmarks.ingest.load import Burst, fire, outcome, prepare
from benchmarks.processes import cpu_s
from benchmarks.worker import Worker

SIZES = ((16, 8), (128, 8), (1024, 16))
"""(groups, completions of each) of a report."""
RUNS = 8
"""That report at once to one contender."""
STD, ADVANCE = "NumPy std of the groups", "the engine's step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU microseconds per report in one burst."""

    service_us: float
    redis_us: float | None
    load_share: float
    """Of one core, that the load process was busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one contender spends on a report, over all rounds.

    Attributes:
        name: of the contender.
        groups, size: of the report.
        reports: that were recorded and counted.
        service_us: CPU microseconds of the service's process per report.
        rounds_us: the same of every round.
        redis_us: of its Redis; None when it has none.
        ratio: what the baseline's process spends over what this one does, round by round.
        load_share: busiest the load process was, of one core.
    """

    name: str
    groups: int
    size: int
    reports: int
    service_us: Median
    rounds_us: tuple[float, ...]
    redis_us: Median | None
    ratio: Median
    load_share: float


def measure(
    contenders: Sequence[Contender],
    load: Worker,
    *,
    sizes: Sequence[tuple[int, int]] = SIZES,
    rounds: int,
    num_reports: int,
    on_turn: Callable[[int, int], None] = lambda done, total: None,
) -> list[Cost]:
    """Measure everybody at every size; a first round is not counted.

    Args:
        contenders: the first is the baseline.
        load: the process that sends.
        sizes: (groups, completions of each).
        rounds: counted.
        num_reports: of each burst; a multiple of the runs times the largest batch.
        on_turn: told (bursts done, bursts in all).
    """
    spent: defaultdict[tuple[int, int, str], list[Spent]] = defaultdict(list)
    arithmetic = {size: Arithmetic(*size) for size in sizes}
    turns = _turns(contenders, sizes, rounds)
    for done, (at, size, contender) in enumerate(turns, 1):
        found = _burst(contender, load, size, at, num_reports)
        if at:
            spent[*size, contender.name].append(found)
        if contender.name == BASELINE and at:
            floors = {
                STD: arithmetic[size].std_us(num_reports),
                ADVANCE: arithmetic[size].advance_us(num_reports),
            }
            for name, cost_us in floors.items():
                spent[*size, name].append(Spent(service_us=cost_us, redis_us=None, load_share=0))
        on_turn(done, len(turns))
    return [
        _cost(name, size, spent[*size, name], spent[*size, BASELINE], num_reports)
        for size in sizes
        for name in (*(one.name for one in contenders), ADVANCE, STD)
    ]


def _turns(
    contenders: Sequence[Contender], sizes: Sequence[tuple[int, int]], rounds: int
) -> list[tuple[int, tuple[int, int], Contender]]:
    """(round, size, contender): each round begins with another contender."""
    return [
        (at, size, contenders[(at + offset) % len(contenders)])
        for at in range(rounds + 1)
        for size in sizes
        for offset in range(len(contenders))
    ]


def _burst(
    contender: Contender, load: Worker, size: tuple[int, int], at: int, num_reports: int
) -> Spent:
    groups, completions = size
    num_steps = num_reports // RUNS
    prepare(
        load,
        Burst(
            url=contender.url,
            runs=tuple(f"bench-{groups}x{completions}-{run}" for run in range(RUNS)),
            groups=groups,
            size=completions,
            first_step=at * num_steps + 1,
            num_steps=num_steps,
            media_type=contender.media_type,
            per_request=contender.per_request,
            is_service=contender.redis_pid is not None,
        ),
    )
    before = list(_clocks(contender))
    fire(load)
    used = [now - then for now, then in zip(_clocks(contender), before, strict=True)]
    sent = outcome(load)
    per_report = [1e6 * one / sent.reports for one in used]
    return Spent(
        service_us=per_report[0],
        redis_us=per_report[1] if len(per_report) > 1 else None,
        load_share=sent.cpu_s / sent.wall_s,
    )


def _clocks(contender: Contender) -> Iterator[float]:
    """CPU seconds so far of the service, and of its Redis where it has one."""
    yield cpu_s(contender.pid)
    if contender.redis_pid is not None:
        yield cpu_s(contender.redis_pid)


def _cost(
    name: str, size: tuple[int, int], spent: list[Spent], baseline: list[Spent], num_reports: int
) -> Cost:
    redis_us = [one.redis_us for one in spent if one.redis_us is not None]
    pairs = zip(baseline, spent, strict=True)
    return Cost(
        name=name,
        groups=size[0],
        size=size[1],
        reports=num_reports * len(spent),
        service_us=median([one.service_us for one in spent]),
        rounds_us=tuple(one.service_us for one in spent),
        redis_us=median(redis_us) if redis_us else None,
        ratio=median([theirs.service_us / ours.service_us for theirs, ours in pairs]),
        load_share=max(one.load_share for one in spent),
    )
