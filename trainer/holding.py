"""Which settings fit a step: the newest held, unless they are missing, too old, or not for us."""

from monitor_service.engine.settings import Settings
from trainer.link import Held, WhenUnreachable

MAX_STALE_STEPS = 50
"""Steps that old settings stay in force without a word from the monitor."""


def fitting(
    step: int,
    held: Settings | None,
    *,
    initial: Settings,
    when_unreachable: WhenUnreachable,
    is_superseded: bool,
    is_unreadable: bool,
) -> Held:
    """The settings for one step, with a note where they are not the newest published.

    Args:
        step: number of the generation batch, from 1.
        held: the newest settings that could be read; None before the first.
        initial: what the trainer was configured with.
        when_unreachable: what to do before the first.
        is_superseded: another start of the trainer took the run over.
        is_unreadable: something newer came, and cannot be read.
    """

    def plain(note: str) -> Held:
        return Held(settings=(held or initial).without_interventions(), note=f"{note}: plain GRPO")

    if is_superseded:
        return plain("another start of the trainer took this run over")
    if is_unreadable:
        return plain("the newest settings are unreadable")
    if held is None and when_unreachable == "hold":
        return Held(settings=initial, note="no monitor yet: initial settings")
    if held is None:
        return plain("no monitor yet")
    if is_stale(step, held):
        return plain(f"settings are {step - 1 - held.through_step} steps old")
    return Held(settings=held)


def is_stale(step: int, held: Settings | None) -> bool:
    """Whether settings held are too old to intervene by at this step."""
    return held is not None and step - 1 - held.through_step > MAX_STALE_STEPS
