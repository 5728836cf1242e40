"""Every method's vectors through the real trainer, on one rank and on two."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.methods.scenes import SCENES, Scene, played, seen
from trainer.methods import rl_zvp

Found = dict[str, Any]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Found]]:
    """Scene -> what each rank saw."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *("-m", "tests.trainer.methods.scenes", str(folder)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]
    return {name: [rank[name] for rank in ranks] for name in SCENES}


@pytest.mark.parametrize("name", SCENES)
def test_methods_give_the_advantages_and_the_loss_of_their_formulas(
    name: str, tmp_path: Path
) -> None:
    check(SCENES[name], [seen(played(SCENES[name], tmp_path))])


@pytest.mark.e2e
@pytest.mark.parametrize("name", SCENES)
def test_methods_do_so_on_two_ranks(name: str, two_ranks: dict[str, list[Found]]) -> None:
    assert [rank["world"] for rank in two_ranks[name]] == [2, 2]
    check(SCENES[name], two_ranks[name])


def check(scene: Scene, ranks: list[Found]) -> None:
    together = {
        key: np.concatenate([rank[key] for rank in ranks])
        for key in ("advantages", "lengths", "counted")
    }
    size = len(scene.rewards[0])
    groups = together["advantages"].reshape(-1, size)
    for group, wanted in scene.advantages.items():
        expected = np.broadcast_to(wanted, (size,))
        assert groups[group] == pytest.approx(expected, abs=scene.tolerance)
    if scene.options.get("method") != "rl_zvp":
        for rank in ranks:
            assert rank["loss"] == pytest.approx(expected_loss(scene, rank, ranks), abs=1e-5)


def expected_loss(scene: Scene, rank: Found, ranks: list[Found]) -> float:
    """The ratio is 1 before the first step, so a token's loss is minus its advantage."""
    per_token = -np.array(rank["advantages"]) * np.array(rank["counted"])
    if scene.options.get("method") == "dr_grpo":
        return float(per_token.sum() / (len(per_token) * LONGEST))
    counted = sum(sum(one["counted"]) for one in ranks)
    return float(per_token.sum() / max(1, counted) * len(ranks))


LONGEST = 4
"""`max_completion_length` of the toy."""


@pytest.mark.parametrize("name", ["agpo", "ngrpo"])
def test_methods_that_mask_the_loss_divide_by_the_tokens_left(name: str, tmp_path: Path) -> None:
    scene = SCENES[name]
    found = seen(played(scene, tmp_path))
    size = len(scene.rewards[0])
    counted = np.array(found["counted"]).reshape(-1, size)
    lengths = np.array(found["lengths"]).reshape(-1, size)
    dead = [0, 1, 3] if name == "agpo" else [5]
    for group in range(len(scene.rewards)):
        assert counted[group].tolist() == ([0] * size if group in dead else lengths[group].tolist())


def test_methods_by_entropy_shape_the_tokens_of_collapsed_groups(tmp_path: Path) -> None:
    trainer = played(SCENES["rl_zvp"], tmp_path)
    (advantages,), (entropies,) = (
        [torch.tensor(told) for told in kept]
        for kept in (trainer.token_advantages, trainer.token_entropies)
    )
    batch = trainer._buffered_inputs[0]
    mask = batch["completion_mask"].bool()
    sides = batch[rl_zvp.SIDES]
    assert sorted(sides.tolist()) == [-1] * 8 + [0] * 16 + [1] * 8
    for row, side in enumerate(sides.tolist()):
        inside = entropies[row][mask[row]]
        shaped = advantages[row][mask[row]]
        wanted = {
            1: 0.1 * inside,
            -1: -0.1 * (inside.max() - inside),
            0: batch["advantages"][row].expand_as(inside),
        }[side]
        assert torch.allclose(shaped, wanted, atol=1e-6)
        if side:
            assert not advantages[row][~mask[row]].any()
    loss = -(advantages * mask).sum() / mask.sum()
    assert trainer.losses[0] == pytest.approx(float(loss), abs=1e-5)
    assert trainer.state.log_history[0]["acr"] == 0.5
    assert trainer.state.log_history[0]["acr_effective"] == 0.0
