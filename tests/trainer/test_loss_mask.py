import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trl
from msgspec.structs import replace

from monitor_service.engine.plan import plan
from monitor_service.engine.settings import Settings
from tests.trainer.steered import Steered, a_batch, log_probabilities, steered
from tests.trainer.toys import G
from trainer.methods import loss_mask
from trainer.methods.loss_mask import MASKED, EmptyMicroBatches

ON = {"loss_mask": True}


class OneProcess:
    """What the mask needs of accelerate, where there is one rank."""

    @staticmethod
    def gather(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.unsqueeze(0)


def masked(batch: dict[str, torch.Tensor], keep: list[bool]) -> dict[str, torch.Tensor]:
    output = dict(batch)
    loss_mask.apply(output, np.array(keep), 0, OneProcess())
    return output


def loss_of(trainer: Steered, batch: dict[str, torch.Tensor]) -> tuple[float, list[torch.Tensor]]:
    """TRL's loss and its gradient."""
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), [parameter.grad.clone() for parameter in trainer.model.parameters()]


def kl_batch(trainer: Steered) -> dict[str, torch.Tensor]:
    """Two dead completions and two live ones, of 3 tokens; all of them away from the reference."""
    batch = a_batch(trainer, advantages=torch.tensor([0.0, 0.0, 1.5, -0.5]))
    shift = torch.linspace(-1, 1, 12).view(4, 3)
    return {**batch, "ref_per_token_logps": log_probabilities(trainer, batch) + shift}


@pytest.mark.parametrize("kind", ["dapo", "cispo", "bnpo"])
def test_dead_tokens_leave_the_sum_and_the_divisor(tmp_path: Path, kind: str) -> None:
    high = 5.0 if kind == "cispo" else 0.2
    trainer = steered(tmp_path, loss_type=kind, epsilon_high=high)
    batch = a_batch(trainer, advantages=torch.tensor([0.0, 0.0, -5 / 3, -5 / 3]))
    if kind == "cispo":
        # Its loss of a token is -A * log probability: 3 + 3 live tokens, the sum brought to 10.
        total = log_probabilities(trainer, batch)[2:].sum().item()
        batch["advantages"] = torch.tensor([0.0, 0.0, -10 / total, -10 / total])
    # 2 dead and 2 live completions of 3 tokens. A live token's loss is -A = 5/3, together 10.
    assert loss_of(trainer, batch)[0] == pytest.approx(10 / 12)
    assert loss_of(trainer, masked(batch, [False, False, True, True]))[0] == pytest.approx(10 / 6)


@pytest.mark.parametrize("kind", ["dapo", "cispo", "vespo", "bnpo"])
def test_the_masked_loss_and_gradient_are_those_of_the_live_completions_alone(
    tmp_path: Path, kind: str
) -> None:
    # With KL and an entropy bonus, which dead completions would otherwise go on pulling with.
    high = 5.0 if kind == "cispo" else 0.2
    trainer = steered(tmp_path, loss_type=kind, epsilon_high=high, beta=0.1, entropy_coef=0.01)
    batch = kl_batch(trainer)
    alone = {name: tensor if tensor.ndim == 0 else tensor[2:] for name, tensor in batch.items()} | {
        "num_items_in_batch": torch.tensor(6)
    }
    loss, gradient = loss_of(trainer, masked(batch, [False, False, True, True]))
    wanted, wanted_gradient = loss_of(trainer, alone)
    assert loss == pytest.approx(wanted, rel=1e-5)
    for found, parameter in zip(gradient, wanted_gradient, strict=True):
        assert torch.allclose(found, parameter, atol=1e-6)
    assert loss != pytest.approx(loss_of(trainer, batch)[0], rel=1e-2)


def test_live_completions_are_scored_in_the_context_they_were_generated_in(tmp_path: Path) -> None:
    trainer = steered(tmp_path)
    batch = a_batch(trainer)
    output = masked(batch, [False, True, True, True])
    # The attention mask is made of this one: dead rows keep their own context, and stay finite.
    assert output["completion_mask"] is batch["completion_mask"]
    assert output["tool_mask"].tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert output["num_items_in_batch"] == 9


def test_a_probability_that_exploded_in_a_dead_completion_does_not_reach_the_loss(
    tmp_path: Path,
) -> None:
    trainer = steered(tmp_path, beta=0.1)
    batch = kl_batch(trainer)
    batch["ref_per_token_logps"][0] += 80  # exp(80) is finite in float32, and 5e34.
    loss, gradient = loss_of(trainer, masked(batch, [False, False, True, True]))
    assert abs(loss) < 10
    assert all(parameter.isfinite().all() for parameter in gradient)


def test_tokens_of_tools_stay_out_of_the_divisor(tmp_path: Path) -> None:
    batch = a_batch(steered(tmp_path))
    batch["tool_mask"] = torch.tensor([[1, 0, 1]]).repeat(4, 1)
    output = masked(batch, [True, False, True, True])
    assert output["tool_mask"].tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1], [1, 0, 1]]
    assert output["num_items_in_batch"] == 6
    assert batch["tool_mask"].sum() == 8


