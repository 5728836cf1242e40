"""What a report says about dynamic sampling."""

from typing import Any

import msgspec
import pytest

from monitor_service.digest import digest
from monitor_service.engine.state import Sampling as Sampled
from monitor_service.errors import InvalidInput
from monitor_service.wire import JSON, Sampling, StepReport, decode, observation

REWARDS = [[0, 1], [1, 0], [0, 0], [0, 0], [1, 1], [0, 1]]
FIGURES: dict[str, Any] = {
    "tries": 2,
    "sampled": 6,
    "kept": 2,
    "filled": 2,
    "surplus": 1,
    "tokens": 480,
    "stopped_by": "tokens",
}
APPLIED = {
    "settings_version": 1,
    "through_step": 0,
    "mode": "off",
    "threshold": 0.5,
    "triggered": False,
}


def report(**changes: Any) -> StepReport:
    applied = APPLIED | {"sampling": FIGURES | changes}
    body = {"step": 1, "rewards": REWARDS, "applied": applied}
    return decode(msgspec.json.encode(body), JSON, StepReport)


def test_the_engine_hears_how_the_batch_was_filled():
    found = report()
    assert found.applied is not None
    assert found.applied.sampling == Sampling(**FIGURES)
    seen = observation(found)
    expected = Sampled(tries=2, sampled=6, kept=2, filled=2, surplus=1, stopped_by="tokens")
    assert seen.sampling == expected
    assert seen.sampling.filled_share == 0.5
    assert len(seen.rewards) == 6


def test_a_report_without_sampling_says_nothing_about_it():
    body = {"step": 1, "rewards": REWARDS, "applied": APPLIED}
    assert observation(decode(msgspec.json.encode(body), JSON, StepReport)).sampling is None


def test_what_is_said_about_sampling_is_part_of_the_content():
    one, other = report(), report(tokens=481)
    assert digest(one, observation(one)) != digest(other, observation(other))


@pytest.mark.parametrize("field", ["sampled", "kept", "filled", "surplus", "tokens", "tries"])
@pytest.mark.parametrize("value", [-1, 1.5, True, None, "2", 2**54])
def test_figures_are_whole_numbers_and_not_negative(field, value):
    with pytest.raises(InvalidInput) as caught:
        report(**{field: value})
    assert caught.value.field == f"applied.sampling.{field}"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tries": 0}, "tries"),
        ({"sampled": 0}, "sampled"),
        ({"sampled": 7}, "sampled"),
        ({"kept": 0, "filled": 0}, "kept, applied.sampling.filled"),
        ({"kept": 4}, "kept, applied.sampling.filled, applied.sampling.surplus"),
        ({"stopped_by": None}, "stopped_by"),
        ({"stopped_by": "budget"}, "stopped_by"),
        ({"batches": 3}, "batches"),
    ],
)
def test_figures_that_cannot_be_are_refused_by_name(changes, field):
    with pytest.raises(InvalidInput) as caught:
        observation(report(**changes))
    assert caught.value.field == f"applied.sampling.{field}"
