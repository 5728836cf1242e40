"""A run's figures as columns: what a row holds, and which rows count."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState, StepFigures
from monitor_service.resources import StepRecord
from monitor_service.series import COLUMNS, ROW_BYTES, Table, least_points, numbers, row
from monitor_service.wire import Applied, Scalars

FIGURES = StepFigures(
    num_groups=4,
    num_completions=16,
    mixed=2,
    all_correct=1,
    all_wrong=1,
    uniform_other=0,
    unscored=0,
    acr=0.5,
    acr_wrong=0.25,
    acr_correct=0.25,
    acr_other=0.0,
    acr_primary=None,
    acr_smoothed=0.4,
    acr_window=None,
    acr_window_low=None,
    acr_window_high=None,
    acr_decision=0.5,
    acr_source="batch",
    reward_mean=0.5,
    threshold=0.6,
    threshold_next=0.61,
)
APPLIED = Applied(
    settings_version=6,
    through_step=6,
    mode="active",
    threshold=0.6,
    triggered=True,
    injected_wrong=1,
    effective_acr=0.25,
)


def record(step: int, attempt: int = 1, **fields: Any) -> StepRecord:
    usual = StepRecord(
        step=step,
        attempt=attempt,
        optimizer_step=None,
        at_s=1000.0,
        settings_version=8,
        collapse=FIGURES,
        components={},
        scalars=Scalars(),
        applied=None,
    )
    return msgspec.structs.replace(usual, **fields)


def state(step: int, *attempts: tuple[int, int]) -> RunState:
    return RunState(settings=Settings(), step=step, attempts=attempts or ((1, 0),))


def only_row(found: StepRecord) -> dict[str, float]:
    table = Table.read(row(found), state(found.step))
    return {name: float(table.column(name)[0]) for name in COLUMNS}


def test_a_row_holds_every_figure_under_its_name():
    scalars = Scalars(entropy=1.5, kl=0.01, loss=-0.2, learning_rate=1e-6, step_s=12.5)
    found = only_row(record(7, scalars=scalars, applied=APPLIED))
    absent = {
        *("acr_primary", "grad_norm", "clip_fraction", "completion_length_mean"),
        *("completion_length_max", "truncated_fraction", "temperature"),
    }
    assert {name for name, value in found.items() if math.isnan(value)} == absent
    assert {name: value for name, value in found.items() if name not in absent} == {
        "step": 7,
        "attempt": 1,
        "at_s": 1000.0,
        "acr": 0.5,
        "acr_wrong": 0.25,
        "acr_correct": 0.25,
        "acr_other": 0.0,
        "acr_smoothed": 0.4,
        "acr_effective": 0.25,
        "threshold": 0.6,
        "threshold_next": 0.61,
        "reward_mean": 0.5,
        "entropy": 1.5,
        "kl": 0.01,
        "loss": -0.2,
        "learning_rate": 1e-6,
        "step_s": 12.5,
        "num_groups": 4,
        "mixed": 2,
        "all_correct": 1,
        "all_wrong": 1,
        "uniform_other": 0,
        "unscored": 0,
        "injected_wrong": 1,
        "injected_correct": 0,
        "settings_version": 8,
        "applied_version": 6,
    }


def test_without_a_word_from_the_trainer_what_it_applied_is_absent_and_not_zero():
    found = only_row(record(1))
    unknown = ("acr_effective", "injected_wrong", "injected_correct", "applied_version")
    assert all(math.isnan(found[name]) for name in unknown)


def test_the_largest_step_number_is_kept_exactly():
    assert only_row(record(2**53))["step"] == 2**53


def test_a_history_of_no_steps_is_an_empty_table():
    table = Table.read(b"", state(0))
    assert (len(table), table.column("acr").tolist()) == (0, [])
    assert len(table.between(1, 10)) == 0


@pytest.mark.parametrize("size", [1, 8, ROW_BYTES - 1, ROW_BYTES + 8])
def test_half_a_row_is_refused(size):
    with pytest.raises(ValueError, match=r"buffer size|reshape"):
        Table.read(bytes(size), state(1))


def test_a_range_has_both_its_ends():
    payload = b"".join(row(record(step)) for step in (2, 3, 5, 8))
    table = Table.read(payload, state(8))
    assert table.between(3, 5).column("step").tolist() == [3, 5]
    assert table.between(1, 2**60).column("step").tolist() == [2, 3, 5, 8]
    assert table.between(6, 7).column("step").tolist() == []


def test_a_step_that_came_after_the_state_was_read_is_not_there_yet():
    payload = b"".join(row(record(step)) for step in (1, 2, 3))
    assert Table.read(payload, state(2)).column("step").tolist() == [1, 2]


# Either so many steps further (above 1: a gap), or back to so many steps before the newest.
moves = st.lists(
    st.tuples(st.just("report"), st.integers(1, 3))
    | st.tuples(st.just("resume"), st.integers(0, 9)),
    max_size=40,
)


@given(first=st.integers(0, 20), moves=moves)
def test_the_rows_that_count_are_those_of_a_history_kept_step_by_step(first, moves):
    payload, attempts, newest = b"", [(1, first)], first
    naive: dict[int, StepRecord] = {}
    for kind, size in moves:
        if kind == "report":
            newest += size
            attempt = attempts[-1][0]
            naive[newest] = record(newest, attempt, at_s=float(len(payload)))
            payload += row(naive[newest])
        else:
            newest = max(0, newest - size)
            attempts.append((len(attempts) + 1, newest))
            naive = {step: kept for step, kept in naive.items() if step <= newest}
    now = state(newest, *attempts)
    table = Table.read(payload, now)
    expected = np.frombuffer(b"".join(row(naive[step]) for step in sorted(naive)), dtype="<f8")
    assert np.array_equal(table.rows.ravel(), expected, equal_nan=True)
    assert [now.attempt_of(step) for step in sorted(naive)] == table.column("attempt").tolist()


def table_of(**columns: list[float]) -> Table:
    """Steps 1, 2, ... with these figures, and no others."""
    (length,) = {len(values) for values in columns.values()}
    rows = np.full((length, len(COLUMNS)), np.nan)
    for name, values in {"step": list(range(1, length + 1)), **columns}.items():
        rows[:, COLUMNS.index(name)] = values
    return Table(rows)


def test_whole_numbers_are_int_and_what_is_absent_is_none():
    table = table_of(mixed=[3, math.nan], kl=[0.5, math.inf], acr=[0, 1])
    assert table.values("step") == [1, 2]
    assert isinstance(table.values("step")[0], int)
    # As JSON knows no infinity either.
    assert (table.values("mixed"), table.values("kl")) == ([3, None], [0.5, None])
    assert isinstance(table.values("acr")[0], float)


def test_few_steps_are_all_shown():
    table = table_of(acr=[0.5] * 4)
    assert table.thinned(["acr"], 4) is table


def test_a_spike_of_each_column_survives():
    calm = [0.1] * 1000
    up, down = calm.copy(), calm.copy()
    up[333], down[777] = 9.0, -9.0
    # Six places: the ends, and of each of the two columns one part's extremes.
    thin = table_of(entropy=up, kl=down).thinned(["entropy", "kl"], 6)
    assert thin.column("step").tolist() == [1, 334, 778, 1000]


def test_a_column_without_figures_takes_no_place_from_the_others():
    absent = [math.nan] * 100
    table = table_of(acr=[float(step % 7) for step in range(100)], kl=absent)
    alone = table.thinned(["acr"], 20).column("step").tolist()
    assert table.thinned(["acr", "kl"], 20).column("step").tolist() == alone


def test_a_history_without_figures_keeps_its_ends():
    table = table_of(kl=[math.nan] * 100)
    assert table.thinned(["kl"], 10).column("step").tolist() == [1, 100]


def test_a_bin_says_the_least_the_mean_and_the_greatest_of_its_steps():
    table = table_of(acr=[0.0, 0.5, 0.25, 0.75, 1.0], mixed=[1, 2, 4, 4, 3])
    # Bins of two: (0 + 0.5) / 2, (0.25 + 0.75) / 2, and the one that is left.
    acr, mixed = table.binned("acr", 2), table.binned("mixed", 2)
    assert acr.mean.tolist() == [0.25, 0.5, 1.0]
    assert (acr.low.tolist(), acr.high.tolist()) == ([0.0, 0.25, 1.0], [0.5, 0.75, 1.0])
    assert mixed.mean.tolist() == [1.5, 4.0, 3.0]


def test_steps_without_a_figure_count_in_no_mean_and_infinity_is_no_figure():
    table = table_of(kl=[math.nan, 0.2, math.inf, math.nan, math.nan, 0.4])
    found = table.binned("kl", 2)
    for values in (found.low, found.mean, found.high):
        assert numbers(values) == [0.2, None, 0.4]


def test_figures_whose_sum_is_too_large_for_a_number_have_a_mean_all_the_same():
    found = table_of(loss=[1.6e308, 1.7e308]).binned("loss", 2)
    assert 1.6e308 <= found.mean[0] <= 1.7e308


def test_no_steps_are_no_bins():
    assert len(Table.read(b"", state(0)).binned("acr", 5).mean) == 0


def test_the_newest_steps_are_the_end_of_the_table():
    table = table_of(acr=[0.5] * 4)
    assert table.last(3).column("step").tolist() == [2, 3, 4]
    assert len(table.last(9)) == 4


figures = st.integers(-5, 5).map(float) | st.sampled_from([math.nan, math.inf])
histories = st.integers(1, 50).flatmap(
    lambda length: st.fixed_dictionaries(
        {name: st.lists(figures, min_size=length, max_size=length) for name in ("acr", "kl")}
    )
)


@given(history=histories, more=st.integers(0, 30))
def test_extremes_and_ends_survive_within_the_number_of_points(history, more):
    table = table_of(**history)
    points = least_points(len(history)) + more
    thin = table.thinned(list(history), points)
    steps = thin.column("step")
    assert len(thin) <= points
    assert (np.diff(steps) > 0).all()
    assert steps[[0, -1]].tolist() == [1, len(table)]
    for name in history:
        every, kept = table.column(name), thin.column(name)
        every, kept = every[np.isfinite(every)], kept[np.isfinite(kept)]
        if len(every):
            assert (kept.min(), kept.max()) == (every.min(), every.max())


@given(history=histories, size=st.integers(1, 60))
def test_bins_together_say_what_the_whole_says(history, size):
    table = table_of(**history)
    for name in history:
        found, every = table.binned(name, size), table.column(name)
        assert len(found.mean) == math.ceil(len(table) / size)
        for index in range(len(found.mean)):
            part = every[index * size : (index + 1) * size]
            known = part[np.isfinite(part)]
            stated = [found.low[index], found.mean[index], found.high[index]]
            expected = [known.min(), known.mean(), known.max()] if len(known) else [math.nan] * 3
            assert stated == pytest.approx(expected, nan_ok=True)