def test_a_batch_that_is_kept_whole_is_not_touched(tmp_path: Path) -> None:
    batch = a_batch(steered(tmp_path))
    output = masked(batch, [True] * 4)
    assert output.keys() == batch.keys()
    assert all(output[name] is batch[name] for name in batch)


def test_each_rank_masks_its_own_rows_and_divides_by_the_tokens_of_all(tmp_path: Path) -> None:
    whole = a_batch(steered(tmp_path))
    whole["completion_mask"] = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]])
    keep = np.array([True, False, False, True])
    ranks = [{name: whole[name][rows] for name in ("completion_mask",)} for rows in HALVES]
    counts = [torch.tensor(1), torch.tensor(3)]  # Rows 0 and 3 keep 1 and 3 tokens.
    for rank, output in enumerate(ranks):
        told: list[int] = []

        def gather(mine: torch.Tensor, told: list[int] = told) -> torch.Tensor:
            told.append(int(mine))
            return torch.stack(counts)

        loss_mask.apply(output, keep, 2 * rank, SimpleNamespace(gather=gather))
        assert told == [int(counts[rank])]
        assert output["num_items_in_batch"] == 4
    assert ranks[0]["tool_mask"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert ranks[1]["tool_mask"].tolist() == [[0, 0, 0], [1, 1, 1]]


HALVES = (slice(0, 2), slice(2, 4))


def test_groups_with_a_signal_of_their_own_or_an_injected_one_stay() -> None:
    rewards = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [np.nan, np.nan]])
    off = plan(rewards, Settings(mode="off"), step=1)
    assert loss_mask.has_signal(off).tolist() == [False, True, False, False]
    settings = Settings(threshold=0.0, min_groups_per_unit=1, mode="active")
    injected = plan(rewards, settings, step=1)
    assert injected.is_injected.tolist() == [True, False, True, False]
    assert loss_mask.has_signal(injected).tolist() == [True, True, True, False]
    shadow = plan(rewards, replace(settings, mode="shadow"), step=1)
    assert shadow.is_injected.any()
    assert loss_mask.has_signal(shadow).tolist() == loss_mask.has_signal(off).tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss_type": "grpo"}, "averages over completions, each by its own length"),
        ({"loss_type": "sapo"}, "averages over completions, each by its own length"),
        ({"loss_type": "dr_grpo"}, "divides by a constant"),
        ({"loss_type": "luspo", "importance_sampling_level": "sequence"}, "over completions"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "under normalize_then_sum"),
        ({"loss_type": "bnpo", "gradient_accumulation_steps": 2}, "averages over micro-batches"),
    ],
)
def test_a_loss_whose_divisor_cannot_be_corrected_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    report = steered(tmp_path, **changes).knobs.apply(ON)["loss_mask"]
    assert (report.status, report.value) == ("ignored", False)
    assert report.reason is not None
    assert words in report.reason


def test_another_trl_is_refused_because_its_divisors_were_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = steered(tmp_path)
    monkeypatch.setattr(trl, "__version__", "1.17.0")
    reason = loss_mask.refusal(trainer)
    assert reason == "the divisor of the loss was read in TRL 1.16.*, not 1.17.0"


# In training -------------------------------------------------------------------------------------


def weights(trainer: Steered) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in trainer.model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def losses(trainer: Steered) -> list[dict[str, Any]]:
    return [line for line in trainer.state.log_history if "loss" in line]


