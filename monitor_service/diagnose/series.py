"""A log as figures over steps: which key stands for which figure, and what follows from it.

Where a log holds rewards of groups, everything about collapse comes from them. Where it only holds
aggregates, the share of groups without signal is taken from what there is, the best first:

    the share itself (TRL's frac_reward_zero_std)  >  1 - share of mixed groups  >  all-wrong +
    all-correct groups  >  steps on which the reward did not differ at all (a std of exactly 0)

What each leaves open is said in `Series.caveats`.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from monitor_service.diagnose.log import Cell, Log
from monitor_service.diagnose.vocabulary import FIGURES, component_of
from monitor_service.engine.collapse import REWARD_LIMIT, RewardRange

ASSUMED_GROUPS = 16
"""Groups behind a row's share when nothing tells; only the weight of a row in pooled rates."""

_SHARE_ROUNDING = 6e-5
"""How far a logged share may be from a multiple of 1/N: some logs write four decimals."""

_SIDES_ROUNDING = 2e-3
"""How far two logged sides may be above the share they make up: each is rounded, to three decimals
at the worst."""

_ANY_SHARE = 0.01
"""In units of 1/N: with a larger tolerance nearly every share would pass for a multiple."""

_ALWAYS_MEASURED = {"reward_mean", "loss", "grad_norm"}
"""No trainer leaves these out: where they are never a number, the run was broken from the start."""

SUMMED_KL = "objective/kl"
"""Key of a KL that TRL's PPO and RLOO sum over the tokens of a completion."""

