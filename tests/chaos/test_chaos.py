"""Nothing that was acknowledged is lost, nothing is stored twice, and training never waited."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.scenarios import SCENARIOS, Length, Scenario

pytestmark = pytest.mark.e2e

LONGEST_CALL_S = 1.0
"""Of a busy machine's scheduler; the outages last for many times that."""


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_whatever_dies_under_load_every_report_is_stored_once_and_training_never_waits(
    scenario: Scenario, folder: Path, record_property: Callable[[str, object], None]
) -> None:
    found = scenario(folder, Length())
    record_property("figures", found)
    assert found.lost_beyond_window == 0
    assert found.twice == 0
    assert found.stored == found.sent - found.lost
    assert found.acknowledged == found.sent
    assert found.longest_call_s < LONGEST_CALL_S