class Remembering(Steered):
    """Keeps the weights that each generation batch began with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.at: list[list[torch.Tensor]] = []

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.at.append(weights(self))
        return super()._generate_and_score_completions(inputs)


def test_an_optimizer_does_not_step_on_a_batch_of_which_nothing_is_left(tmp_path: Path) -> None:
    # Momentum and weight decay would move the weights on gradients of 0.
    changes: dict[str, Any] = {"beta": 0.1, "weight_decay": 0.1, "max_steps": 3}
    trainer = steered(tmp_path, {2: ON}, dead={2: (0, 1)}, make=Remembering, **changes)
    trainer.train()
    first, second, third = trainer.at
    assert not same(first, second)
    assert same(second, third)
    assert not same(third, weights(trainer))
    lines = losses(trainer)
    assert lines[1]["loss"] == lines[1]["grad_norm"] == 0
    # An entropy of 0 would read as a collapse, a KL of 0 as the policy being the reference.
    for name in ("entropy", "kl", "clip_ratio/region_mean", "clip_ratio/low_min"):
        assert lines[1][name] is None
        assert lines[0][name] is not None
        assert lines[2][name] is not None


def test_a_step_with_some_live_tokens_is_taken(tmp_path: Path) -> None:
    # Each of two micro-batches is shuffled out of one live and one dead group, or is one of them.
    changes: dict[str, Any] = {"per_device_train_batch_size": G, "gradient_accumulation_steps": 2}
    batches = (1, 2, 3, 4)
    on, dead = dict.fromkeys(batches, ON), dict.fromkeys(batches, (0,))
    trainer = steered(tmp_path, on, dead=dead, max_steps=4, **changes)
    before = weights(trainer)
    trainer.train()
    assert not same(before, weights(trainer))
    assert all(line["entropy"] > 2 for line in losses(trainer))
    assert all(parameter.isfinite().all() for parameter in weights(trainer))


def test_the_mask_changes_nothing_in_batches_it_is_off_for(tmp_path: Path) -> None:
    on_and_off = steered(tmp_path, {1: {"loss_mask": False}}, dead={1: (0, 1), 2: (0, 1)})
    on_and_off.train()
    never = steered(tmp_path)
    never.train()
    assert same(weights(on_and_off), weights(never))


class Counting:
    """An optimizer that counts how often its gradients were dropped."""

    dropped = 0

    def __init__(self) -> None:
        self.param_groups = [{"lr": 0.1}, {"lr": 0.2}]

    def zero_grad(self, set_to_none: bool) -> None:
        assert set_to_none
        self.dropped += 1


def empties(**changes: Any) -> EmptyMicroBatches:
    accelerator = SimpleNamespace(
        reduce=lambda tensor, reduction: tensor,
        distributed_type="NO",
        scaler=None,
        sync_gradients=True,
    )
    of_trainer = {
        name: changes.pop(name) for name in ("aux_loss_enabled", "optimizer") & changes.keys()
    }
    vars(accelerator).update(changes)
    return EmptyMicroBatches(SimpleNamespace(accelerator=accelerator, **of_trainer))


NOTHING = {
    "completion_mask": torch.ones(1, 2),
    "tool_mask": torch.zeros(1, 2),
    MASKED: torch.tensor(True),
}
SOMETHING = {**NOTHING, "tool_mask": torch.tensor([[0, 1]])}
UNMASKED = {"completion_mask": torch.zeros(1, 2)}


@pytest.mark.parametrize(
    ("window", "dropped"),
    [
        ([NOTHING, NOTHING], 1),
        ([NOTHING, SOMETHING], 0),
        ([SOMETHING, NOTHING], 0),
        ([NOTHING, UNMASKED], 0),
        ([UNMASKED], 0),
        ([], 0),
    ],
)
def test_gradients_are_dropped_only_when_no_micro_batch_of_the_step_had_a_token(
    window: list[dict[str, torch.Tensor]], dropped: int
) -> None:
    empty, optimizer = empties(), Counting()
    for inputs in window:
        empty.after_loss(inputs, {})
    empty.before_step(optimizer)
    assert optimizer.dropped == dropped
    # The next step begins anew.
    empty.before_step(optimizer)
    assert optimizer.dropped == dropped


@pytest.mark.parametrize(
    "changes",
    [{"scaler": object()}, {"aux_loss_enabled": True}],
)
def test_gradients_are_kept_where_dropping_them_would_break_the_step(
    changes: dict[str, Any],
) -> None:
    empty, optimizer = empties(**changes), Counting()
    empty.after_loss(NOTHING, {})
    empty.before_step(optimizer)
    assert optimizer.dropped == 0


@pytest.mark.parametrize(
    ("window", "rates"),
    [
        ([NOTHING], [0.0, 0.0]),
        ([NOTHING, NOTHING], [0.0, 0.0]),
        ([SOMETHING, NOTHING], [0.1, 0.2]),
        ([NOTHING, SOMETHING], [0.1, 0.2]),
    ],
)
def test_deepspeed_takes_a_step_on_nothing_at_a_rate_of_nought(
    window: list[dict[str, Any]], rates: list[float]
) -> None:
    optimizer = Counting()
    empty = empties(distributed_type="DEEPSPEED", optimizer=optimizer)
    for at, inputs in enumerate(window):
        empty._accelerator.sync_gradients = at == len(window) - 1
        empty.after_loss(inputs, {})
    # Here, inside of the last backward, DeepSpeed steps.
    assert [group["lr"] for group in optimizer.param_groups] == rates
    empty.before_step(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


def test_only_the_figures_of_the_empty_micro_batch_are_taken_out() -> None:
    metrics = {"entropy": [2.0, 0.0], "reward": [0.5]}
    empties().after_loss(NOTHING, metrics)
    assert metrics == {"entropy": [2.0], "reward": [0.5]}


@pytest.mark.e2e
def test_two_ranks_divide_alike_and_stay_alike(tmp_path: Path) -> None:
    # Rank 0 holds group 0, rank 1 group 1. Batch 2 loses the first, batch 3 both.
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *("-m", "tests.trainer.masked_rank", str(tmp_path)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{i}.pt", weights_only=False) for i in range(2))
    for mine, other in zip(first, second, strict=True):
        assert mine["divisor"] == other["divisor"] == mine["kept"] + other["kept"]
        assert same(mine["weights"], other["weights"])
    kept = [
        (mine["kept"] > 0, other["kept"] > 0) for mine, other in zip(first, second, strict=True)
    ]
    assert kept == [(True, True), (False, True), (False, False), (True, True)]
    moved = [not same(first[i]["weights"], first[i + 1]["weights"]) for i in range(3)]
    assert moved == [True, True, False]
