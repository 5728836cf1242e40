"""The forecast from the first hundred steps: the paper's line, and a fit to one's own runs."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_service.engine.forecast import (
    MIN_RUNS,
    MIN_STEPS,
    NOTHING_YET,
    FinishedRun,
    FirstHundred,
    fitted,
    forecast,
    paper_accuracy,
    paper_residual_sd,
    student_95,
)


def seen(acr: float, *, steps: int = 100) -> FirstHundred:
    hundred = NOTHING_YET
    for step in range(1, steps + 1):
        hundred = hundred.after(step, acr)
    return hundred


def own_runs(*, noise: float = 0.0, benchmark: str = "GSM8K") -> list[FinishedRun]:
    """Ten runs on accuracy = 0.9 - 0.5 * ACR_100, off by `noise` up and down in turn."""
    return [
        FinishedRun(
            acr_100=0.1 * place,
            accuracy=0.9 - 0.05 * place + (noise if place % 2 else -noise),
            benchmark=benchmark,
        )
        for place in range(10)
    ]


@pytest.mark.parametrize(
    ("acr_100", "percent"),
    [(0, 51.4), (0.1, 48.44), (0.28, 43.112), (0.35, 41.04), (0.4, 39.56), (0.5, 36.6), (1, 21.8)],
)
def test_the_papers_line_gives_its_published_points(acr_100: float, percent: float):
    assert 100 * paper_accuracy(acr_100) == pytest.approx(percent)


def test_half_of_the_problems_solved_is_never_forecast_for_a_collapsed_start():
    assert paper_accuracy(0.554054) == pytest.approx(0.35, abs=1e-6)  # (51.4 - 35)/29.6


def test_the_papers_interval_follows_from_slope_r_and_an_even_spread():
    # sd_y = .296 * .288675 / .785 = .108850; residual sd = .108850 * sqrt(1 - .617) = .067364.
    assert paper_residual_sd() == pytest.approx(0.067364, abs=1e-6)
    found = forecast(seen(0.4))
    # .514 - .296 * .4 = .3956; 1.644854 * .067364 = .110804.
    assert found.expected == pytest.approx(0.3956)
    assert found.low == pytest.approx(0.3956 - 0.110804, abs=1e-6)
    assert found.high == pytest.approx(0.3956 + 0.110804, abs=1e-6)
    assert (found.source, found.num_runs, found.benchmark) == ("paper", 0, "MATH-500")
    assert "MATH-500" in found.scope
    assert "too easy" in found.caveat
    assert "assumption is ours" in found.why


def test_nothing_is_forecast_before_step_100():
    found = forecast(seen(0.4, steps=99))
    assert not found.ready
    assert (found.acr_100, found.expected, found.low, found.high) == (None, None, None, None)
    assert found.steps_seen == 99
    assert "99/100" in found.why


def test_the_mean_is_of_the_first_hundred_steps_only():
    hundred = seen(0.2)
    assert hundred.after(101, 1.0) == hundred
    assert hundred.acr_100 == pytest.approx(0.2)


def test_steps_that_were_never_scored_leave_the_mean():
    hundred = NOTHING_YET
    for step in range(1, 101):
        hundred = hundred.after(step, None if step % 10 == 0 else 0.3)
    assert hundred.num_steps == 90
    assert hundred.acr_100 == pytest.approx(0.3)


def test_too_few_scored_steps_of_the_hundred_forecast_nothing():
    hundred = seen(0.3, steps=MIN_STEPS - 1).after(250, 0.9)
    assert hundred.num_steps == MIN_STEPS - 1
    assert hundred.acr_100 is None
    assert "79 of the first 100 steps were scored, 80 are needed" in forecast(hundred).why


def test_the_memory_of_the_first_hundred_steps_survives_storage():
    hundred = seen(0.37, steps=42)
    assert msgspec.json.decode(msgspec.json.encode(hundred), type=FirstHundred) == hundred


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    # Published tables of Student's t, 5 % on one side.
    [(8, 1.8595), (9, 1.8331), (10, 1.8125), (20, 1.7247), (60, 1.6706), (1000, 1.6464)],
)
def test_the_quantile_agrees_with_published_tables(degrees: int, quantile: float):
    assert student_95(degrees) == pytest.approx(quantile, abs=5e-5)


def test_ten_own_runs_replace_the_papers_line():
    found = forecast(seen(0.4), own_runs(noise=0.02))
    assert (found.source, found.num_runs, found.benchmark) == ("own runs", 10, "GSM8K")
    # x = 0, .1 .. .9: mean .45, sum of squares 82.5 * .01 = .825. The noise e is -+.02 in turn:
    # sum(x*e) = .02 * (-0+.1-.2+.3-.4+.5-.6+.7-.8+.9) = .02 * .5 = .01, sum(e) = 0.
    # slope = -.5 + .01/.825 = -.487879; mean y = .9 - .5*.45 = .675;
    # at .4: .675 - .487879 * (.4 - .45) = .699394.
    assert found.expected == pytest.approx(0.699394, abs=1e-6)
    # Residual squares: 10*.0004 - .01^2/.825 = .00387879; sd = sqrt(.00387879/8) = .0220193.
    # half = 1.859548 * .0220193 * sqrt(1 + .1 + .0025/.825) = .0430035.
    assert found.high is not None
    assert found.low is not None
    assert found.high - found.low == pytest.approx(2 * 0.0430035, abs=1e-6)
    assert "Student" in found.why
    assert "10 finished runs of your own on GSM8K" in found.scope


def test_nine_runs_are_not_enough():
    found = forecast(seen(0.4), own_runs()[:9])
    assert found.source == "paper"
    assert "9 finished runs of your own are known, 10 are needed" in found.why


def test_runs_that_are_all_alike_tell_no_slope():
    alike = [FinishedRun(acr_100=0.3, accuracy=0.5, benchmark="GSM8K")] * 12
    found = forecast(seen(0.4), alike)
    assert found.source == "paper"
    assert "varies by less than 0.1" in found.why


def test_runs_on_another_benchmark_do_not_count():
    runs = own_runs() + own_runs(benchmark="AIME")[:3]
    assert forecast(seen(0.4), runs).benchmark == "GSM8K"
    assert forecast(seen(0.4), runs, benchmark="AIME").source == "paper"


def test_a_forecast_never_leaves_the_unit_interval():
    steep = [
        FinishedRun(acr_100=0.1 * place, accuracy=max(0.0, 1 - 0.2 * place), benchmark="x")
        for place in range(10)
    ]
    found = forecast(seen(1.0), steep)
    assert found.low == 0.0
    found = forecast(seen(0.0), steep)
    assert found.high == 1.0


def test_a_thousand_times_the_same_noise_does_not_narrow_a_single_run_below_it():
    line = fitted(own_runs(noise=0.05) * 100)
    assert line is not None
    expected, low, _ = line.at(0.45)
    # Knowing the line exactly leaves 1.645 residual spreads: 1.645 * .05 = .0822.
    assert expected - low == pytest.approx(0.0822, rel=0.02)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=150))
def test_the_mean_is_that_of_the_scored_steps_whatever_they_are(rates):
    hundred = NOTHING_YET
    for step, acr in enumerate(rates, start=1):
        hundred = hundred.after(step, acr)
    first = [acr for acr in rates[:100] if acr is not None]
    assert hundred.num_steps == len(first)
    if len(rates) >= 100 and len(first) >= MIN_STEPS:
        assert hundred.acr_100 == pytest.approx(math.fsum(first) / len(first))
    else:
        assert hundred.acr_100 is None


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=MIN_RUNS, max_size=30),
    st.floats(0, 1),
)
def test_an_interval_holds_its_expectation(points, acr):
    runs = [FinishedRun(acr_100=x, accuracy=y, benchmark="b") for x, y in points]
    found = forecast(seen(acr), runs)
    assert found.low is not None
    assert found.expected is not None
    assert found.high is not None
    assert 0 <= found.low <= found.expected <= found.high <= 1
