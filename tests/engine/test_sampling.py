"""What the engine makes of dynamic sampling: totals, and an alarm when batches are not filled."""

from typing import Any

import pytest

from monitor_service.engine.advance import advance
from monitor_service.engine.collapse import matrix
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import Observation, RunState, Sampling
from monitor_service.errors import InvalidInput
from tests.engine.vitals import examined, names, rates, steady, verdict

FRESH = RunState(settings=Settings())
# Eight groups sampled for a batch of four: two differ.
SAMPLED = [[0, 1], [1, 0], *[[0, 0]] * 5, [1, 1]]
SHORT = Sampling(tries=3, sampled=8, kept=2, filled=2, stopped_by="tries")


def short(**changes: Any) -> dict[str, Any]:
    """A step whose batch is half filled with collapsed groups."""
    found = {"acr": 0.75, "pooled": rates(wrong=0.75), "filled_share": 0.5}
    return {**found, "sampling_tries": 3, "sampling_stopped_by": "tries", **changes}


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"kept": 0, "filled": 0}, "kept, applied.sampling.filled", "at least 1 together"),
        ({"surplus": 5}, "kept, applied.sampling.filled, applied.sampling.surplus", "at most 8"),
        ({"stopped_by": None}, "stopped_by", "what ended the sampling"),
    ],
)
def test_figures_that_contradict_each_other_are_refused(changes, field, allowed):
    figures = {"tries": 3, "sampled": 8, "kept": 2, "filled": 2, "stopped_by": "tries"}
    with pytest.raises(InvalidInput, match=allowed) as caught:
        Sampling(**{**figures, **changes})
    assert caught.value.field == f"applied.sampling.{field}"


def test_every_group_sampled_counts_in_acr_and_what_became_of_it_is_added_up():
    state = FRESH
    for step, sampling in enumerate((SHORT, None, Sampling(tries=1, sampled=8, kept=1, surplus=1))):
        seen = Observation(step=step + 1, rewards=matrix(SAMPLED), sampling=sampling)
        state, figures, _ = advance(state, seen, now_s=0.0)
        assert (figures.acr, figures.num_groups) == (6 / 8, 8)
    counted = state.counters
    uses = (counted.sampling_kept, counted.sampling_filled, counted.sampling_surplus)
    assert uses == (2 + 1, 2, 1)
    assert (counted.mixed, counted.all_wrong) == (6, 15)


def test_batches_that_are_filled_up_for_ten_steps_are_told_with_what_is_missing():
    health, _ = examined(steady(9, **short()))
    assert "sampling_exhausted" not in names(health)
    health, told = examined(steady(1, **short()), health)
    found = verdict(health, "sampling_exhausted")
    assert [event.data["rule"] for event in told] == ["sampling_exhausted"]
    assert (found.severity, found.since_step, found.step) == ("warning", 1, 10)
    assert found.cause.startswith(
        "50% of the groups that were trained on collapsed and only fill the batch "
        "(3 tries at the newest step, as many as allowed); ACR of all that was sampled is 0.75, "
    )
    assert "too hard" in found.advice


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling_stopped_by": "tokens"}, "3 tries at the newest step, the tokens were used up)"),
        ({"sampling_stopped_by": "data"}, "the data came to its end"),
        ({"sampling_stopped_by": ""}, "(3 tries at the newest step);"),
    ],
)
def test_the_limit_that_ended_the_sampling_is_named(changes, words):
    found = verdict(examined(steady(10, **short(**changes)))[0], "sampling_exhausted")
    assert words in found.cause


@pytest.mark.parametrize(
    ("pooled", "words"),
    [
        (rates(correct=0.75), "too easy"),
        (rates(other=0.75), "primary_reward"),
        (None, "if the groups are all-wrong"),
    ],
)
def test_the_advice_fits_what_the_collapsed_groups_are(pooled, words):
    found = verdict(examined(steady(10, **short(pooled=pooled)))[0], "sampling_exhausted")
    assert words in found.advice


def test_a_quarter_of_filling_groups_is_no_alarm_and_neither_is_a_run_without_sampling():
    assert names(examined(steady(60, **short(filled_share=0.25)))[0]).isdisjoint(
        {"sampling_exhausted"}
    )
    assert "sampling_exhausted" not in names(examined(steady(60, **short(filled_share=None)))[0])


def test_the_alarm_ends_once_the_batches_are_filled_again():
    health, _ = examined(steady(10, **short()))
    # The mean of five is 0.4, 0.3, 0.2, 0.1, 0: below 0.1 from the fifth full batch on.
    health, _ = examined(steady(4 + 9, **short(filled_share=0.0)), health)
    assert "sampling_exhausted" in names(health)
    health, told = examined(steady(1, **short(filled_share=0.0)), health)
    assert "sampling_exhausted" not in names(health)
    assert ("alarm_resolved", "sampling_exhausted") in [
        (event.kind, event.data["rule"]) for event in told
    ]
