import logging
from typing import Any

import numpy as np
import pytest

from monitor_service.engine.injection import Host
from monitor_service.engine.settings import Settings
from monitor_service.wire import Scalars
from trainer.link import Held, InProcessMonitor
from trainer.loop import ControlLoop


def loop(settings: Settings, **given: Any) -> ControlLoop:
    def share(held: Held | None) -> Held:
        assert held is not None
        return held

    turn = ControlLoop(InProcessMonitor(settings), share=share, host=Host(), **given)
    turn.start(0)
    return turn


def turned(turn: ControlLoop, rewards: list[list[float]]) -> None:
    values = np.array(rewards)
    turn.begin_step()
    decided = turn.decide(values, None)
    turn.report(decided, values, None, components={}, scalars=Scalars(), optimizer_step=0)


def test_a_small_batch_warns_once_that_the_smoothed_rate_decides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turn = loop(Settings())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            turned(turn, [[1.0, 1.0], [0.0, 1.0]])
    assert [record.getMessage() for record in caplog.records] == [
        "step 1: 2 scored groups a step are fewer than min_groups_per_unit=16: the smoothed ACR "
        "decides, once 64 groups were seen"
    ]


def test_rewards_outside_the_declared_range_warn_once(caplog: pytest.LogCaptureFixture) -> None:
    turn = loop(Settings(min_groups_per_unit=1))
    with caplog.at_level(logging.WARNING):
        turned(turn, [[1.0, 1.0], [0.0, np.nan]])
        turned(turn, [[2.0, 2.0], [0.0, 1.0]])
        turned(turn, [[2.0, 2.0], [0.0, 1.0]])
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith("step 2: rewards lie outside [0, 1]")


def test_plain_grpo_is_never_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    turn = loop(Settings(mode="off"))
    with caplog.at_level(logging.WARNING):
        turned(turn, [[9.0, 9.0]])
    assert not caplog.records


def test_the_in_process_monitor_moves_like_the_service() -> None:
    link = InProcessMonitor(Settings(min_groups_per_unit=1))
    turn = ControlLoop(link, share=lambda held: held or Held(settings=Settings()), host=Host())
    turn.start(0)
    turned(turn, [[1.0, 1.0], [0.0, 1.0]])
    turned(turn, [[1.0, 1.0], [1.0, 1.0]])
    # J rose from .75 to 1 at ACR 1: tau = .5 + .01 * (1 - .5).
    assert link.settings_for(3, 0).settings.threshold == pytest.approx(0.505)


def test_groups_that_collapse_in_the_middle_are_said_never_to_be_injected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turn = loop(Settings(min_groups_per_unit=1), reward_names=("correct", "format"))
    turned(turn, [[0.2, 0.2], [0.2, 0.2], [1.0, 1.0], [0.2, 1.0]])
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning == (
        "step 1: 2 of 3 collapsed groups are neither wrong (0) nor right (1) and are never "
        "injected; set primary_reward to the one of correct, format that tells right from wrong"
    )


def test_a_batch_without_scores_is_no_small_batch(caplog: pytest.LogCaptureFixture) -> None:
    turn = loop(Settings())
    turned(turn, [[np.nan, np.nan]])
    assert not caplog.records
