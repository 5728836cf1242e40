"""Where groups were injected, from bins of steps."""

from monitor_service.report.injection import stretches, when
from monitor_service.resources import StepBins


def bins(wrong: list[float | None], correct: list[float | None], size: int = 1) -> StepBins:
    """Bins of `size` steps from step 1 on, with the most that was injected in each."""
    starts: list[float | None] = [1.0 + size * index for index in range(len(wrong))]
    ends: list[float | None] = [float(size * (index + 1)) for index in range(len(wrong))]
    high: dict[str, list[float | None]] = {"step": ends}
    high |= {"injected_wrong": wrong, "injected_correct": correct}
    return StepBins(
        run_id="run",
        fields=list(high),
        total=size * len(wrong),
        steps_per_bin=size,
        steps_from=1,
        steps_to=size * len(wrong),
        columns=high,
        low={**high, "step": starts},
        high=high,
    )


def test_bins_that_follow_each_other_are_one_stretch():
    found = stretches(bins([0, 2, 1, 0, 0, 3], [0, 0, 0, 0, 0, 0]))
    assert found == [(2, 3), (6, 6)]
    assert when(found) == "from step 2 to 6 in 2 stretches, the longest from 2 to 3"


def test_either_side_counts_and_what_is_not_reported_does_not():
    assert stretches(bins([None, 0, 0], [None, 1, 0])) == [(2, 2)]


def test_in_long_runs_a_stretch_is_known_to_the_size_of_a_bin():
    found = stretches(bins([0, 1, 1, 0], [0, 0, 0, 0], size=500))
    assert found == [(501, 1500)]
    assert when(found) == "from step 501 to 1500"


def test_a_run_without_steps_has_none():
    assert stretches(bins([], [])) == []
