"""A training loop of one's own: what a session decides, changes and reports."""

from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from monitor_service.engine.orders import Command
from monitor_service.engine.profiles import from_profile
from monitor_service.engine.settings import Settings
from monitor_service.errors import InvalidInput
from monitor_service.wire import StepReport
from trainer.adapters.session import Session
from trainer.link import InProcessMonitor

NAN = float("nan")


class Recording(InProcessMonitor):
    """The engine in process, and what it was told."""

    def __init__(self, **changes: Any) -> None:
        settings: Settings = from_profile(
            "paper", {"min_groups_per_unit": 1, "threshold": 0.3, "controller": "fixed", **changes}
        )
        super().__init__(settings)
        self.reports: list[StepReport] = []

    def submit(self, report: StepReport) -> bool:
        self.reports.append(report)
        return super().submit(report)


class Ordering(Recording):
    """Publishes a command to stop."""

    def settings_for(self, step: int, wait_s: float) -> Any:
        held = super().settings_for(step, wait_s)
        stop = Command(number=1, kind="stop", actor="ana", reason="enough")
        return replace(held, settings=replace(held.settings, command=stop))


def grpo(rewards: torch.Tensor) -> torch.Tensor:
    """`[N, G]` advantages of groups of one size, as TRL computes them."""
    std, mean = torch.std_mean(rewards, dim=1, keepdim=True)
    return (rewards - mean) / (std + 1e-4)


def test_a_collapsed_group_gets_its_signal_and_the_others_keep_their_bits() -> None:
    rewards = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    own = grpo(rewards)
    with Session(Recording()) as session:
        found = session.step(rewards, own)
    assert torch.equal(found[0], own[0])
    # ACR 2/3, so K = ceil(4 * sqrt(2/3)) = 4, and |A| = 0.845154 for G = K = 4 (without epsilon).
    assert found[2].tolist() == pytest.approx([0.845154] * 4, abs=1e-3)
    assert found[1].tolist() == pytest.approx([-0.845154] * 4, abs=3e-3)
    assert session.figures["acr"] == pytest.approx(2 / 3)
    assert session.figures["acr_effective"] == 0.0


def test_groups_of_unequal_size_are_filled_up_with_nan() -> None:
    """One group of 4 that collapsed, one of 3 that did not, one of 2 that collapsed."""
    rewards = np.array([[1, 1, 1, 1], [1, 0, 1, NAN], [0, 0, NAN, NAN]])
    own = torch.zeros(3, 4, dtype=torch.float64)
    own[1, :3] = torch.tensor([0.5, -1.0, 0.5])
    monitor = Recording()
    with Session(monitor) as session:
        found = session.step(rewards, own)
    assert torch.equal(found[1], own[1])
    # K follows the group's own size: 4 for 4, and 2 for 2, where |A|(2, 2) = 0.904534.
    assert found[0].tolist() == pytest.approx([0.845154] * 4, abs=1e-3)
    assert found[2].tolist() == pytest.approx([-0.904534] * 2 + [0, 0], abs=3e-3)
    applied = monitor.reports[0].applied
    assert applied is not None
    assert (applied.injected_correct, applied.injected_wrong) == (1, 1)


def test_a_knob_counts_as_applied_only_with_the_value_that_was_asked_for() -> None:
    monitor = Recording(temperature=1.2, beta=0.1)
    with Session(monitor) as session:
        assert session.begin().knobs == {"temperature": 1.2, "beta": 0.1}
        session.step(torch.eye(2), torch.eye(2), knobs={"temperature": 1.2, "beta": 0.0})
    applied = monitor.reports[0].applied
    assert applied is not None
    told = {name: (knob.status, knob.value) for name, knob in applied.knobs.items()}
    assert told == {"temperature": ("applied", 1.2), "beta": ("ignored", 0.0)}
    assert applied.knobs["beta"].reason == "this training loop does not drive it"


def test_figures_that_are_not_finite_are_reported_by_name() -> None:
    monitor = Recording()
    with Session(monitor) as session:
        session.step(torch.eye(2), torch.eye(2), entropy=torch.tensor(0.5), kl=NAN)
    scalars = monitor.reports[0].scalars
    assert (scalars.entropy, scalars.kl, scalars.non_finite) == (0.5, None, ["kl"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rewards": torch.zeros(4)}, r"rewards: \[N, G\]"),
        ({"advantages": torch.zeros(4)}, r"advantages: the shape of rewards \(2, 2\); got \(4,\)"),
        ({"primary": np.zeros((1, 2))}, r"primary: the shape of rewards"),
        ({"entropie": 1.0}, "scalars: of clip_fraction, .*; got \\['entropie'\\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with Session(Recording()) as session, pytest.raises(InvalidInput, match=message):
        session.step(**{"rewards": torch.eye(2), "advantages": torch.eye(2), **arguments})


def test_a_command_reaches_the_loop_that_takes_them_and_is_confirmed() -> None:
    monitor = Ordering()
    with Session(monitor, takes_commands=True) as session:
        session.step(torch.eye(2), torch.eye(2))
        command = session.command()
        assert command is not None
        assert command.kind == "stop"
        assert session.command() is None
    applied = monitor.reports[0].applied
    assert applied is not None
    assert applied.command == 1


def test_a_loop_that_takes_no_commands_confirms_none() -> None:
    monitor = Ordering()
    with Session(monitor) as session:
        session.step(torch.eye(2), torch.eye(2))
        assert session.command() is None
    applied = monitor.reports[0].applied
    assert applied is not None
    assert applied.command is None


def test_a_session_goes_on_from_what_it_saved() -> None:
    first, second = Recording(), Recording()
    with Session(first) as session:
        for _ in range(3):
            session.step(torch.zeros(2, 2), torch.zeros(2, 2))
        saved = session.state()
    with Session(second, saved=saved) as session:
        session.step(torch.zeros(2, 2), torch.zeros(2, 2))
    assert [report.step for report in first.reports + second.reports] == [1, 2, 3, 4]
    assert [report.optimizer_step for report in first.reports] == [0, 1, 2]
    last, newest = first.reports[-1].applied, second.reports[0].applied
    assert last is not None
    assert newest is not None
    # The account of what was injected goes on too.
    assert newest.group_fraction_pooled == pytest.approx(last.group_fraction_pooled)
