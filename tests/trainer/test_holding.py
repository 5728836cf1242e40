"""Which settings fit a step, when the newest are missing, old, unreadable or not for us."""

from typing import Any

import pytest

from monitor_service.engine.settings import Settings
from trainer.holding import MAX_STALE_STEPS, fitting
from trainer.link import Held

HELD = Settings(version=7, through_step=10, temperature=1.2, profile="guarded")
INITIAL = Settings(version=1, beta=0.1)
CALM: dict[str, Any] = {
    "initial": INITIAL,
    "when_unreachable": "grpo",
    "is_superseded": False,
    "is_unreadable": False,
}


def test_fresh_settings_are_taken_as_they_are() -> None:
    assert fitting(11, HELD, **CALM) == Held(settings=HELD)


@pytest.mark.parametrize(
    ("step", "changes", "note"),
    [
        # Held through step 10; at step 61 they are 50 old, at 62 they are 51.
        (10 + 2 + MAX_STALE_STEPS, {}, "settings are 51 steps old: plain GRPO"),
        (11, {"is_unreadable": True}, "the newest settings are unreadable: plain GRPO"),
        (
            11,
            {"is_superseded": True},
            "another start of the trainer took this run over: plain GRPO",
        ),
    ],
)
def test_settings_nobody_can_trust_intervene_nowhere(
    step: int, changes: dict[str, Any], note: str
) -> None:
    held = fitting(step, HELD, **{**CALM, **changes})
    assert held.note == note
    assert (held.settings.acting_mode, held.settings.knobs) == ("off", {})


def test_fifty_steps_old_is_not_too_old() -> None:
    assert fitting(10 + 1 + MAX_STALE_STEPS, HELD, **CALM).note is None


def test_before_the_first_settings_the_caller_chose_what_to_do() -> None:
    plain = fitting(1, None, **CALM)
    assert (plain.settings.acting_mode, plain.settings.knobs) == ("off", {})
    assert plain.note == "no monitor yet: plain GRPO"
    held = fitting(1, None, **{**CALM, "when_unreachable": "hold"})
    assert held == Held(settings=INITIAL, note="no monitor yet: initial settings")