UPDATE_KL = {
    *("approx_kl", "actor/ppo_kl", "ppo_kl", "policy/approxkl_avg"),
    *("optim/kl_sample_train_v1", "optim/kl_sample_train_v2"),
}
"""Keys of the KL of one update; the others are against a reference policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """What a row says about groups without signal; rates in [0, 1]."""

    acr: float
    wrong: float | None
    correct: float | None
    num_groups: int


MeanStd = tuple[float | None, float | None]


@dataclass(slots=True)
class Series:
    """Figures over steps.

    Attributes:
        steps: all steps of the log, in order.
        values: figure -> step -> value; finite numbers only.
        keys: figure -> the key it came from, as the log spells it.
        components: reward function -> step -> (mean, std).
        non_finite: step -> figures that were NaN or infinite there.
        collapse: step -> what its row says; empty when the log has groups.
        weights: step -> completions behind it; empty when the log has no groups.
        is_lower_bound: whether `collapse` counts only a part of the groups without signal.
        is_partial: whether ACR is known only on steps where it is 1.
        num_groups_known: whether `Collapse.num_groups` is more than an assumption.
    """

    steps: list[int] = field(default_factory=list)
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    components: dict[str, dict[int, tuple[float | None, float | None]]] = field(
        default_factory=dict
    )
    non_finite: dict[int, tuple[str, ...]] = field(default_factory=dict)
    collapse: dict[int, Collapse] = field(default_factory=dict)
    weights: dict[int, int] = field(default_factory=dict)
    is_lower_bound: bool = False
    is_partial: bool = False
    num_groups_known: bool = True
    caveats: list[str] = field(default_factory=list)


def series_of(log: Log, reward_range: RewardRange | None) -> Series:
    """The figures of a log; `reward_range` is the declared one, if any."""
    series = Series(steps=sorted({*log.cells, *log.groups}))
    present: dict[str, bool] = {}
    for cells in log.cells.values():
        for key, cell in cells.items():
            present[key] = present.get(key, False) or cell.count > 0
    for figure in FIGURES.values():
        key = next((alias for alias in figure.aliases if present.get(alias)), "")
        if not key:
            dead = next((alias for alias in figure.aliases if alias in present), None)
            if dead is not None:
                series.caveats.append(f"{dead} is never a finite number in this log")
                if figure.name in _ALWAYS_MEASURED:
                    _note_non_finite(log, dead, figure.name, series)
            continue
        series.keys[figure.name] = key
        series.values[figure.name] = _column(log, key, figure.merge)
        if figure.must_be_finite:
            _note_non_finite(log, key, figure.name, series)
    _components(log, present, series)
    _signs(series)
    if not log.groups:
        _collapse(log, series, reward_range)
    return series


def _column(log: Log, key: str, merge: str) -> dict[int, float]:
    column = {}
    for step in sorted(log.cells):
        cell = log.cells[step].get(key)
        value = None if cell is None else cell.value(merge)
        if value is not None:
            column[step] = value
    return column


def _note_non_finite(log: Log, key: str, name: str, series: Series) -> None:
    for step, cells in log.cells.items():
        cell = cells.get(key)
        if cell is not None and cell.is_non_finite:
            series.non_finite[step] = (*series.non_finite.get(step, ()), name)


def _components(log: Log, present: Mapping[str, bool], series: Series) -> None:
    keys: dict[str, dict[str, str]] = {}
    for key, has_numbers in present.items():
        part = component_of(key)
        if part is not None and has_numbers:
            keys.setdefault(part[0], {})[part[1]] = key
    for name, kinds in keys.items():
        means = _column(log, kinds["mean"], "mean") if "mean" in kinds else {}
        stds = _column(log, kinds["std"], "mean") if "std" in kinds else {}
        series.components[name] = {
            step: (means.get(step), stds.get(step)) for step in sorted({*means, *stds})
        }


def _signs(series: Series) -> None:
    key = series.keys.get("kl", "")
    if key == SUMMED_KL:
        del series.keys["kl"], series.values["kl"]
        series.caveats.append(
            f"{key} is a sum over the tokens of a completion: the levels of the KL rules are for a "
            "mean, so it is not judged"
        )
    elif key in UPDATE_KL:
        # The usual estimator of one update's KL can be negative; its size is what matters.
        series.values["kl"] = {step: abs(value) for step, value in series.values["kl"].items()}
        series.caveats.append(
            f"{key} is the KL of an update (policy before and after), its size taken; drift from "
            "a reference policy is not in this log"
        )
    name = series.keys.get("entropy", "")
    values = series.values.get("entropy", {})
    if (
        name.endswith("entropy_loss")
        and values
        and max(values.values()) <= 0 > min(values.values())
    ):
        series.values["entropy"] = {step: -value for step, value in values.items()}
        series.caveats.append(f"{name} is never positive: read as minus the entropy")


def _collapse(log: Log, series: Series, reward_range: RewardRange | None) -> None:
    shares = series.values.get("zero_std") or {
        step: 1 - value for step, value in series.values.get("mixed", {}).items()
    }
    wrong, correct = _sides(log, series)
    if shares:
        key = series.keys.get("zero_std") or series.keys["mixed"]
        if "zero_std" in series.keys and key != "acr":
            series.caveats.append(
                f"{key} is taken as ACR as logged: TRL's is 0 or 1 for the whole batch under "
                "scale_rewards=batch and normalize_then_sum, and misses constant rewards such as "
                "0.3 that float32 cannot hold exactly"
            )
    elif wrong or correct:
        shares = {
            step: min(1.0, wrong.get(step, 0.0) + correct.get(step, 0.0))
            for step in sorted({*wrong, *correct})
        }
        series.is_lower_bound = True
        series.caveats.append("groups that agree on a middle reward are not counted in this log")
    elif "reward_std" in series.values:
        _from_std(series, reward_range)
        return
    if not shares:
        return
    if max(shares.values()) > 1 or min(shares.values()) < 0:
        series.caveats.append("the share of groups without signal leaves [0, 1]; not used")
        return
    num_groups = _num_groups(log, series, shares)
    sides: dict[int, tuple[float, float]] = {}
    if wrong and correct:
        both = sorted({*shares} & {*wrong} & {*correct})
        found = {step: _within(shares[step], wrong[step], correct[step]) for step in both}
        sides = {step: pair for step, pair in found.items() if pair is not None}
        if len(sides) < len(found):
            series.caveats.append(
                "all-wrong and all-correct groups are more than all groups without signal on "
                f"{len(found) - len(sides)} steps; their sides are not used there"
            )
    for step, share in shares.items():
        of_wrong, of_correct = sides.get(step, (None, None))
        series.collapse[step] = Collapse(
            acr=share, wrong=of_wrong, correct=of_correct, num_groups=num_groups.get(step, 1)
        )
    if not (wrong and correct):
        series.caveats.append(
            "whether groups without signal were right or wrong is not in this log"
        )


def _within(share: float, wrong: float, correct: float) -> tuple[float, float] | None:
    """Both sides, together no more than the share they are part of; None if they contradict it."""
    total = wrong + correct
    if min(wrong, correct) < 0 or total > share + _SIDES_ROUNDING:
        return None
    factor = min(1.0, share / total) if total else 1.0
    return wrong * factor, correct * factor


def _sides(log: Log, series: Series) -> tuple[dict[int, float], dict[int, float]]:
    """Shares of all-wrong and of all-correct groups, from shares or from counts."""
    sides = []
    groups = series.values.get("num_groups", {})
    for share, count in (("acr_wrong", "num_wrong"), ("acr_correct", "num_correct")):
        values = series.values.get(share) or series.values.get(count, {})
        if values and max(values.values()) > 1:
            values = {
                step: value / of
                for step, value in values.items()
                if (of := groups.get(step, 0.0)) > 0 and of >= value
            }
            if not values:
                key = series.keys.get(share) or series.keys.get(count)
                series.caveats.append(f"{key} counts groups, but not out of how many; not used")
        sides.append(values)
    return sides[0], sides[1]


def _num_groups(log: Log, series: Series, shares: Mapping[int, float]) -> dict[int, int]:
    if known := series.values.get("num_groups"):
        return {step: max(1, round(known.get(step, 1))) for step in shares}
    if (key := series.keys.get("num_wrong") or series.keys.get("num_correct")) is not None:
        return {step: _rows(log.cells.get(step, {}), key) for step in shares}
    guess = groups_behind(shares.values())
    # A multiple would only make the engine's counts larger, its noise smaller: both are safe.
    series.num_groups_known = guess is not None
    series.caveats.append(
        "how many groups a row stands for is not in this log; "
        + (
            f"{ASSUMED_GROUPS} are assumed"
            if guess is None
            else "its shares are 0 or 1 only, so it may be one"
            if guess == 1
            else f"its shares are multiples of 1/{guess}, so {guess} or a multiple of it"
        )
    )
    return dict.fromkeys(shares, guess or ASSUMED_GROUPS)


def _rows(cells: Mapping[str, Cell], key: str) -> int:
    cell = cells.get(key)
    return max(1, cell.count) if cell is not None else 1


def groups_behind(shares: Iterable[float]) -> int | None:
    """The fewest groups whose shares these can be; None when no number up to the limit explains.

    >>> groups_behind([0.25, 0.5, 0.0, 0.125]), groups_behind([0.1415927, 0.7182818])
    (8, None)
    """
    distinct = sorted({round(share, 6) for share in shares})
    for num in itertools.count(1):
        # With many groups nearly every share is close to a multiple.
        if num * _SHARE_ROUNDING > 0.02:
            return None
        if all(
            abs(share * num - round(share * num)) <= num * _SHARE_ROUNDING for share in distinct
        ):
            return num
    raise AssertionError("the tolerance grows")


def _from_std(series: Series, reward_range: RewardRange | None) -> None:
    """Only whether the reward differed at all: a bound from below."""
    stds = series.values["reward_std"]
    rewards = series.values.get("reward_mean", {})
    groups = series.values.get("num_groups", {})
    several = any(count > 1 for count in groups.values())
    is_guess = reward_range is None
    reward_range = reward_range or _unit_range(rewards.values())
    for step, std in stds.items():
        if std == 0:
            side = _side(rewards.get(step), reward_range)
            series.collapse[step] = Collapse(
                acr=1.0,
                wrong=None if side is None else float(side < 0),
                correct=None if side is None else float(side > 0),
                num_groups=max(1, round(groups.get(step, 1))),
            )
        elif not several:
            known = None if reward_range is None else 0.0
            series.collapse[step] = Collapse(acr=0.0, wrong=known, correct=known, num_groups=1)
    series.is_lower_bound = True
    series.num_groups_known = several
    if not any(one.acr for one in series.collapse.values()):
        series.collapse.clear()
        series.caveats.append(
            "groups without signal are not counted in this log; its reward std is never 0, so some "
            "group differed on every step"
        )
        return
    series.is_partial = several
    series.caveats.append(
        "of groups without signal this log shows only steps on which no reward of the whole batch "
        "differed (reward std 0): ACR is known there, and nowhere else"
        if several
        else "of groups without signal this log shows only steps on which no reward differed "
        "(reward std 0): ACR is at least their share, and equal to it with one group a step"
    )
    if reward_range is None:
        series.caveats.append(
            "whether groups without signal were right or wrong is unknown without --reward-low "
            "and --reward-high"
        )
    elif is_guess:
        series.caveats.append("rewards were taken to run from 0 to 1, since none lies outside")


def _unit_range(rewards: Iterable[float]) -> RewardRange | None:
    seen = list(rewards)
    return RewardRange() if seen and min(seen) >= 0 and 0 < max(seen) <= 1 else None


def _side(reward: float | None, reward_range: RewardRange | None) -> int | None:
    """-1 for a wrong reward, 1 for a right one, 0 for another; None when unknown."""
    if reward is None or reward_range is None:
        return None
    unit = (reward - reward_range.low) / (reward_range.high - reward_range.low)
    return -1 if unit <= 0.01 else 1 if unit >= 0.99 else 0


def seen_range(log: Log) -> RewardRange | None:
    """The range that the rewards of completions suggest; None when they are all alike."""
    low, high = math.inf, -math.inf
    for groups in log.groups.values():
        for rewards in groups.values():
            for reward in rewards:
                if math.isfinite(reward):
                    low, high = min(low, reward), max(high, reward)
    if low >= 0 and high <= 1:
        return RewardRange()
    return RewardRange(low=low, high=high) if -REWARD_LIMIT <= low < high <= REWARD_LIMIT else None
