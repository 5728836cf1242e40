"""Vectors of the losses, clips and controllers, through the loss of the real trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from monitor_service.errors import InvalidInput
from tests.trainer.toys import arguments, by_outcome, config
from trainer import GRPOTrainer
from trainer.methods import ngrpo
from trainer.methods.adaptive_kl import AdaptiveKL


class Bench:
    """A trainer whose forward pass says what we want: log probabilities 0, entropies given."""

    def __init__(self, folder: Path, **options: Any) -> None:
        args = config(folder, max_completion_length=8, **options)
        self.trainer = GRPOTrainer(**arguments(args, ["mixed", "mixed"]))
        self.trainer.current_gradient_accumulation_steps = 1
        self.trainer.model.train()
        self._entropies: torch.Tensor | None = None
        forward = "_get_per_token_logps_and_entropies"
        setattr(self.trainer, forward, self._forward)

    def _forward(self, model: Any, input_ids: Any, mask: Any, kept: int, **_: Any) -> Any:
        logps = torch.zeros(len(input_ids), kept, requires_grad=True)
        entropies = self._entropies
        return logps, torch.zeros_like(logps).detach() if entropies is None else entropies, None

    def loss(
        self,
        advantages: Sequence[float],
        lengths: Sequence[int],
        *,
        ratio: float | None = None,
        reference: float | None = None,
        entropy: float | None = None,
    ) -> float:
        """The loss of completions of these lengths.

        Args:
            advantages: of each completion.
            lengths: of each, in tokens.
            ratio: of the policy to the one that sampled; None: nobody sampled before.
            reference: log probability of each token under the reference policy.
            entropy: of each token, in nats.
        """
        longest = max(lengths)
        mask = torch.tensor([[1] * length + [0] * (longest - length) for length in lengths])
        if entropy is not None:
            self._entropies = torch.full(mask.shape, entropy)
        inputs = {
            "prompt_ids": torch.full((len(lengths), 1), 5),
            "prompt_mask": torch.ones(len(lengths), 1, dtype=torch.long),
            "completion_ids": torch.full(mask.shape, 6),
            "completion_mask": mask,
            "advantages": torch.tensor(advantages),
            "num_items_in_batch": mask.sum(),
        }
        if ratio is not None:
            inputs["old_per_token_logps"] = -torch.log(torch.tensor(ratio)).expand(mask.shape)
        if reference is not None:
            inputs["ref_per_token_logps"] = torch.full(mask.shape, reference)
        return float(self.trainer._compute_loss(self.trainer.model, inputs).detach())


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("grpo", 1.5), ("dapo", 10 / 6), ("bnpo", 10 / 6), ("dr_grpo", 10 / 16)],
)
def test_methods_normalise_the_loss_as_they_are_defined(
    kind: str, wanted: float, tmp_path: Path
) -> None:
    # Losses of 1 for two tokens, of 2 for four.
    assert Bench(tmp_path, loss_type=kind).loss([-1.0, -2.0], [2, 4]) == pytest.approx(wanted)


@pytest.fixture(scope="module")
def clipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    folder = tmp_path_factory.mktemp("clip")
    return {name: Bench(folder, method=name) for name in ("grpo", "dapo", "ngrpo")}


@pytest.mark.parametrize(
    ("method", "advantage", "ratio", "wanted"),
    [
        ("grpo", 1.0, 1.25, 1.2),
        ("dapo", 1.0, 1.25, 1.25),
        ("dapo", 1.0, 1.3, 1.28),
        ("dapo", -1.0, 0.7, -0.8),
        ("dapo", -1.0, 1.3, -1.3),
        ("ngrpo", 1.0, 1.3, 1.24),
        ("ngrpo", -1.0, 0.7, -0.84),
    ],
)
def test_methods_clip_where_they_are_defined_to(
    method: str, advantage: float, ratio: float, wanted: float, clipped: dict[str, Bench]
) -> None:
    loss = clipped[method].loss([advantage], [1], ratio=ratio)
    assert loss == pytest.approx(-wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("logp", "reference", "k3"),
    [(-1.0, -1.2, 0.018731), (-1.2, -1.0, 0.021403), (-0.5, -2.5, 1.135335)],
)
def test_methods_measure_kl_by_the_third_estimator(
    logp: float, reference: float, k3: float, tmp_path: Path
) -> None:
    from trainer import toy

    folder = tmp_path / "start"
    toy.make_model(seed=1).save_pretrained(folder)
    bench = Bench(tmp_path, beta=0.0)
    bench.trainer.beta = 0.5
    loss = bench.loss([0.0], [1], reference=reference - logp)
    assert loss == pytest.approx(0.5 * k3, abs=1e-6)
    assert bench.trainer._metrics["train"]["kl"] == [pytest.approx(k3, abs=1e-6)]


@pytest.mark.parametrize(
    ("entropy", "coefficient", "is_applied"),
    [(0.15, 0.015, True), (0.25, 0.010, False), (0.3, 0.005, False)],
)
def test_methods_adapt_the_entropy_coefficient_as_skywork_does(
    entropy: float, coefficient: float, is_applied: bool, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, entropy_coef=0.01, use_adaptive_entropy=True, entropy_target=0.2)
    bench.trainer.entropy_coef = {0.15: 0.01, 0.25: 0.015, 0.3: 0.01}[entropy]
    bench.loss([0.0], [1], entropy=entropy)
    assert bench.trainer.entropy_coef == pytest.approx(coefficient)
    # The bonus of the next step goes by the entropy of this one.
    loss = bench.loss([0.0], [1], entropy=entropy)
    assert loss == pytest.approx(-coefficient * entropy if is_applied else 0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("kl", "beta"), [(9.0, 0.201024), (3.0, 0.198976), (6.3, 0.200256), (float("nan"), 0.2)]
)
def test_methods_adapt_beta_as_ziegler_does(kl: float, beta: float) -> None:
    control = AdaptiveKL(0.2, target=6.0, horizon=10_000, beta_min=1e-4, beta_max=1.0)
    assert control.update(kl, 256) == pytest.approx(beta, abs=1e-7)


def test_methods_adapt_a_small_beta_too_and_keep_it_in_bounds() -> None:
    control = AdaptiveKL(0.001, target=0.1, horizon=10_000, beta_min=5e-4, beta_max=0.00103)
    assert control.update(0.2, 1024) == pytest.approx(0.00102048, abs=1e-9)
    assert control.update(0.2, 1024) == 0.00103
    for _ in range(100):
        control.update(0.0, 1024)
    assert control.beta == 5e-4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": 0.0}, "kl_target: a finite number above 0; got 0.0"),
        ({"horizon": 0.0}, "kl_horizon: a finite number above 0"),
        ({"beta_min": 0.5}, "beta: in [beta_min, beta_max] = [0.5, 1] with kl_target; got 0.2"),
        ({"beta_min": 2.0}, "beta_min, beta_max: 0 < beta_min <= beta_max; got (2.0, 1.0)"),
    ],
)
def test_methods_refuse_an_adaptive_kl_out_of_range(changes: dict[str, float], words: str) -> None:
    numbers = {"target": 6.0, "horizon": 1e4, "beta_min": 1e-4, "beta_max": 1.0, **changes}
    with pytest.raises(InvalidInput) as refused:
        AdaptiveKL(0.2, **numbers)
    assert words in str(refused.value)


def test_methods_keep_beta_over_a_resume(tmp_path: Path) -> None:
    from trainer import toy

    def trained(steps: int, **how: Any) -> GRPOTrainer:
        args = config(
            tmp_path,
            beta=0.05,
            kl_target=1e-9,
            kl_horizon=100.0,
            max_steps=steps,
            save_strategy="steps",
            save_steps=2,
        )
        model = toy.make_model(seed=1)
        model.save_pretrained(tmp_path / "start")
        model.config._name_or_path = str(tmp_path / "start")
        given = {**arguments(args, ["mixed", "mixed"], by_outcome), "model": model}
        trainer = GRPOTrainer(**given)
        trainer.train(**how)
        return trainer

    # The first step has a KL of exactly 0, which is below the target; the others are above it.
    straight = trained(4).beta
    assert straight == pytest.approx(0.05 * 0.984 * 1.016**3)
    resumed = trained(4, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.beta == straight


@pytest.mark.parametrize(
    ("rewards", "wanted"),
    [
        ([0.0, 0.0, 0.0], [-0.5, -0.5, -0.5]),
        ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]),
        ([0.0, 0.0, float("nan")], [-0.57735, -0.57735, 0.0]),
        ([0.0, float("nan"), float("nan")], [0.0, 0.0, 0.0]),
        ([0.0, 1.0, 1.5], [float("nan")] * 3),
    ],
)
def test_methods_give_ngrpo_where_it_is_defined(rewards: list[float], wanted: list[float]) -> None:
    import numpy as np

    found = ngrpo.advantages(np.array([rewards]), 1.0)
    assert found[0] == pytest.approx(wanted, abs=1e-5, nan_ok=True)
