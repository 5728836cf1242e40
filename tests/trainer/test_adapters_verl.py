"""The estimator for verl, against verl where it is installed and a stand-in of its law otherwise.

How to run them with verl 0.9.1 in a folder of its own: docs/integrations.md.
"""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from monitor_service.engine.profiles import from_profile
from monitor_service.errors import InvalidInput
from monitor_service.wire import StepReport
from tests.servers import acr_serve
from trainer.adapters.verl import register
from trainer.link import InProcessMonitor

CORE = "verl.trainer.ppo.core_algos"
STOOD_IN = ("verl", "verl.trainer", "verl.trainer.ppo", CORE)


def stand_in() -> ModuleType:
    """verl's registry and GRPO, by the signatures and the law of `core_algos.py` in verl 0.9.1."""
    module = ModuleType(CORE)
    registry: dict[str, Any] = {}

    def register_adv_est(name: str) -> Callable[[Any], Any]:
        def decorator(function: Any) -> Any:
            if name in registry and registry[name] != function:
                raise ValueError(f"Adv estimator {name} has already been registered")
            registry[name] = function
            return function

        return decorator

    def compute_grpo_outcome_advantage(
        token_level_rewards: torch.Tensor,
        response_mask: torch.Tensor,
        index: Any,
        epsilon: float = 1e-6,
        norm_adv_by_std_in_grpo: bool = True,
        config: Any = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores = token_level_rewards.sum(dim=-1)
        groups: dict[str, list[torch.Tensor]] = defaultdict(list)
        for uid, score in zip(index, scores.clone(), strict=True):
            groups[uid].append(score)
        for i, uid in enumerate(index):
            group = torch.stack(groups[uid])
            mean, std = torch.tensor(0.0), torch.tensor(1.0)
            if len(group) > 1:
                mean, std = group.mean(), group.std()
            scores[i] = scores[i] - mean
            if norm_adv_by_std_in_grpo:
                scores[i] = scores[i] / (std + epsilon)
        advantages = scores.unsqueeze(-1) * response_mask
        return advantages, advantages

    module.__dict__.update(
        ADV_ESTIMATOR_REGISTRY=registry,
        register_adv_est=register_adv_est,
        get_adv_estimator_fn=registry.__getitem__,
        compute_grpo_outcome_advantage=compute_grpo_outcome_advantage,
    )
    return module


HAS_VERL = find_spec("verl") is not None


@pytest.fixture(params=["a stand-in", *(["verl"] if HAS_VERL else [])])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """verl's `core_algos`, with nothing of ours registered when the test ends."""
    if request.param == "verl":
        module: Any = import_module(CORE)
    else:
        for name in STOOD_IN[:-1]:
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        module = stand_in()
        monkeypatch.setitem(sys.modules, CORE, module)
    yield module
    module.ADV_ESTIMATOR_REGISTRY.pop("acr_grpo", None)


class Recording(InProcessMonitor):
    """The engine in process, and what it was told."""

    def __init__(self, **changes: Any) -> None:
        settings = {"min_groups_per_unit": 1, "threshold": 0.2, "controller": "fixed", **changes}
        super().__init__(from_profile("paper", settings))
        self.reports: list[StepReport] = []
        self.started_after: list[int] = []

    def start(self, after_step: int) -> None:
        self.started_after.append(after_step)
        super().start(after_step)

    def submit(self, report: StepReport) -> bool:
        self.reports.append(report)
        return super().submit(report)


# Rows in the order verl may have them: balanced over the workers, so groups are interleaved.
UIDS = np.array(["a", "b", "c", "a", "d", "b", "c", "a", "b"], dtype=object)
REWARDS = [1.0, 0.0, 1.0, 0.25, 1.0, 0.0, 1.0, 0.5, 0.0]
LENGTHS = [3, 5, 2, 4, 1, 5, 5, 3, 2]
HEALTHY = (UIDS == "a") | (UIDS == "d")
"""Group a differs, d is a single completion; b is all wrong and c all correct."""


def batch() -> dict[str, Any]:
    """What `compute_advantage` passes to an estimator: the reward stands at the last token."""
    mask = torch.zeros(len(UIDS), 5, dtype=torch.int64)
    rewards = torch.zeros(len(UIDS), 5)
    for row, (reward, length) in enumerate(zip(REWARDS, LENGTHS, strict=True)):
        mask[row, :length] = 1
        rewards[row, length - 1] = reward
    return {"token_level_rewards": rewards, "response_mask": mask, "index": UIDS, "config": {}}


def test_groups_with_a_signal_are_verls_number_for_number(core: Any) -> None:
    register(Recording())
    given = batch()
    advantages, returns = core.get_adv_estimator_fn("acr_grpo")(**given)
    verls, _ = core.compute_grpo_outcome_advantage(**given)
    assert torch.equal(advantages[HEALTHY], verls[HEALTHY])
    assert torch.equal(returns, advantages)
    assert advantages.dtype == verls.dtype
    # By hand: group a has 1, 0.25, 0.5, mean 0.58333, sample std 0.38188.
    assert advantages[0, 0].item() == pytest.approx((1 - 0.58333) / 0.38188, abs=1e-4)
    assert torch.equal(given["token_level_rewards"], batch()["token_level_rewards"])


def test_collapsed_groups_get_their_signal_on_their_tokens_only(core: Any) -> None:
    register(Recording())
    advantages, _ = core.get_adv_estimator_fn("acr_grpo")(**batch())
    # 2 of 3 scored groups collapsed. Of 3 all wrong K = ceil(3 * sqrt(2/3)) = 3, |A|(3, 3) =
    # 0.866025; of 2 all correct K = 2, |A|(2, 2) = 0.904534.
    expected = {"b": -0.866025, "c": 0.904534}
    for row, uid in enumerate(UIDS):
        if uid in expected:
            wanted = [expected[uid]] * LENGTHS[row] + [0.0] * (5 - LENGTHS[row])
            assert advantages[row].tolist() == pytest.approx(wanted, abs=1e-4)


def test_the_report_has_the_groups_and_what_an_estimator_can_know(core: Any) -> None:
    link = Recording(temperature=1.2)
    register(link, after_step=40)
    core.get_adv_estimator_fn("acr_grpo")(**batch())
    (report,) = link.reports
    assert (link.started_after, report.step) == ([40], 41)
    assert report.scalars.completion_length_mean == pytest.approx(sum(LENGTHS) / 9)
    assert report.scalars.completion_length_max == 5
    assert report.scalars.entropy is None
    assert report.applied is not None
    assert report.applied.acr == pytest.approx(2 / 3)
    assert report.applied.decisions == {"injected": 2, "has_signal": 1, "unscored": 1}
    assert report.applied.knobs["temperature"].status == "ignored"


def test_rows_that_only_fill_up_the_batch_are_no_group(core: Any) -> None:
    link = Recording()
    register(link)
    given = batch()
    for name in ("token_level_rewards", "response_mask"):
        given[name] = torch.cat([given[name], torch.zeros(3, 5, dtype=given[name].dtype)])
    given["index"] = np.array([*UIDS, "pad0", "pad0", "pad0"], dtype=object)
    advantages, _ = core.get_adv_estimator_fn("acr_grpo")(**given)
    alone, _ = core.get_adv_estimator_fn("acr_grpo")(**batch())
    assert torch.equal(advantages[:9], alone)
    assert not advantages[9:].any()
    first, second = link.reports
    assert first.rewards == second.rewards


def test_dr_grpo_is_observed_and_left_as_it_is(core: Any) -> None:
    link = Recording()
    register(link)
    given = {**batch(), "config": {"norm_adv_by_std_in_grpo": False}}
    advantages, _ = core.get_adv_estimator_fn("acr_grpo")(**given)
    del given["config"]
    verls, _ = core.compute_grpo_outcome_advantage(**given, norm_adv_by_std_in_grpo=False)
    assert torch.equal(advantages, verls)
    applied = link.reports[0].applied
    assert applied is not None
    assert applied.mode == "off"
    assert applied.note is not None
    assert applied.note.startswith("norm_adv_by_std_in_grpo=False")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": None}, "index: the uid"),
        ({"config": {"use_kl_in_reward": True}}, "algorithm.use_kl_in_reward: false"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    core: Any, change: dict[str, Any], message: str
) -> None:
    register(Recording())
    with pytest.raises(InvalidInput, match=message):
        core.get_adv_estimator_fn("acr_grpo")(**{**batch(), **change})


def test_nothing_is_announced_before_verl_calls_the_estimator(core: Any) -> None:
    """Every worker of verl imports the user's module; only the driver trains a run."""
    link = Recording()
    register(link)
    assert link.started_after == []
    estimator = core.get_adv_estimator_fn("acr_grpo")
    estimator(**batch())
    estimator(**batch())
    assert link.started_after == [0]
    assert [report.step for report in link.reports] == [1, 2]


PLUGIN = """
from trainer import MonitorClient
from trainer.adapters.verl import register

register(MonitorClient({url!r}, run_id="verl", settings={{"min_groups_per_unit": 1}}))
"""
DRIVER = """
import numpy as np, torch, verl
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo.ray_trainer import compute_advantage

given = verl.DataProto.from_dict(
    tensors={"token_level_rewards": torch.eye(4), "response_mask": torch.ones(4, 4)},
    non_tensors={"uid": np.array(["a", "a", "b", "b"], dtype=object)},
)
config = AlgoConfig(adv_estimator="acr_grpo")
found = compute_advantage(given, "acr_grpo", config=config)
print(found.batch["advantages"].mean().item())
"""


# Not skipped without verl but absent: the stand-in covers the same ground there.
if HAS_VERL:

    def test_verl_loads_a_users_module_and_the_loop_is_closed(folder: Path) -> None:
        """As `VERL_USE_EXTERNAL_MODULES=my_acr python -m verl.trainer.main_ppo`, up to the loss."""
        path = os.pathsep.join([str(folder), *filter(None, sys.path)])
        with acr_serve(folder / "monitor") as monitor:
            (folder / "my_acr.py").write_text(PLUGIN.format(url=monitor.url))
            done = subprocess.run(
                [sys.executable, "-c", DRIVER],
                env={**os.environ, "VERL_USE_EXTERNAL_MODULES": "my_acr", "PYTHONPATH": path},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            (step,) = httpx.get(f"{monitor.url}/v1/runs/verl/steps").json()["steps"]
        # Two groups of two, all correct: K = 2, |A|(2, 2) = 0.904534.
        assert float(done.stdout.splitlines()[-1]) == pytest.approx(0.904534, abs=1e-4)
        assert step["collapse"]["acr_correct"] == 1.0
        assert step["applied"]["injected_correct"] == 2
