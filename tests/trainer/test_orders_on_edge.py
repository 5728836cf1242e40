"""Orders that meet a loop at a bad moment, and reports that must not be refused for a text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from monitor_service.engine.changes import commanded
from monitor_service.engine.injection import Host
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.engine.state import RunState
from monitor_service.wire import MSGPACK, Applied, Knob, Scalars, StepReport, decode
from trainer.link import Held
from trainer.loop import ControlLoop

ALWAYS = from_profile(
    "paper", {"threshold": 0.0, "min_groups_per_unit": 1, "controller": "fixed", "reward_high": 1}
)
MIXED, WRONG = [0.0, 1.0], [0.0, 0.0]


class Mailbox:
    """A monitor far away: it says what it is told to say, and keeps what it is sent."""

    def __init__(self, settings: Settings = ALWAYS, note: str | None = None) -> None:
        self.settings = settings
        self.note = note
        self.reports: list[StepReport] = []

    def start(self, after_step: int) -> None: ...

    def settings_for(self, step: int, wait_s: float) -> Held:
        return Held(settings=self.settings, note=self.note)

    def submit(self, report: StepReport) -> bool:
        self.reports.append(report)
        return True

    def close(self) -> None: ...

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None: ...

    def order(self, kind: str, number: int, session: str = "a") -> None:
        state = replace(RunState(settings=self.settings), num_commands=number - 1)
        after = commanded(state, kind, actor="ana", reason="why")  # type: ignore[arg-type]
        self.settings = replace(after.settings, session=session)

    @property
    def received(self) -> StepReport:
        """The newest report as the monitor reads it: what the contract does not say is refused."""
        return decode(msgspec.msgpack.encode(self.reports[-1]), MSGPACK, StepReport)

    @property
    def applied(self) -> Applied:
        found = self.received.applied
        assert found is not None
        return found


def started(mailbox: Mailbox, *, kill_file: Path | None = None) -> ControlLoop:
    def share(held: Held | None) -> Held:
        assert held is not None
        return held

    loop = ControlLoop(mailbox, share=share, host=Host(), kill_file=kill_file)
    loop.start(0)
    return loop


def turned(
    loop: ControlLoop,
    *groups: list[float],
    components: dict[str, list[float]] | None = None,
    knobs: dict[str, Knob] | None = None,
) -> None:
    rewards = np.array(groups or [MIXED])
    loop.begin_step()
    loop.report(
        loop.decide(rewards, None),
        rewards,
        None,
        components=components or {},
        scalars=Scalars(),
        optimizer_step=0,
        knobs=knobs,
    )


def taken(loop: ControlLoop) -> str | None:
    command = loop.taken_command()
    return command.kind if command else None


def test_the_first_command_of_a_monitor_that_lost_its_data_is_obeyed() -> None:
    mailbox = Mailbox()
    loop = started(mailbox)
    mailbox.order("save", number=3, session="first life")
    turned(loop)
    assert taken(loop) == "save"
    mailbox.order("stop", number=1, session="second life")
    turned(loop)
    assert taken(loop) == "stop"
    turned(loop)
    assert taken(loop) is None


def test_a_command_that_was_promised_to_stop_is_not_lost_to_a_later_one() -> None:
    # Two batches within one optimizer step: each report says that its command is carried out.
    mailbox = Mailbox()
    loop = started(mailbox)
    mailbox.order("stop", number=1)
    turned(loop)
    mailbox.order("save", number=2)
    turned(loop)
    assert taken(loop) == "stop"
    assert taken(loop) is None


def test_a_later_stop_replaces_a_save() -> None:
    mailbox = Mailbox()
    loop = started(mailbox)
    for number, kind in enumerate(["save", "stop"], 1):
        mailbox.order(kind, number=number)
        turned(loop)
    assert taken(loop) == "stop"


def test_a_command_that_a_failed_training_left_behind_is_not_for_the_next() -> None:
    mailbox = Mailbox()
    loop = started(mailbox)
    mailbox.order("stop", number=1)
    loop.begin_step()
    mailbox.settings = ALWAYS
    loop.start(0)
    turned(loop)
    assert taken(loop) is None


def test_training_that_starts_again_without_the_kill_file_is_not_killed(tmp_path: Path) -> None:
    file = tmp_path / "ACR_KILL"
    file.touch()
    mailbox = Mailbox()
    loop = started(mailbox, kill_file=file)
    turned(loop, WRONG)
    file.unlink()
    turned(loop, WRONG)
    assert mailbox.applied.mode == "locked"
    loop.start(0)
    turned(loop, WRONG)
    assert (mailbox.applied.mode, mailbox.applied.killed_after_rearms) == ("active", None)


def make_loop_of_links(place: Path) -> None:
    place.symlink_to(place)


@pytest.mark.parametrize(
    ("make", "mode"),
    [
        (Path.mkdir, "locked"),
        (lambda place: place.symlink_to("/"), "locked"),
        (make_loop_of_links, "off"),
        (lambda place: place.symlink_to(place.parent / "nowhere"), "active"),
        (lambda place: None, "active"),
    ],
    ids=["folder", "link", "loop of links", "dangling link", "nothing"],
)
def test_whatever_is_at_the_place_of_the_kill_file_kills(tmp_path: Path, make, mode) -> None:
    place = tmp_path / "ACR_KILL"
    make(place)
    mailbox = Mailbox()
    turned(started(mailbox, kill_file=place), WRONG)
    assert mailbox.applied.mode == mode


def test_the_place_of_the_kill_file_within_a_file_is_no_kill(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    mailbox = Mailbox()
    turned(started(mailbox, kill_file=tmp_path / "file" / "ACR_KILL"), WRONG)
    assert mailbox.applied.mode == "active"


def test_texts_and_names_of_any_length_leave_a_report_that_the_monitor_takes() -> None:
    mailbox = Mailbox(note="n" * 2000)
    knobs = {"beta": Knob(status="ignored", reason="RuntimeError: " + "x" * 2000)}
    rewards = {"": [0.0, 1.0], "r" * 300: [1.0, 1.0]}
    turned(started(mailbox), components=rewards, knobs=knobs)
    assert mailbox.applied.note == "n" * 500
    assert len(mailbox.applied.knobs["beta"].reason or "") == 500
    # The empty one is named by its place, from 1.
    found = {name: one.mean for name, one in mailbox.received.components.items()}
    assert found == {"reward_1": 0.5, "r" * 128: 1.0}


def test_a_first_batch_that_is_injected_whole_leaves_a_report_that_the_monitor_takes() -> None:
    mailbox = Mailbox()
    turned(started(mailbox), *[WRONG] * 11)
    assert (mailbox.applied.injected_wrong, mailbox.applied.group_fraction_pooled) == (11, 1)
